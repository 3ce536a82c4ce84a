"""From detected lines to text as a person reads it: rows, columns, paragraphs, their order.

Bottom-up, on geometry and the read text alone, in units of the line height, so that the
resolution does not matter:

1. pieces of one row that the detector cut at a wide space are put back together, unless
   the rows around them show a column gutter at that place;
2. each row is linked to the one row below that continues it (near, overlapping, of like
   height, and each the other's only neighbour): chains of rows are blocks;
3. blocks are cut into paragraphs at an indented or bulleted start, a short last row, or a
   widened gap;
4. paragraphs are ordered by recursive cuts along white space (XY-cut: Nagy & Seth, 1984).
"""

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from manifold_ocr.records import Box

ROW_OVERLAP = 0.5  # share of the lower piece's height that two pieces of one row have in common
ROW_GAP = 1.6  # widest space inside a row, in line heights
LINE_GAP = 0.9  # widest space between rows of one block, in line heights
HEIGHT_RATIO = 1.5  # rows of one block differ in height by less than this
GAP_JUMP = 0.35  # a space this much wider than the block's usual one starts a paragraph
INDENT = 0.8  # an indent or outdent that counts, in line heights
BAND_GAP = 2.0  # white this many line heights high (and twice the gutter) cuts across columns
VERTICAL_RATIO = 2.0  # a box this much taller than wide holds vertical text

ITEM = re.compile(
    r"\s*(?:[•●■◆▪·*➢✓○–—-]\s*\S|\(?\d{1,2}[.)、．](?!\d)|[(（][\da-zA-Z一二三四五六七八九十]{1,3}[)）]"
    r"|[一二三四五六七八九十]{1,3}、|[①-⑳]|[A-Z][.)]\s)"
)
NUMBERED = re.compile(r"\s*\d{1,2}\s+\D")  # an item whose number has no dot: never splits by itself
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


def arrange(lines: Sequence[Line]) -> list[Paragraph]:
    """Group lines into paragraphs in reading order; each line is in exactly one of them.

    The order of `lines` makes no difference. Vertical text stands alone, a line a paragraph.
    """
    upright = [line for line in lines if not _is_vertical(line)]
    vertical = [Paragraph((Row((line,)),)) for line in lines if _is_vertical(line)]
    rows = join_rows(sorted(upright, key=lambda line: (line.box, line.text)))
    paragraphs = [part for chain in link_rows(rows) for part in split_paragraphs(chain)]
    paragraphs += sorted(vertical, key=lambda part: (part.box, part.text))
    height = median(row.height for row in rows) if rows else 0.0
    order = reading_order([part.box for part in paragraphs], height)
    return [paragraphs[index] for index in order]


def _is_vertical(line: Line) -> bool:
    width, height = line.box[2] - line.box[0], line.box[3] - line.box[1]
    return height > VERTICAL_RATIO * width and len(line.text.strip()) != 1


def _overlap(a0: float, a1: float, b0: float, b1: float) -> float:
    return min(a1, b1) - max(a0, b0)


def _like_height(a: float, b: float) -> bool:
    return max(a, b) < HEIGHT_RATIO * min(a, b)


def join_rows(lines: Sequence[Line]) -> list[Row]:
    """Put pieces of one row together where the space between them is no column gutter."""
    following: dict[int, int] = {}
    taken: set[int] = set()
    for gap, left, right in sorted(_row_neighbours(lines)):
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


def _row_neighbours(lines: Sequence[Line]) -> list[tuple[float, int, int]]:
    """Return (space, left, right) of pieces that may stand side by side in one row."""
    pairs = []
    for left, a in enumerate(lines):
        for right, b in enumerate(lines):
            if left == right or a.box[0] >= b.box[0]:
                continue
            height_a, height_b = a.box[3] - a.box[1], b.box[3] - b.box[1]
            low = min(height_a, height_b)
            gap = b.box[0] - a.box[2]
            shared = _overlap(a.box[1], a.box[3], b.box[1], b.box[3])
            if (
                shared >= ROW_OVERLAP * low
                and _like_height(height_a, height_b)
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
    middle, centre = (a[2] + b[0]) / 2, (a[1] + a[3]) / 2
    crossing, ends, starts = [0, 0], [0, 0], [0, 0]  # above, below
    for index, line in enumerate(lines):
        x0, y0, x1, y1 = line.box
        distance = (y0 + y1) / 2 - centre
        if index in (left, right) or abs(distance) > 6 * height:
            continue
        side = int(distance > 0)
        crossing[side] += x0 < middle - 0.2 * height and x1 > middle + 0.2 * height
        ends[side] += abs(x1 - a[2]) < height
        starts[side] += abs(x0 - b[0]) < height
    one_side = any(not crossing[side] and starts[side] >= 2 and ends[side] >= 2 for side in (0, 1))
    return one_side or (not sum(crossing) and sum(starts) >= 2 and sum(ends) >= 1)


def link_rows(rows: Sequence[Row]) -> list[list[Row]]:
    """Chain each row to the one row below that continues it; return the chains."""
    boxes = [row.box for row in rows]
    heights = [row.height for row in rows]
    below = [_neighbours(boxes, heights, index, down=True) for index in range(len(rows))]
    above = [_neighbours(boxes, heights, index, down=False) for index in range(len(rows))]
    following = {
        index: found[0]
        for index, found in enumerate(below)
        if len(found) == 1 and above[found[0]] == [index]
        if _like_height(heights[index], heights[found[0]])
    }
    continued = set(following.values())
    chains = []
    for start in range(len(rows)):
        if start not in continued:
            chain = [start]
            while chain[-1] in following:
                chain.append(following[chain[-1]])
            chains.append([rows[index] for index in chain])
    return chains


def _neighbours(
    boxes: Sequence[Box], heights: Sequence[float], index: int, down: bool
) -> list[int]:
    """Return the rows directly below (or above) within reach, nothing lying between."""
    x0, _, x1, _ = boxes[index]
    height = heights[index]
    centre = _middle(boxes[index])
    reach: list[tuple[float, int]] = []
    for other, box in enumerate(boxes):
        distance = (_middle(box) - centre) * (1 if down else -1)
        if other == index or distance < 0.5 * min(height, heights[other]):
            continue
        space = distance - (height + heights[other]) / 2
        if space > LINE_GAP * min(height, heights[other]):
            continue
        narrow = min(x1 - x0, box[2] - box[0])
        if _overlap(x0, x1, box[0], box[2]) > min(0.3 * narrow, 2 * height):
            reach.append((distance, other))
    reach.sort()
    nearest: list[int] = []
    for distance, other in reach:
        beside = all(
            _overlap(boxes[other][0], boxes[other][2], boxes[near][0], boxes[near][2]) <= 0
            for near in nearest
        )
        if beside and distance <= reach[0][0] + 0.6 * height:
            nearest.append(other)
    return nearest


def _middle(box: Box) -> float:
    return (box[1] + box[3]) / 2


def split_paragraphs(chain: Sequence[Row]) -> list[Paragraph]:
    """Cut a chain of rows where a paragraph starts."""
    height = median(row.height for row in chain)
    spaces = [_middle(b.box) - _middle(a.box) for a, b in itertools.pairwise(chain)]
    usual = sorted(spaces)[len(spaces) // 4] if spaces else 0.0
    parts: list[list[Row]] = [[chain[0]]]
    for index, (row, nxt) in enumerate(itertools.pairwise(chain)):
        after = chain[index + 2] if index + 2 < len(chain) else None
        if (
            spaces[index] > usual + GAP_JUMP * height
            or ITEM.match(nxt.text)
            or _starts_indented(parts[-1], nxt, after, height)
            or _ends_short(row, nxt, _right_margin(parts[-1][:-1], chain[index + 1 :]), height)
        ):
            parts.append([])
        parts[-1].append(nxt)
    return [Paragraph(tuple(part)) for part in parts]


def _right_margin(before: Sequence[Row], after: Sequence[Row]) -> float:
    """Return the right edge that at least two of the nearest rows reach, if there are two."""
    edges = sorted((row.box[2] for row in [*before[-3:], *after[:2]]), reverse=True)
    return edges[1] if len(edges) > 1 else edges[0]


def _starts_indented(part: Sequence[Row], row: Row, after: Row | None, height: float) -> bool:
    """Tell whether `row` opens a paragraph by its left edge.

    Indented against the row before, with the row after it back at the margin; or, in a
    hanging paragraph (its first row stands out to the left), back out at the first row's edge.
    """
    step = row.box[0] - part[-1].box[0]
    hangs = len(part) == 1 and (ITEM.match(part[0].text) or NUMBERED.match(part[0].text))
    if step > INDENT * height and not hangs:
        return after is None or after.box[0] < row.box[0] - 0.5 * INDENT * height
    hanging = len(part) > 1 and part[1].box[0] - part[0].box[0] > INDENT * height
    return hanging and step < -INDENT * height


def _ends_short(row: Row, following: Row, right: float, height: float) -> bool:
    """Tell whether `row` stops although the next row's first word would have fitted on it."""
    room = right - row.box[2]
    text = following.text
    if not text or room < 1.5 * height:
        return False
    per_character = (following.box[2] - following.box[0]) / max(1, len(text))
    word = 2 if WIDE.match(text[0]) else len(text.split(maxsplit=1)[0])
    return room > (word + 1.5) * per_character + 0.5 * height


def reading_order(boxes: Sequence[Box], height: float) -> list[int]:
    """Return the indices of `boxes` in reading order: top to bottom, columns left to right.

    `height` is that of a line of text, in the unit of the boxes.
    Recursive XY-cut. At each step the boxes are separated by a horizontal band of white
    where one exists and no column gutter runs through it, otherwise by a gutter.
    """
    return _cut(list(range(len(boxes))), boxes, height)


def _cut(indices: list[int], boxes: Sequence[Box], height: float) -> list[int]:
    if len(indices) < 2:
        return indices
    columns = _separate(indices, boxes, 0)
    bands = _separate(indices, boxes, 1)
    wide = _wide_bands(bands, columns, boxes, height)
    if len(wide) > 1:
        parts = wide
    elif len(columns) > 1:
        parts = columns
    elif len(bands) > 1:
        parts = _merge_bands(bands, boxes)
    else:
        return _topological(indices, boxes)
    return [index for part in parts for index in _cut(part, boxes, height)]


def _wide_bands(
    bands: list[list[int]], columns: list[list[int]], boxes: Sequence[Box], height: float
) -> list[list[int]]:
    """Join bands except where the white between them outweighs the gutters of the columns."""
    gutter = max(_spaces(columns, boxes, 0), default=0.0)
    merged = [bands[0]]
    for space, band in zip(_spaces(bands, boxes, 1), bands[1:], strict=True):
        if space > max(BAND_GAP * height, 2 * gutter):
            merged.append(band)
        else:
            merged[-1] = merged[-1] + band
    return merged


def _spaces(groups: list[list[int]], boxes: Sequence[Box], axis: int) -> list[float]:
    """Return the width of the white between neighbouring groups."""
    ends = [max(boxes[index][axis + 2] for index in group) for group in groups]
    starts = [min(boxes[index][axis] for index in group) for group in groups]
    return [start - end for end, start in zip(ends, starts[1:], strict=False)]


def _merge_bands(bands: list[list[int]], boxes: Sequence[Box]) -> list[list[int]]:
    """Join neighbouring bands that a common gutter divides, so that columns stay whole."""
    merged = [bands[0]]
    for band in bands[1:]:
        both = merged[-1] + band
        split = len(_separate(both, boxes, 0)) > 1
        if split and len(both) > 2:
            merged[-1] = both
        else:
            merged.append(band)
    return merged if len(merged) > 1 else bands


def _separate(indices: Sequence[int], boxes: Sequence[Box], axis: int) -> list[list[int]]:
    """Group boxes whose projections on `axis` (0: x, 1: y) touch; groups in order."""
    ordered = sorted(indices, key=lambda index: (boxes[index][axis], boxes[index], index))
    groups: list[list[int]] = []
    end = float("-inf")
    for index in ordered:
        box = boxes[index]
        inset = 0.25 * min(box[2] - box[0], box[3] - box[1])  # detectors' boxes overlap a little
        if (box[axis] + inset >= end and groups) or not groups:
            groups.append([])
        groups[-1].append(index)
        end = max(end, box[axis + 2] - inset)
    return groups


def _topological(indices: Sequence[int], boxes: Sequence[Box]) -> list[int]:
    """Order boxes that no straight cut separates: above first, then left first."""
    return sorted(indices, key=lambda index: (_middle(boxes[index]), boxes[index][0], index))
