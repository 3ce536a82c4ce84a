"""Recursive XY-cut: blocks in the order in which a page is read (Nagy & Seth, 1984).

White that runs down a page is a gutter where blocks stand side by side of it. Blocks that
stand in steps, each below the other (code, a chart's labels, prices below their items), leave
such white by accident: they are read from top to bottom.

Bottom-up, on geometry and the read text alone, in units of the line height, so that the
resolution does not matter:

1. pieces of one row that the detector cut at a wide space are put back together, unless
   the rows around them show a column gutter at that place (`rows`); rows of a table, a
   form or a receipt are read across, columns of running text are not (`tables`);
2. each row is linked to the one row below that continues it (near, overlapping, of like
   height, and each the other's only neighbor): chains of rows are blocks (`paragraphs`);
3. blocks are cut into paragraphs at an indented or bulleted start, a short last row, or a
   widened gap;
4. paragraphs are ordered by recursive cuts along white space (`order`).
"""

from collections.abc import Sequence
from statistics import median

from manifold_ocr.reading.layout.cells import join_wrapped_cells
from manifold_ocr.reading.layout.lines import Line, Paragraph, Row, join_rows, middle, overlap
from manifold_ocr.reading.layout.paragraphs import link_rows, split_paragraphs
from manifold_ocr.reading.layout.tables import join_table_rows
from manifold_ocr.records import Box

BESIDE = 0.5  # share of a column's blocks that have a block beside them across the gutter
FULL = 0.8  # share of a column's width that its running text fills
NOTE_WIDTH = 0.45  # a marginal note is narrower than this share of the text
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
        parts = _beside_notes(columns, boxes, height) or columns
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
        below = [index for other in bands[bands.index(band) :] for index in other]
        wide = space > max(BAND_GAP * height, 2 * gutter)
        if wide and not _continues_column(merged[-1], below, columns, boxes, height):
            merged.append(band)
        else:
            merged[-1] = merged[-1] + band
    return merged


def _continues_column(
    above: list[int],
    below: list[int],
    columns: list[list[int]],
    boxes: Sequence[Box],
    height: float,
) -> bool:
    """Tell whether `below` goes on with one column that a figure breaks, beside a shorter one.

    All of it lies in a column that is not the last, and running text of it fills the width of
    that column.
    """
    for column in columns[:-1]:
        inside = set(column)
        if not inside.issuperset(below) or inside.issuperset(above):
            continue
        upper = [boxes[index] for index in above if index in inside]
        if not upper:
            continue
        left, right = min(box[0] for box in upper), max(box[2] for box in upper)
        lower = [boxes[index] for index in below]
        fits = all(box[0] > left - height / 2 and box[2] < right + height / 2 for box in lower)
        return fits and any(
            box[3] - box[1] >= 3 * height and box[2] - box[0] >= FULL * (right - left)
            for box in lower
        )
    return False


def _beside_notes(
    columns: list[list[int]], boxes: Sequence[Box], height: float
) -> list[list[int]] | None:
    """Return notes, each before the text that it stands beside, or None where none are.

    Notes are the narrower of two columns: at least two blocks apart from each other, each
    beginning beside the beginning of a paragraph that is not shorter.
    """
    if len(columns) != 2:
        return None
    notes, text = sorted(columns, key=lambda c: sum(boxes[k][2] - boxes[k][0] for k in c) / len(c))
    notes = sorted(notes, key=lambda index: boxes[index][1])
    tops = [boxes[index][1] for index in notes]
    width = max(boxes[k][2] for k in text) - min(boxes[k][0] for k in text)
    narrow = all(boxes[k][2] - boxes[k][0] < NOTE_WIDTH * width for k in notes)
    if len(notes) < 2 or not narrow:
        return None
    for index in notes:
        beside = [b for b in (boxes[k] for k in text) if abs(b[1] - boxes[index][1]) <= height]
        tall = boxes[index][3] - boxes[index][1]
        if not any(b[3] - b[1] >= max(2 * height, tall) for b in beside):
            return None
    parts = [[k for k in text if boxes[k][1] < tops[0] - height]]
    for note, top, end in zip(notes, tops, [*tops[1:], float("inf")], strict=True):
        parts += [[note], [k for k in text if top - height <= boxes[k][1] < end - height]]
    return [part for part in parts if part]


def _spaces(groups: list[list[int]], boxes: Sequence[Box], axis: int) -> list[float]:
    """Return the width of the white between neighboring groups."""
    ends = [max(boxes[index][axis + 2] for index in group) for group in groups]
    starts = [min(boxes[index][axis] for index in group) for group in groups]
    return [start - end for end, start in zip(ends, starts[1:], strict=False)]


def _merge_bands(bands: list[list[int]], boxes: Sequence[Box]) -> list[list[int]]:
    """Join neighboring bands that a common gutter divides, so that columns stay whole."""
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


VERTICAL_RATIO = 2.0  # a box this much taller than wide holds vertical text


def arrange(lines: Sequence[Line]) -> list[Paragraph]:
    """Group lines into paragraphs in reading order; each line is in exactly one of them.

    The order of `lines` makes no difference. Vertical text stands alone, a line a paragraph.
    """
    upright = [line for line in lines if not _is_vertical(line)]
    vertical = [Paragraph((Row((line,)),)) for line in lines if _is_vertical(line)]
    rows = join_rows(sorted(upright, key=lambda line: (line.box, line.text)))
    rows = join_wrapped_cells(join_table_rows(rows, _paragraphs(rows)))
    paragraphs = _paragraphs(rows)
    left = min((part.box[0] for part in paragraphs), default=0.0)
    right = max((part.box[2] for part in paragraphs), default=0.0)
    # a stamp or note that runs along the edge of the page is read after it
    beside = [v for v in vertical if paragraphs and (v.box[2] <= left or v.box[0] >= right)]
    paragraphs += sorted(
        (part for part in vertical if part not in beside), key=lambda part: (part.box, part.text)
    )
    height = median(row.height for row in rows) if rows else 0.0
    order = reading_order([part.box for part in paragraphs], height)
    return [paragraphs[index] for index in order] + sorted(
        beside, key=lambda part: (part.box, part.text)
    )


def _paragraphs(rows: Sequence[Row]) -> list[Paragraph]:
    return [part for chain in link_rows(rows) for part in split_paragraphs(chain)]


def _is_vertical(line: Line) -> bool:
    width, height = line.box[2] - line.box[0], line.box[3] - line.box[1]
    return height > VERTICAL_RATIO * width and len(line.text.strip()) != 1
