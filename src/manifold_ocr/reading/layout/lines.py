"""Detected lines, rows of text and paragraphs: what reading order works on."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from manifold_ocr.records import Box

WIDE = re.compile(r"[\u1100-\u11ff\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uff60]")
LEADERS = re.compile(r"\s*(?:[.·…‥]\s*){4,}(?=(?:\d{1,4}|[ivxlc]{1,7})$)")


@dataclass(frozen=True, slots=True)
class Line:
    """One detected line: its upright box in pixels, its text, its confidence in [0, 1].

    `note` says what is wrong with it, if anything.
    """

    box: Box
    text: str = ""
    confidence: float | None = None
    note: str = ""


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
        """The texts of the pieces, joined by a space; dots that lead to a page number as one."""
        text = " ".join(piece.text.strip() for piece in self.pieces if piece.text.strip())
        return LEADERS.sub(" … ", text)

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
    """Return the height at which a box has its center."""
    return (box[1] + box[3]) / 2


ROW_OVERLAP = 0.5  # share of the lower piece's height that two pieces of one row have in common
ROW_GAP = 1.6  # widest space inside a row, in line heights
LONG_PIECE = 6.0  # pieces wider than this many heights may be rows of ragged columns
HEIGHT_RATIO = 1.5  # rows of one block differ in height by less than this


def like_height(a: float, b: float, ratio: float = HEIGHT_RATIO) -> bool:
    """Tell whether two heights may belong to one size of type."""
    return max(a, b) < ratio * min(a, b)


def join_rows(lines: Sequence[Line]) -> list[Row]:
    """Put pieces of one row together where the space between them is no column gutter."""
    following: dict[int, int] = {}
    taken: set[int] = set()
    for gap, left, right in sorted(_row_neighbors(lines)):
        if left in following or right in taken:
            continue
        if _is_gutter(lines, left, right, gap):
            continue
        following[left] = right
        taken.add(right)
    rows = []
    for start in range(len(lines)):
        if start not in taken:
            pieces = [start]
            while pieces[-1] in following:
                pieces.append(following[pieces[-1]])
            rows.append(Row(tuple(lines[index] for index in pieces)))
    return rows


def _row_neighbors(lines: Sequence[Line]) -> list[tuple[float, int, int]]:
    """Return (space, left, right) of pieces that may stand side by side in one row."""
    pairs = []
    for left, a in enumerate(lines):
        for right, b in enumerate(lines):
            if left == right or a.box[0] >= b.box[0]:
                continue
            height_a, height_b = a.box[3] - a.box[1], b.box[3] - b.box[1]
            low = min(height_a, height_b)
            gap = b.box[0] - a.box[2]
            shared = overlap(a.box[1], a.box[3], b.box[1], b.box[3])
            if (
                shared >= ROW_OVERLAP * low
                and like_height(height_a, height_b)
                and -low <= gap <= ROW_GAP * low
            ):
                pairs.append((gap, left, right))
    return pairs


def _is_gutter(lines: Sequence[Line], left: int, right: int, gap: float) -> bool:
    """Tell whether the rows above or below also leave a space where this pair has one."""
    a, b = lines[left].box, lines[right].box
    height = min(a[3] - a[1], b[3] - b[1])
    if gap < 0.3 * height:
        return False
    middle, center = (a[2] + b[0]) / 2, (a[1] + a[3]) / 2
    crossing, ends, starts, lefts = [0, 0], [0, 0], [0, 0], [0, 0]  # above, below
    for index, line in enumerate(lines):
        x0, y0, x1, y1 = line.box
        distance = (y0 + y1) / 2 - center
        if index in (left, right) or abs(distance) > 6 * height:
            continue
        side = int(distance > 0)
        crossing[side] += x0 < middle - 0.2 * height and x1 > middle + 0.2 * height
        ends[side] += abs(x1 - a[2]) < height
        starts[side] += abs(x0 - b[0]) < height
        lefts[side] += abs(x0 - a[0]) < height
    one_side = any(not crossing[side] and starts[side] >= 2 and ends[side] >= 2 for side in (0, 1))
    long = min(a[2] - a[0], b[2] - b[0]) > LONG_PIECE * height
    ragged = long and not sum(crossing) and sum(starts) >= 3 and sum(lefts) >= 3
    return one_side or ragged or (not sum(crossing) and sum(starts) >= 2 and sum(ends) >= 1)
