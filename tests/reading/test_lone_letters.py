"""A lone letter gets its case from the row that it was cut from, and only from the same row."""

import pytest
from PIL import Image

from manifold_ocr.models.base import Recognition
from manifold_ocr.reading.layout.lines import Line
from manifold_ocr.reading.lone_letters import with_the_case_of_their_row

PIECES = [("Nr 176.00", 10, 200), ("X 3", 240, 330), ("528.00", 370, 500)]


class Reads:
    family = name = "fixed"

    def __init__(self, text):
        self.text, self.sizes = text, []

    def recognize(self, images, prompts=None):
        for image in images:
            self.sizes.append(image.size)
            yield Recognition(self.text, 0.9)

    def vision_tokens(self, size):
        return 0


def texts(whole, pieces=PIECES):
    lines = [Line((x0, 20, x1, 56), text, 0.9) for text, x0, x1 in pieces]
    model = Reads(whole)
    found = with_the_case_of_their_row(Image.new("RGB", (600, 80), "white"), lines, model)
    return [line.text for line in found], model.sizes


@pytest.mark.parametrize(
    ("whole", "expected"),
    [
        ("Nr 176.00 x 3 528.00", "x 3"),
        ("nr 176.00x3 528.00", "x 3"),  # spaces and the other pieces stay as they are
        ("Nr 176.00 X 3 528.00", "X 3"),
        ("Nr 176.00 x 8 528.00", "X 3"),  # another reading decides nothing
        ("", "X 3"),
    ],
)
def test_the_row_decides_the_case_of_a_lone_letter(whole, expected):
    found, sizes = texts(whole)
    assert found == ["Nr 176.00", expected, "528.00"]
    assert sizes == [(490, 36)]


@pytest.mark.parametrize("piece", ["A 3", "OK", "33"])
def test_other_pieces_and_lone_rows_are_not_read_again(piece):
    assert texts("", [("total", 10, 200), (piece, 240, 330)]) == (["total", piece], [])
    assert texts("", [("X 3", 240, 330)]) == (["X 3"], [])
