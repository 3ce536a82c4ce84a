"""Lines drawn from the user's own texts: as many as wanted that look like an archive."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from manifold_ocr.data.readers.synthetic import stream_rows
from manifold_ocr.data.sources import CommonOptions, corpus_options
from manifold_ocr.errors import UserError
from manifold_ocr.records import RawRow, Rejection, language_tag
from manifold_ocr.settings import settings
from manifold_ocr.synthetic.own_lines import OwnLines, write_own_lines


@settings
class SyntheticTextOptions(CommonOptions, OwnLines):
    """`path` is a text file or a folder of .txt files; the rest says how lines are drawn."""

    def __post_init__(self) -> None:
        OwnLines.__post_init__(self)
        if self.url or self.repo:
            raise ValueError("this corpus is drawn from local texts: it takes no url or repo")


@dataclass(frozen=True)
class SyntheticText:
    """Lines of the user's texts, split by text (equal texts share a split)."""

    name: str
    role: str = "train"

    def fetch(self, destination: Path, options: Mapping[str, Any]) -> None:
        """Draw the lines into `destination` and print what was left out.

        Raises:
            UserError: no texts, fonts or backgrounds where the options say, or none usable.
        """
        parsed = corpus_options(SyntheticTextOptions, self.name, options)
        where = f"params.yaml: corpora.{self.name}"
        if not parsed.path:
            raise UserError(f"{where}.path: name a text file or a folder of .txt files to draw")
        own = {name: getattr(parsed, name) for name in OwnLines.__dataclass_fields__}
        for sentence in write_own_lines(
            destination,
            Path(parsed.path),
            OwnLines(**own),
            language_tag(parsed.language),
            where,
            parsed.license or "unknown",
        ):
            print(f"{self.name}: {sentence}")

    def rows(self, root: Path, options: Mapping[str, Any]) -> Iterator[RawRow | Rejection]:
        """Stream the rows in the order in which they were drawn.

        Raises:
            UserError: rows.jsonl is missing or damaged.
        """
        yield from stream_rows(root)
