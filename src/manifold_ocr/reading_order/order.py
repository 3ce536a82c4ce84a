"""Recursive XY-cut: blocks in the order in which a page is read (Nagy & Seth, 1984).

White that runs down a page is a gutter where blocks stand side by side of it. Blocks that
stand in steps, each below the other (code, a chart's labels, prices below their items), leave
such white by accident: they are read from top to bottom.
"""

from collections.abc import Sequence

from manifold_ocr.reading_order.lines import middle, overlap
from manifold_ocr.records import Box

BESIDE = 0.5  # share of a column's blocks that have a block beside them across the gutter
BAND_GAP = 2.0  # white this many line heights high (and twice the gutter) cuts across columns


def reading_order(boxes: Sequence[Box], height: float) -> list[int]:
    """Return the indices of `boxes` in reading order: top to bottom, columns left to right.

    `height` is that of a line of text, in the unit of the boxes.
    Recursive XY-cut. At each step the boxes are separated by a horizontal band of white
    where one exists and no column gutter runs through it, otherwise by a gutter, otherwise by
    any white.
    """
    return _cut(list(range(len(boxes))), boxes, height)


def _cut(indices: list[int], boxes: Sequence[Box], height: float) -> list[int]:
    if len(indices) < 2:
        return indices
    pieces = _separate(indices, boxes, 0)
    columns = _columns(pieces, boxes)
    bands = _separate(indices, boxes, 1)
    wide = _wide_bands(bands, columns, boxes, height)
    if len(wide) > 1:
        parts = wide
    elif len(columns) > 1:
        parts = columns
    elif len(bands) > 1:
        parts = _merge_bands(bands, boxes)
    elif len(pieces) > 1:
        parts = pieces
    else:
        return _topological(indices, boxes)
    return [index for part in parts for index in _cut(part, boxes, height)]


def _columns(pieces: list[list[int]], boxes: Sequence[Box]) -> list[list[int]]:
    """Join the pieces between which the white is no gutter."""
    columns = [pieces[0]]
    for piece in pieces[1:]:
        few, many = sorted((columns[-1], piece), key=len)
        beside = sum(any(_side_by_side(boxes[a], boxes[b]) for b in many) for a in few)
        if beside >= BESIDE * len(few):
            columns.append(piece)
        else:
            columns[-1] = columns[-1] + piece
    return columns


def _side_by_side(a: Box, b: Box) -> bool:
    return overlap(a[1], a[3], b[1], b[3]) >= 0.5 * min(a[3] - a[1], b[3] - b[1])


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
        split = len(_columns(_separate(both, boxes, 0), boxes)) > 1
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
    return sorted(indices, key=lambda index: (middle(boxes[index]), boxes[index][0], index))
