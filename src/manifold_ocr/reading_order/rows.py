"""Pieces of one row of text put back together, gutters between columns left alone."""

from collections.abc import Sequence

from manifold_ocr.reading_order.lines import Line, Row, overlap

ROW_OVERLAP = 0.5  # share of the lower piece's height that two pieces of one row have in common
ROW_GAP = 1.6  # widest space inside a row, in line heights
HEIGHT_RATIO = 1.5  # rows of one block differ in height by less than this


def like_height(a: float, b: float, ratio: float = HEIGHT_RATIO) -> bool:
    """Tell whether two heights may belong to one size of type."""
    return max(a, b) < ratio * min(a, b)


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
