"""Rows of tables, forms and receipts: label and value stand far apart, yet are read across.

Two columns of running text also stand side by side. They differ in how their rows fill
them: running text reaches its margin in most rows and breaks only where the next word would
not fit; labels and values end where they end.
"""

import itertools
from collections.abc import Sequence
from statistics import median

from manifold_ocr.reading.layout.lines import (
    ROW_OVERLAP,
    WIDE,
    Paragraph,
    Row,
    like_height,
    middle,
    overlap,
)
from manifold_ocr.reading.layout.paragraphs import ends_short
from manifold_ocr.records import Box

VALUE_RATIO = 2.0  # a written value or a total is up to this much higher than its label
REACH = 2.6  # line heights between neighboring rows of one table
FILLED = 0.8  # a row fills its column when it covers this share of the column's width
TEXT_ROWS = 3  # fewer rows do not show how they fill a column
MOST = 0.7  # running text fills its column in at least this share of the rows before the last
WRAPPED = 0.8  # and breaks for want of room in at least this share of them
PARTED = 2.5  # the space between two tables is this many times the widest inside of them
PARTED_LINES = 8.0  # and this many line heights
VERSE_ROWS = 4  # fewer rows of words side by side may be a form
LONG = 20  # half-width characters of the middle row from which a column may be running text

Pair = tuple[int, int]


def join_table_rows(rows: Sequence[Row], paragraphs: Sequence[Paragraph]) -> list[Row]:
    """Join the rows that stand side by side in tables; all other rows stay as they are.

    `paragraphs` are those of `rows` before joining. Where they are running text, the edges of
    their columns hold for the whole height of the page, unless a table has more rows.
    """
    columns = [
        part for part in paragraphs if len(part.rows) >= TEXT_ROWS and _is_running_text(part.rows)
    ]
    found = _pairs(rows)
    spaces = [s for run in _runs(found, rows) for s in _between_tables(run, found, rows)]
    kept = [pair for pair in found if not any(_spans(pair, space, rows) for space in spaces)]
    pairs = [pair for run in _runs(kept, rows) for pair in _outside(run, rows, columns)]
    following = {
        left: right for run in _runs(pairs, rows) if _is_table(run, rows) for left, right in run
    }
    joined, taken = [], set(following.values())
    for start in range(len(rows)):
        if start in taken:
            continue
        pieces, at = list(rows[start].pieces), start
        while at in following:
            at = following[at]
            pieces += rows[at].pieces
        joined.append(Row(tuple(pieces)))
    return joined


def _pairs(rows: Sequence[Row]) -> list[Pair]:
    """Return (left, right) of rows that are each other's nearest neighbor at one height."""
    nearest: dict[int, tuple[float, int]] = {}
    previous: dict[int, tuple[float, int]] = {}
    boxes = [row.box for row in rows]
    for left, a in enumerate(boxes):
        for right, b in enumerate(boxes):
            gap = b[0] - a[2]
            low = min(a[3] - a[1], b[3] - b[1])
            if gap < -0.5 * low or (a[0], left) >= (b[0], right):  # never both ways
                continue
            shared = overlap(a[1], a[3], b[1], b[3])
            heights = rows[left].height, rows[right].height
            if shared < ROW_OVERLAP * low or not like_height(*heights, VALUE_RATIO):
                continue
            nearest[left] = min(nearest.get(left, (gap, right)), (gap, right))
            previous[right] = min(previous.get(right, (gap, left)), (gap, left))
    return [(left, right) for left, (_, right) in nearest.items() if previous[right][1] == left]


def _outside(run: Sequence[Pair], rows: Sequence[Row], columns: Sequence[Paragraph]) -> list[Pair]:
    """Return the pairs of a run that columns of running text do not keep apart.

    A column that ends between left and right keeps a pair apart unless more pairs of the run
    stand outside of all running text than the column has rows.
    """
    text = {row for column in columns for row in column.rows}
    free = sum(rows[left] not in text and rows[right] not in text for left, right in run)
    kept = []
    for pair in run:
        left, right = rows[pair[0]], rows[pair[1]]
        against = [len(column.rows) for column in columns if _divides(column.box, left, right)]
        if free > sum(against) or not against:
            kept.append(pair)
    return kept


def _divides(column: Box, left: Row, right: Row) -> bool:
    """Tell whether one of two rows lies in a column of running text and the other beside it."""
    slack = left.height
    a, b = left.box, right.box

    def inside(box: Box) -> bool:
        return box[0] >= column[0] - slack and box[2] <= column[2] + slack

    return (inside(b) and a[2] <= column[0] + slack) or (inside(a) and b[0] >= column[2] - slack)


def _runs(pairs: Sequence[Pair], rows: Sequence[Row]) -> list[list[Pair]]:
    """Group pairs that stand below each other with a common space between left and right."""
    boxes = [row.box for row in rows]
    ordered = sorted(pairs, key=lambda pair: (middle(boxes[pair[0]]), boxes[pair[0]], pair))
    runs: list[list[Pair]] = []
    for pair in ordered:
        home = next((run for run in runs if _continues(run[-1], pair, rows)), None)
        if home is None:
            runs.append([pair])
        else:
            home.append(pair)
    return runs


def _continues(above: Pair, below: Pair, rows: Sequence[Row]) -> bool:
    a, b = (rows[index].box for index in above)
    c, d = (rows[index].box for index in below)
    height = rows[below[0]].height
    distance = middle(c) - middle(a)
    if not 0.5 * height < distance <= REACH * height:
        return False
    return overlap(a[2], b[0], c[2], d[0]) > 0 and (
        abs(a[0] - c[0]) < height or abs(b[0] - d[0]) < height or abs(b[2] - d[2]) < height
    )


def _between_tables(run: Sequence[Pair], pairs: Sequence[Pair], rows: Sequence[Row]) -> list[Box]:
    """Return the space between two tables that a run reaches across: two receipts on one glass.

    On both sides of it labels and values stand side by side in at least two rows, much nearer
    to each other than the tables are. The list is empty where there is no such space.
    """
    left_of = {right: left for left, right in pairs}
    right_of = dict(pairs)
    whole = [pair for pair in run if pair[0] in left_of and pair[1] in right_of]
    if len(whole) < 2:
        return []

    def space(left: int, right: int) -> float:
        return rows[right].box[0] - rows[left].box[2]

    inner = [space(left_of[left], left) for left, _ in whole]
    inner += [space(right, right_of[right]) for _, right in whole]
    height = median(rows[left].height for left, _ in whole)
    between = median(space(*pair) for pair in whole)
    if between < max(PARTED * max(inner), PARTED_LINES * height):
        return []
    boxes = [rows[index].box for pair in whole for index in pair]
    return [
        (
            max(rows[left].box[2] for left, _ in whole),
            min(box[1] for box in boxes) - REACH * height,
            min(rows[right].box[0] for _, right in whole),
            max(box[3] for box in boxes) + REACH * height,
        )
    ]


def _spans(pair: Pair, space: Box, rows: Sequence[Row]) -> bool:
    """Tell whether a pair reaches across the space between two tables."""
    a, b = rows[pair[0]].box, rows[pair[1]].box
    inside = space[1] <= middle(a) <= space[3]
    return inside and a[2] <= space[0] + 1 and b[0] >= space[2] - 1


def _is_verse(left: Sequence[Row], right: Sequence[Row]) -> bool:
    """Tell stanzas side by side: dense rows of words, both with a left edge, without numbers."""
    if len(left) < VERSE_ROWS:
        return False
    for side in (left, right):
        texts = [row.text for row in side]
        height = median(row.height for row in side)
        steps = [middle(b.box) - middle(a.box) for a, b in itertools.pairwise(side)]
        words = median(len(text.split()) for text in texts)
        marked = sum(text.rstrip().endswith(":") or any(map(str.isdigit, text)) for text in texts)
        edge = _spread([row.box[0] for row in side]) <= height / 2
        if words < 3 or marked > len(texts) / 8 or not edge or median(steps) > 2 * height:
            return False
    return True


def _is_table(run: Sequence[Pair], rows: Sequence[Row]) -> bool:
    """Tell a table from columns of running text; of one or two pairs one side must be short."""
    left = [rows[index] for index, _ in run]
    right = [rows[index] for _, index in run]
    if len(run) < TEXT_ROWS:
        return min(_usual_length(left), _usual_length(right)) < LONG
    if _is_verse(left, right):
        return False
    return not _is_running_text(left) and not _is_running_text(right)


def _is_running_text(column: Sequence[Row]) -> bool:
    if _usual_length(column) < LONG or _centered(column):
        return False
    return _filled(column) >= MOST and _wrapped(column) >= WRAPPED


def _centered(column: Sequence[Row]) -> bool:
    """Tell whether the rows keep their center rather than their left edge, as letterheads do."""
    height = median(row.height for row in column)
    left = _spread([row.box[0] for row in column])
    return left > max(0.25 * height, _spread([(row.box[0] + row.box[2]) / 2 for row in column]))


def _spread(values: Sequence[float]) -> float:
    """Return the median absolute deviation."""
    usual = median(values)
    return median(abs(value - usual) for value in values)


def _filled(column: Sequence[Row]) -> float:
    """Return the share of rows before the last that cover most of the column's width."""
    start = min(row.box[0] for row in column)
    width = max(row.box[2] for row in column) - start
    full = [row.box[2] - row.box[0] >= FILLED * width for row in column[:-1]]
    return sum(full) / len(full) if full else 1.0


def _wrapped(column: Sequence[Row]) -> float:
    """Return the share of rows on which the first word of the next row would not have fitted."""
    right = max(row.box[2] for row in column)
    height = median(row.height for row in column)
    breaks = [not ends_short(row, nxt, right, height) for row, nxt in itertools.pairwise(column)]
    return sum(breaks) / len(breaks) if breaks else 1.0


def _usual_length(column: Sequence[Row]) -> float:
    """Return the median number of half-width characters: a wide one counts as two."""
    return median(len(row.text) + len(WIDE.findall(row.text)) for row in column)
