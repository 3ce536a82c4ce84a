"""What a corpus is to the pipeline: raw files fetched once, rows parsed from them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

from manifold_ocr.records import Box, Rejection

# what a row asks a model for: its text, or an answer that a probe's own rule scores
Task = Literal["transcribe", "json", "latex", "table", "needle", "qa", "layout"]
TASKS: tuple[Task, ...] = get_args(Task)


@dataclass(frozen=True, slots=True, kw_only=True)
class RawRow:
    """One usable row as its corpus states it; split, hashes and ids are added later.

    `image` is relative to the corpus's own raw folder. `document` groups rows that must
    share a split (all lines of a page, all pages of a book). `split` is a fixed official
    split or None for the hash split. `source` (file and row) is for messages.
    """

    document: str
    image: str
    text: str
    source: str
    subset: str = "all"
    tags: tuple[str, ...] = ()
    language: str = "und"
    split: str | None = None
    box: Box | None = None
    granularity: str = "line"
    task: str = "transcribe"
    question: str | None = None
    answers: tuple[str, ...] = ()
    license: str = "unknown"


@dataclass(frozen=True, slots=True)
class Stretch:
    """Rows of consecutive whole images, read when they are iterated.

    `key` is a hash of all raw content that decides the rows, the images themselves aside;
    empty where that is not known. `first_line` is the line of the corpus's file at which the
    stretch begins: a rejection names its line, so it depends on the place as well.
    """

    rows: Iterator[RawRow | Rejection]
    key: bytes = b""
    first_line: int = 0


class Corpus(Protocol):
    """A corpus adapter. `options` is its entry under `corpora` in params.yaml."""

    @property
    def name(self) -> str:
        """The name under which the corpus stands in params.yaml and data/raw."""
        ...

    @property
    def role(self) -> str:
        """`train`, or `eval_only` for benchmarks."""
        ...

    def fetch(self, destination: Path, options: Mapping[str, Any]) -> None:
        """Put the raw files below `destination` (an empty folder, swapped in when whole)."""
        ...

    def rows(self, root: Path, options: Mapping[str, Any]) -> Iterator[RawRow | Rejection]:
        """Stream the rows of the raw files below `root`, in a stable order."""
        ...
