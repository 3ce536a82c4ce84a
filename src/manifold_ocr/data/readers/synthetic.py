"""The embedded corpus: drawn here, needs no network and nobody's license."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from manifold_ocr.data.sources import CommonOptions, corpus_options
from manifold_ocr.errors import UserError
from manifold_ocr.records import RawRow, Rejection
from manifold_ocr.settings import settings
from manifold_ocr.synthetic.generate import ROWS_FILE, SyntheticConfig, generate


@settings
class SyntheticOptions(CommonOptions, SyntheticConfig):
    """What is drawn, and what every corpus has: a role, a license."""

    def __post_init__(self) -> None:
        SyntheticConfig.__post_init__(self)
        if self.path or self.url or self.repo:
            raise ValueError("this corpus is drawn, not fetched: it takes no path, url or repo")


class SyntheticCorpus:
    """Pages and lines of eight subsets with fixed splits (see `PARTITION` and `SOURCES`)."""

    name = "synthetic"
    role = "train"

    def fetch(self, destination: Path, options: Mapping[str, Any]) -> None:
        """Draw the corpus into `destination`.

        Raises:
            UserError: an option is unknown or of a wrong type, or a font is missing.
        """
        generate(destination, corpus_options(SyntheticOptions, self.name, options))

    def rows(self, root: Path, options: Mapping[str, Any]) -> Iterator[RawRow | Rejection]:
        """Stream the rows in the order in which they were drawn.

        Raises:
            UserError: rows.jsonl is missing or damaged.
        """
        yield from stream_rows(root)


def stream_rows(root: Path) -> Iterator[RawRow]:
    """Stream the rows.jsonl of a drawn corpus.

    Raises:
        UserError: missing or damaged.
    """
    path = root / ROWS_FILE
    try:
        with open(path, encoding="utf-8", newline="\n") as file:
            for number, line in enumerate(file, 1):
                yield _row(line, f"{path}:{number}")
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file; run the stage download first") from error


def _row(line: str, where: str) -> RawRow:
    try:
        value = json.loads(line)
        lists = {key: tuple(value[key]) for key in ("tags", "answers", "box") if value[key]}
        return RawRow(**{**value, **lists})
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(f"{where}: damaged row ({error}); run the stage download again") from error
