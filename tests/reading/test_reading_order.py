"""Columns, paragraphs and order, on drawn layouts and on arbitrary boxes."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manifold_ocr.reading.layout.lines import Line, join_rows
from manifold_ocr.reading.layout.order import arrange, reading_order

HEIGHT = 20


def line(x0, y0, x1, text, height=HEIGHT):
    return Line((x0, y0, x1, y0 + height), text)


def column(x0, x1, top, rows, name, step=26):
    return [line(x0, top + i * step, x1, f"{name} {i} " + "word " * 6) for i in range(rows)]


def texts(lines):
    return [[row.text.split(" word")[0] for row in part.rows] for part in arrange(lines)]


def test_two_columns_are_read_one_after_the_other_whatever_the_input_order():
    lines = column(50, 400, 100, 8, "left") + column(430, 780, 100, 8, "right")
    expected = [[f"left {i}" for i in range(8)], [f"right {i}" for i in range(8)]]
    assert texts(lines) == expected
    random.Random(3).shuffle(lines)
    assert texts(lines) == expected


def test_a_heading_across_both_columns_comes_first_and_a_footer_last():
    lines = [
        line(50, 20, 780, "Heading", 40),
        *column(50, 400, 100, 6, "left"),
        *column(430, 780, 100, 6, "right"),
        line(50, 400, 780, "Footer"),
    ]
    order = [part[0] for part in texts(lines)]
    assert order == ["Heading", "left 0", "right 0", "Footer"]


def test_a_far_block_below_two_columns_is_not_drawn_into_the_left_one():
    lines = [
        *column(50, 400, 100, 2, "left"),
        *column(450, 780, 100, 2, "right"),
        line(50, 300, 420, "below"),
    ]
    assert [part[0] for part in texts(lines)] == ["left 0", "right 0", "below"]


def test_an_indent_starts_a_paragraph_and_the_margin_continues_it():
    first = column(50, 400, 100, 3, "a")
    second = [line(75, 178, 400, "b 0 " + "word " * 6), *column(50, 400, 204, 2, "b rest")]
    assert [len(part) for part in texts(first + second)] == [3, 3]


def test_a_short_row_ends_a_paragraph_but_ragged_rows_do_not():
    full = column(50, 400, 100, 3, "a")
    short = [line(50, 178, 120, "end.")]
    more = column(50, 400, 204, 3, "b")
    assert [len(part) for part in texts(full + short + more)] == [4, 3]
    ragged = [line(50, 100 + 26 * i, 390 - 7 * i, f"r {i} extraordinary") for i in range(4)]
    assert [len(part) for part in texts(ragged)] == [4]


def test_bullets_and_numbers_start_items_and_hanging_rows_stay_with_them():
    lines = [
        line(50, 100, 400, "1. the first item that runs"),
        line(80, 126, 400, "over two rows of the page"),
        line(50, 152, 400, "2. the second item that runs"),
        line(80, 178, 400, "over two rows of the page"),
    ]
    assert [len(part) for part in texts(lines)] == [2, 2]


def test_a_wider_gap_starts_a_paragraph():
    lines = column(50, 400, 100, 3, "a") + column(50, 400, 190, 3, "b")
    assert [len(part) for part in texts(lines)] == [3, 3]


def test_pieces_of_a_row_are_joined_but_a_gutter_keeps_columns_apart():
    pieces = [line(50, 100, 200, "one"), line(215, 101, 400, "two")]
    assert [row.text for row in join_rows(pieces)] == ["one two"]
    narrow = [p for i in range(4) for p in (line(50, 100 + 26 * i, 200, f"l{i}"),
                                            line(212, 100 + 26 * i, 400, f"r{i}"))]  # fmt: skip
    assert len(join_rows(narrow)) == 8


def test_a_receipt_is_read_across_its_prices():
    items = ["Paper plate", "Rye loaf 800 g", "Washing powder", "Raisins"]
    lines = [line(50, 20, 400, "THE CORNER SHOP, 12 HIGH STREET")]
    for i, item in enumerate(items):
        lines.append(line(50, 100 + 26 * i, 50 + 9 * len(item), item))
        lines.append(line(350, 101 + 26 * i, 400, f"{i}.50"))
    rows = [row.text for part in arrange(lines) for row in part.rows]
    assert rows[1:] == [f"{item} {i}.50" for i, item in enumerate(items)]


def test_a_table_beside_running_text_is_read_across_within_itself_only():
    lines = column(50, 400, 100, 6, "prose")
    for i in range(6):
        lines += [line(430, 100 + 26 * i, 480, f"key {i}"), line(600, 100 + 26 * i, 650, f"{i}.0")]
    rows = [row.text for part in arrange(lines) for row in part.rows]
    assert [row for row in rows if row.startswith("key")] == [f"key {i} {i}.0" for i in range(6)]
    assert rows[:6] == [f"prose {i} " + "word " * 5 + "word" for i in range(6)]


def rows_of(lines):
    return [row.text for part in arrange(lines) for row in part.rows]


def test_a_form_is_read_across_although_its_labels_are_long():
    labels = [
        "Previous employer (if any)",
        "Mr [ ] Mrs [ ] Other",
        "Name of the bank",
        "Date of birth (d/m/y)",
        "Height (in cm), weight",
    ]
    lines = []
    for i, label in enumerate(labels):
        lines.append(line(50, 100 + 36 * i, 50 + 9 * len(label), label))
        lines.append(line(320, 101 + 36 * i, 420 + 20 * (i % 3), f"value {i}"))
    assert rows_of(lines) == [f"{label} value {i}" for i, label in enumerate(labels)]


def test_a_long_list_is_read_across_above_a_few_rows_that_look_like_running_text():
    lines = []
    for i in range(7):
        lines.append(line(50, 100 + 26 * i, 150 + 7 * i, f"item {i}"))
        lines.append(line(450, 100 + 26 * i, 500, f"{i}.50"))
    thanks = [
        "THANK YOU, PLEASE COME AGAIN",
        "GOODS SOLD ARE NOT RETURNABLE",
        "ALL PRICES WITH TAX",
    ]
    lines += [line(50, 300 + 26 * i, 400, text) for i, text in enumerate(thanks)]
    assert rows_of(lines) == [f"item {i} {i}.50" for i in range(7)] + thanks


def test_a_list_is_read_across_below_a_centered_letterhead():
    names = [
        "THE CORNER SHOP AND MILL",
        "3RD FLOOR, HIGH STREET MARKET",
        "ALDBROOK, 55100 UPON STRAND",
        "REGISTERED AS 002017394688",
    ]
    lines = [line(225 - 5 * len(t), 20 + 26 * i, 225 + 5 * len(t), t) for i, t in enumerate(names)]
    for i in range(3):
        lines.append(line(90, 200 + 52 * i, 190, f"item {i}"))
        lines.append(line(370, 200 + 52 * i, 430, f"{i}.50"))
    assert rows_of(lines) == names + [f"item {i} {i}.50" for i in range(3)]


def test_amounts_that_stand_below_their_items_are_read_between_them():
    lines = []
    for i in range(3):
        lines.append(line(50, 100 + 36 * i, 180, f"item {i}"))
        lines.append(line(300, 118 + 36 * i, 500, f"1 x {i}.50"))
    assert rows_of(lines) == [text for i in range(3) for text in (f"item {i}", f"1 x {i}.50")]


def test_columns_whose_rows_stand_at_other_heights_stay_columns():
    left, right = column(50, 400, 100, 8, "left"), column(430, 780, 113, 8, "right")
    assert texts(left + right) == [
        [f"left {i}" for i in range(8)],
        [f"right {i}" for i in range(8)],
    ]


def test_a_margin_beside_running_text_is_not_read_across_into_the_table_below_the_text():
    margin = [line(50, 100 + 26 * i, 120, f"note {i}") for i in range(14)]
    table = []
    for i in range(5):
        table.append(line(250, 360 + 26 * i, 310, f"key {i}"))
        table.append(line(500, 360 + 26 * i, 540, f"{i}.0"))
    rows = rows_of([*margin, *column(250, 600, 100, 9, "prose"), *table])
    assert [row for row in rows if "note" in row] == [f"note {i}" for i in range(14)]
    assert [row for row in rows if "key" in row] == [f"key {i} {i}.0" for i in range(5)]


def test_the_labels_of_an_axis_are_one_row_although_no_other_row_is_like_it():
    lines = [
        line(60, 20, 300, "Output of the mill"),
        *(line(100 + 130 * i, 60, 140 + 130 * i, f"Q{i}") for i in range(4)),
        line(260, 86, 330, "+52.2 %"),
        line(90, 112, 180, "n = 6,381"),
    ]
    assert rows_of(lines) == ["Output of the mill", "Q0 Q1 Q2 Q3", "+52.2 %", "n = 6,381"]


def test_a_long_label_and_its_value_are_one_row_although_no_other_row_is_like_it():
    lines = [
        line(50, 100, 150, "Surname"), line(165, 100, 240, "Reed"),
        line(50, 126, 280, "Previous employer (if any)"), line(320, 126, 420, "Mills"),
        line(50, 152, 150, "Town"), line(165, 152, 340, "Aldbrook upon Strand"),
    ]  # fmt: skip
    across = ["Surname Reed", "Previous employer (if any) Mills", "Town Aldbrook upon Strand"]
    assert rows_of(lines) == across


def test_two_long_labels_alike_are_read_across_to_their_values():
    label = "Description of the goods:"
    lines = [line(50, 100, 300, label), line(350, 100, 550, "472 personal parcels"),
             line(50, 132, 300, label), line(350, 132, 500, "6 small bags")]  # fmt: skip
    assert rows_of(lines) == [f"{label} 472 personal parcels", f"{label} 6 small bags"]


def test_a_value_written_larger_than_its_label_stands_in_its_row():
    lines = []
    for i in range(3):
        lines.append(line(50, 100 + 50 * i, 150, f"label {i}"))
        lines.append(line(260, 92 + 50 * i, 360, f"value {i}", height=36))
    assert rows_of(lines) == [f"label {i} value {i}" for i in range(3)]


def test_steps_are_read_from_top_to_bottom_although_white_runs_down_between_them():
    lines = []
    for i in range(3):
        lines.append(line(50, 100 + 130 * i, 100, f"try {i}"))
        for k in range(4):
            lines.append(line(112, 126 + 130 * i + 26 * k, 400 + 30 * k, f"step {i}.{k}"))
    expected = [
        name for i in range(3) for name in (f"try {i}", *(f"step {i}.{k}" for k in range(4)))
    ]
    assert rows_of(lines) == expected


def test_two_long_rows_side_by_side_are_not_one_row():
    lines = [line(50, 100, 350, "a caption of the left picture"),
             line(430, 100, 750, "a caption of the right picture")]  # fmt: skip
    assert [len(part) for part in texts(lines)] == [1, 1]


def test_wide_characters_flow_without_spaces_and_words_with_them():
    (chinese,) = arrange(
        [line(50, 100, 400, "在西北黄土高原区中"), line(50, 126, 400, "甘肃省数量最多")]
    )
    assert chinese.flowing_text == "在西北黄土高原区中甘肃省数量最多"
    (english,) = arrange([line(50, 100, 400, "one two three"), line(50, 126, 400, "four five")])
    assert english.flowing_text == "one two three four five"
    assert english.text == "one two three\nfour five"


def test_vertical_text_stands_alone():
    lines = [*column(50, 400, 100, 4, "a"), Line((420, 100, 445, 300), "vertical")]
    assert ["vertical"] in [[row.text for row in part.rows] for part in arrange(lines)]


def test_nothing_gives_nothing():
    assert arrange([]) == [] and reading_order([], 20.0) == []


coordinates = st.integers(0, 2000)
boxes = st.builds(
    lambda x, y, w, h: (float(x), float(y), float(x + w), float(y + h)),
    coordinates, coordinates, st.integers(1, 900), st.integers(1, 90),
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.lists(boxes, max_size=25), st.randoms(use_true_random=False))
def test_every_line_stands_in_exactly_one_paragraph(found, rng):
    lines = [Line(box, f"text {i}") for i, box in enumerate(found)]
    arranged = [part.lines for part in arrange(lines)]
    assert sorted(x.text for part in arranged for x in part) == sorted(x.text for x in lines)
    shuffled = list(lines)
    rng.shuffle(shuffled)
    assert [part.lines for part in arrange(shuffled)] == arranged


@settings(max_examples=40, deadline=None)
@given(st.lists(boxes, max_size=15), st.sampled_from([2, 4]))
def test_the_resolution_does_not_matter(found, factor):
    def grouped(scale):
        lines = [Line(tuple(v * scale for v in box), f"t {i}") for i, box in enumerate(found)]
        return [[line.text for line in part.lines] for part in arrange(lines)]

    assert grouped(1) == grouped(factor)


def test_a_column_that_a_figure_breaks_is_read_to_its_end_before_the_next():
    left = [*column(50, 400, 100, 6, "left"), line(50, 520, 250, "Fig. 2")]
    left += column(50, 400, 570, 6, "more")
    right = column(430, 780, 100, 12, "right")
    order = [part[0] for part in texts(left + right)]
    assert order == ["left 0", "Fig. 2", "more 0", "right 0"]


def test_two_receipts_side_by_side_are_read_one_after_the_other():
    lines = []
    for x, shop in ((50, "CAFE"), (900, "BASIN SHOP")):
        lines.append(line(x, 100, x + 90, shop))
        for i in range(3):
            lines.append(line(x, 130 + 30 * i, x + 60, f"{shop[0]}{i}"))
            lines.append(line(x + 170, 130 + 30 * i, x + 240, f"{i}.50"))
    across = [f"{shop[0]}{i} {i}.50" for shop in ("CAFE", "BASIN") for i in range(3)]
    assert [row for row in rows_of(lines) if "." in row] == across
    assert rows_of(lines)[0] == "CAFE" and rows_of(lines)[4] == "BASIN SHOP"


def test_a_table_of_four_columns_is_still_read_across():
    lines = []
    for i in range(4):
        for x, text in ((50, f"lock {i}"), (600, "1794"), (850, "4.20"), (1150, "12.50")):
            lines.append(line(x, 100 + 40 * i, x + 80, text))
    assert rows_of(lines) == [f"lock {i} 1794 4.20 12.50" for i in range(4)]


def test_stanzas_side_by_side_are_read_one_after_the_other():
    verses = ["the boats go down", "at break of day", "the coal is weighed", "the tolls they pay"]
    lines = []
    for i, text in enumerate(verses):
        lines.append(line(50, 100 + 30 * i, 50 + 10 * len(text), text))
        lines.append(line(600, 100 + 30 * i, 600 + 10 * len(text), text.upper()))
    assert rows_of(lines) == verses + [text.upper() for text in verses]


@pytest.mark.parametrize("left", [50, 850])
@pytest.mark.parametrize("rows", [1, 3, 5])
def test_marginal_notes_are_read_before_the_paragraphs_that_they_stand_beside(left, rows):
    lines = []
    for i in range(3):
        for row in range(rows):
            lines.append(line(left, 100 + 200 * i + 22 * row, left + 120, f"note {i}", 16))
        lines += column(250, 800, 100 + 200 * i, 5, f"text {i}")
    order = [part[0] for part in texts(lines)]
    assert order == [name for i in range(3) for name in (f"note {i}", f"text {i} 0")]


def test_ragged_columns_with_a_narrow_gutter_stay_columns():
    lines = []
    for i in range(5):
        lines.append(line(50, 100 + 26 * i, 360 + 8 * (i * 7 % 5), f"left {i} " + "word " * 6))
        lines.append(line(410, 100 + 26 * i, 700 + 9 * (i * 3 % 5), f"right {i} " + "word " * 6))
    assert texts(lines) == [[f"left {i}" for i in range(5)], [f"right {i}" for i in range(5)]]


def test_dots_that_lead_to_a_page_number_are_one_sign():
    lines = [line(50, 100, 380, "2 The railway . . . . .. ."), line(400, 100, 430, "17")]
    assert rows_of(lines) == ["2 The railway … 17"]
    assert rows_of([line(50, 100, 380, "and so on....")]) == ["and so on...."]


def test_a_note_along_the_edge_is_read_after_the_page():
    stamp = Line((10, 100, 30, 400), "Archive copy")
    assert texts([stamp, *column(50, 400, 100, 4, "text")])[-1] == ["Archive copy"]
