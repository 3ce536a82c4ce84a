"""Detected lines, rows of text and paragraphs: what reading order works on."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from manifold_ocr.records import Box

WIDE = re.compile(r"[\u1100-\u11ff\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uff60]")


@dataclass(frozen=True, slots=True)
class Line:
    """One detected line: its upright box in pixels, its text, its confidence in [0, 1]."""

    box: Box
    text: str = ""
    confidence: float | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """The pieces of one row of text, left to right."""

    pieces: tuple[Line, ...]

    @property
    def box(self) -> Box:
        """The upright box around the pieces."""
        return union([piece.box for piece in self.pieces])

    @property
    def text(self) -> str:
        """The texts of the pieces, joined by a space."""
        return " ".join(piece.text.strip() for piece in self.pieces if piece.text.strip())

    @property
    def height(self) -> float:
        """The median height of the pieces in pixels."""
        return median(piece.box[3] - piece.box[1] for piece in self.pieces)


@dataclass(frozen=True, slots=True)
class Paragraph:
    """Rows that belong together, top to bottom."""

    rows: tuple[Row, ...]

    @property
    def box(self) -> Box:
        """The upright box around the rows."""
        return union([row.box for row in self.rows])

    @property
    def lines(self) -> tuple[Line, ...]:
        """The detected lines in reading order."""
        return tuple(piece for row in self.rows for piece in row.pieces)

    @property
    def text(self) -> str:
        """The rows' texts, one a line as on the page."""
        return "\n".join(row.text for row in self.rows if row.text)

    @property
    def flowing_text(self) -> str:
        """The text as one line: rows joined by a space, or by nothing between wide characters."""
        joined = ""
        for text in (row.text for row in self.rows if row.text):
            close = joined and WIDE.match(joined[-1]) and WIDE.match(text[0])
            joined = joined + ("" if close or not joined else " ") + text
        return joined


def union(boxes: Sequence[Box]) -> Box:
    """Return the smallest upright box around `boxes` (at least one)."""
    return (
        min(box[0] for box in boxes),
        min(box[1] for box in boxes),
        max(box[2] for box in boxes),
        max(box[3] for box in boxes),
    )


def overlap(a0: float, a1: float, b0: float, b1: float) -> float:
    """Return the length that two stretches share (negative: the space between them)."""
    return min(a1, b1) - max(a0, b0)


def middle(box: Box) -> float:
    """Return the height at which a box has its centre."""
    return (box[1] + box[3]) / 2
