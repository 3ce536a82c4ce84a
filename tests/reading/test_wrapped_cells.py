"""Tables whose cells wrap: each cell is read whole, whatever aligns the rows of the table."""

import random

import pytest

from manifold_ocr.reading.layout.lines import Line
from manifold_ocr.reading.layout.order import arrange

TABLE = [
    ("Item", ["Description"], "Price"),
    ("Lock gate", ["oak timber, two", "leaves, painted"], "12.50"),
    ("Mill weir", ["stone sill with", "iron racks and", "a wooden walk"], "9.75"),
    ("Toll house", ["slate roof", "repaired"], "18.00"),
    ("Pump", ["none"], "7.25"),
]
ACROSS = [" ".join((first, *cell, last)) for first, cell, last in TABLE]


def line(x, y, text):
    return Line((x, y, x + 10 * len(text), y + 20), text)


def drawn(table, aligned, between):
    lines, top = [], 100
    for first, cell, last in table:
        y = top + (13 * (len(cell) - 1) if aligned == "middle" else 0)
        lines += [line(50, y, first), line(700 - 10 * len(last), y, last)]
        lines += [line(250, top + 26 * row, text) for row, text in enumerate(cell)]
        top += 26 * len(cell) + between
    return lines


def rows_of(lines):
    return [row.text for part in arrange(lines) for row in part.rows]


@pytest.mark.parametrize("aligned", ["top", "middle"])
@pytest.mark.parametrize("between", [0, 14])
def test_wrapped_cells_are_read_cell_by_cell(aligned, between):
    lines = drawn(TABLE, aligned, between)
    assert rows_of(lines) == ACROSS
    random.Random(5).shuffle(lines)
    assert rows_of(lines) == ACROSS


def test_text_below_a_table_and_a_second_head_row_stay_where_they_are():
    note = line(50, 420, "Prices in shillings and pence.")
    assert rows_of([*drawn(TABLE, "top", 0), note]) == [*ACROSS, note.text]
    years = [("Lock", ["1794"], "1801"), ("Weir", ["4.20"], "3.95"), ("Quay", ["9.75"], "7.25")]
    lines = [line(250, 74, "2.10"), *drawn(years, "top", 14)]
    assert rows_of(lines) == ["2.10", "Lock 1794 1801", "Weir 4.20 3.95", "Quay 9.75 7.25"]


def test_amounts_below_an_item_are_no_wrapped_cell():
    lines = []
    for number, (item, price) in enumerate((("Espresso", "2.40"), ("Walnut cake", "3.10"))):
        top = 100 + 60 * number
        lines += [line(50, top, item), line(600, top, price), line(80, top + 28, "2 x 1.20")]
    assert rows_of(lines) == ["Espresso 2.40", "2 x 1.20", "Walnut cake 3.10", "2 x 1.20"]
