"""Wrapped cells of tables: the rows of one cell are read together, before the next cell.

Row by row, the second line of a description would come after the price beside its first line.
An anchor is a row of the table with a piece in the first column; rows without one, whose words
start where another column starts, are the rest of its cells.
"""

import itertools
from collections.abc import Sequence
from statistics import median

from manifold_ocr.reading.layout.lines import Line, Row, middle

COLUMNS = 3  # fewer columns are labels and values, which are read the same either way
FULL_ROWS = 2  # rows with a piece in every column that show where the columns start
EDGE = 0.6  # line heights by which pieces of one column may start apart
PITCH = 1.9  # line heights between the middles of a cell's rows
APART = 1.25  # rows of two cells stand this many times as far apart as those of one


def join_wrapped_cells(rows: Sequence[Row]) -> list[Row]:
    """Join the rows of wrapped cells with the table row that they belong to; keep all others."""
    out = list(rows)
    for start, columns in _tables(rows):
        height = start.height
        anchors = [
            r for r in out if len(r.pieces) > 1 and _column(r.pieces[0], columns, height) == 0
        ]
        rest = [r for r in out if _is_rest(r, columns, height)]
        for anchor, more in _homes(anchors, rest, columns, height):
            out = [row for row in out if row not in more]
            out[out.index(anchor)] = _cell_by_cell(anchor, more, columns, height)
    return out


def _tables(rows: Sequence[Row]) -> list[tuple[Row, list[float]]]:
    """Return a full row of each table and the left edges of its columns."""
    tables: list[tuple[Row, list[float]]] = []
    full = [row for row in rows if len(row.pieces) >= COLUMNS]
    for row in full:
        edges = [piece.box[0] for piece in row.pieces]
        like = [other for other in full if _starts(other, edges, row.height)]
        known = any(_starts(row, columns, row.height) for _, columns in tables)
        if len(like) >= FULL_ROWS and not known:
            tables.append(
                (row, [median(r.pieces[k].box[0] for r in like) for k in range(len(edges))])
            )
    return tables


def _starts(row: Row, edges: Sequence[float], height: float) -> bool:
    """Tell whether the pieces of a row start where columns start, but for the last one."""
    if len(row.pieces) != len(edges):
        return False
    pairs = zip(row.pieces[:-1], edges[:-1], strict=True)
    return all(abs(piece.box[0] - edge) <= EDGE * height for piece, edge in pairs)


def _column(piece: Line, columns: Sequence[float], height: float) -> int | None:
    """Return the column that a piece starts in, or None."""
    near = [k for k, edge in enumerate(columns) if abs(piece.box[0] - edge) <= EDGE * height]
    return near[0] if near else None


def _is_rest(row: Row, columns: Sequence[float], height: float) -> bool:
    """Tell whether a row can only be the rest of cells: words, none in the first column.

    It stays left of the column after the one that it starts in.
    """
    if len(row.pieces) > len(columns) - 2:
        return False
    for piece in row.pieces:
        at = _column(piece, columns, height)
        if not at or not any(map(str.isalpha, piece.text)):
            return False
        if at + 1 < len(columns) and piece.box[2] > columns[at + 1]:
            return False
    return True


def _homes(
    anchors: Sequence[Row], rest: Sequence[Row], columns: Sequence[float], height: float
) -> list[tuple[Row, list[Row]]]:
    """Return the anchors whose cells wrap, each with the rows that belong to it.

    Where white parts the cells, a row belongs to the anchor beside its own cell. Otherwise it
    belongs to the anchor above if every anchor has a piece in that column (cells are aligned at
    their tops), and to the nearest if not (at their middles).
    """
    found: dict[int, list[Row]] = {}
    for row in rest:
        at = _column(row.pieces[0], columns, height)
        cell = _cell(row, at, [*anchors, *rest], columns, height)
        beside = [k for k, a in enumerate(anchors) if cell[0] <= middle(a.box) <= cell[1]]
        if not beside:
            continue
        if len(beside) > 1:
            own = all(
                any(_column(p, columns, height) == at for p in anchors[k].pieces) for k in beside
            )
            above = [k for k in beside if middle(anchors[k].box) <= middle(row.box)]
            beside = above if own else beside
        if beside:
            home = min(beside, key=lambda k: abs(middle(anchors[k].box) - middle(row.box)))
            found.setdefault(home, []).append(row)
    return [(anchors[k], more) for k, more in found.items()]


def _cell(
    row: Row, at: int | None, rows: Sequence[Row], columns: Sequence[float], height: float
) -> tuple[float, float]:
    """Return the top and bottom of the dense rows in one column around `row`."""
    pieces = [p for r in rows for p in r.pieces if _column(p, columns, height) == at]
    pieces.sort(key=lambda piece: middle(piece.box))
    steps = [middle(b.box) - middle(a.box) for a, b in itertools.pairwise(pieces)]
    dense = APART * min((s for s in steps if s > 0.5 * height), default=0.0)
    here = pieces.index(row.pieces[0])
    first = last = here
    while first and steps[first - 1] <= min(dense, PITCH * height):
        first -= 1
    while last < len(steps) and steps[last] <= min(dense, PITCH * height):
        last += 1
    return pieces[first].box[1], pieces[last].box[3]


def _cell_by_cell(anchor: Row, more: Sequence[Row], columns: Sequence[float], height: float) -> Row:
    """Return one row whose pieces are in the order of the cells, each from top to bottom."""
    pieces = [piece for row in (anchor, *more) for piece in row.pieces]

    def place(piece: Line) -> tuple[float, float]:
        at = _column(piece, columns, height)
        if at is None:  # numbers end where their column ends
            at = sum(edge <= piece.box[0] for edge in columns) - 1
        return at, middle(piece.box)

    return Row(tuple(sorted(pieces, key=place)))
