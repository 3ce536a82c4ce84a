"""What a corpus is to the pipeline: raw files fetched once, rows parsed from them, its options."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from manifold_ocr.records import RawRow, Rejection


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
