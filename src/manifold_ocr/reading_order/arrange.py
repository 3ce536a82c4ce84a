"""From detected lines to text as a person reads it: rows, columns, paragraphs, their order.

Bottom-up, on geometry and the read text alone, in units of the line height, so that the
resolution does not matter:

1. pieces of one row that the detector cut at a wide space are put back together, unless
   the rows around them show a column gutter at that place (`rows`); rows of a table, a
   form or a receipt are read across, columns of running text are not (`tables`);
2. each row is linked to the one row below that continues it (near, overlapping, of like
   height, and each the other's only neighbour): chains of rows are blocks (`paragraphs`);
3. blocks are cut into paragraphs at an indented or bulleted start, a short last row, or a
   widened gap;
4. paragraphs are ordered by recursive cuts along white space (`order`).
"""

from collections.abc import Sequence
from statistics import median

from manifold_ocr.reading_order.lines import Line, Paragraph, Row
from manifold_ocr.reading_order.order import reading_order
from manifold_ocr.reading_order.paragraphs import link_rows, split_paragraphs
from manifold_ocr.reading_order.rows import join_rows
from manifold_ocr.reading_order.tables import join_table_rows

VERTICAL_RATIO = 2.0  # a box this much taller than wide holds vertical text


def arrange(lines: Sequence[Line]) -> list[Paragraph]:
    """Group lines into paragraphs in reading order; each line is in exactly one of them.

    The order of `lines` makes no difference. Vertical text stands alone, a line a paragraph.
    """
    upright = [line for line in lines if not _is_vertical(line)]
    vertical = [Paragraph((Row((line,)),)) for line in lines if _is_vertical(line)]
    rows = join_rows(sorted(upright, key=lambda line: (line.box, line.text)))
    rows = join_table_rows(rows, _paragraphs(rows))
    paragraphs = _paragraphs(rows)
    paragraphs += sorted(vertical, key=lambda part: (part.box, part.text))
    height = median(row.height for row in rows) if rows else 0.0
    order = reading_order([part.box for part in paragraphs], height)
    return [paragraphs[index] for index in order]


def _paragraphs(rows: Sequence[Row]) -> list[Paragraph]:
    return [part for chain in link_rows(rows) for part in split_paragraphs(chain)]


def _is_vertical(line: Line) -> bool:
    width, height = line.box[2] - line.box[0], line.box[3] - line.box[1]
    return height > VERTICAL_RATIO * width and len(line.text.strip()) != 1
