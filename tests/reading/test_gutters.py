"""Joined columns are cut at their gutter; words, faint print and type of one width are not."""

import random

import pytest
from PIL import Image, ImageDraw, ImageFont

from manifold_ocr.reading.detect import DetectedLine
from manifold_ocr.reading.gutters import cut_joined_columns, white_gaps
from manifold_ocr.synthetic.fonts import font_path

TICKET = ["8x RICE MILK 2L 27.05", "2x SOAP BARS 4P 13.20", "1x BLUE INK 30 ML 5.99"]


def box_line(x0, y0, x1, y1):
    return DetectedLine(((x0, y0), (x1, y0), (x1, y1), (x0, y1)), 0.9)


def test_white_gaps_are_those_without_ink():
    piece = Image.new("RGB", (200, 20), "white")
    for x0, x1 in ((0, 40), (44, 90), (120, 199)):
        ImageDraw.Draw(piece).rectangle((x0, 8, x1, 11), fill="black")
    assert white_gaps(piece, 0.5) == [(91, 120)]
    assert white_gaps(Image.new("RGB", (200, 20), "white"), 0.5) == []


def _two_columns(gutter, rows=6):
    """Two columns of black words with random spaces, and the boxes that join them."""
    rng = random.Random(7)
    page, lines = Image.new("RGB", (700, 400), "white"), []
    for row in range(rows):
        top = 20 + 30 * row
        for x0, x1 in ((20, 340), (340 + gutter, 680)):
            x = x0
            while x < x1:
                end = min(x + rng.randrange(20, 60), x1)
                ImageDraw.Draw(page).rectangle((x, top + 5, end - 1, top + 15), fill="black")
                x = end + 6 if end + 6 < x1 else x1
        lines.append(box_line(20, top, 680, top + 20))
    return page, lines


def test_joined_columns_are_cut_at_their_gutter():
    page, lines = _two_columns(gutter=14)
    found = cut_joined_columns(page, lines, 0.0)
    assert len(found) == 12
    for left, right in zip(found[::2], found[1::2], strict=True):
        assert 340 <= left.box[2] < right.box[0] <= 354


def test_spaces_between_words_and_short_runs_are_no_gutter():
    page, lines = _two_columns(gutter=6)
    assert cut_joined_columns(page, lines, 0.0) == lines
    page, lines = _two_columns(gutter=14, rows=3)
    assert cut_joined_columns(page, lines, 0.0) == lines


@pytest.mark.parametrize("face", ["dejavu-mono", "space-mono"])
def test_spaces_of_type_of_one_width_are_no_gutter(face):
    font = ImageFont.truetype(str(font_path(face)), 20)
    page, lines = Image.new("RGB", (300, 320), "white"), []
    for number, row in enumerate(TICKET * 3):
        top = 10 + 30 * number
        ImageDraw.Draw(page).text((10, top), row, fill="black", font=font)
        lines.append(box_line(8, top, 12 + round(font.getlength(row)), top + 26))
    assert any(white_gaps(page.crop((8, 10, 260, 36)), 0.45))  # wide enough, in every row
    assert cut_joined_columns(page, lines, 0.0) == lines


def test_faint_print_under_dark_specks_is_whole():
    rng = random.Random(3)
    page, lines = _two_columns(gutter=6)
    gray = page.convert("L").point(lambda value: 225 if value > 128 else 165)
    for _ in range(700 * 400 // 100):
        gray.putpixel((rng.randrange(700), rng.randrange(400)), 0)
    faint = gray.convert("RGB")
    assert cut_joined_columns(faint, lines, 0.0) == lines


def test_white_beside_full_width_punctuation_is_no_gutter():
    font = ImageFont.truetype(str(font_path("noto-sans-sc")), 22)
    page, lines = Image.new("RGB", (420, 200), "white"), []
    for number, row in enumerate(
        ["如果评论出现营养，请立即团聚", "如果车间出现芯片，请立即请求"] * 3
    ):
        top = 10 + 30 * number
        ImageDraw.Draw(page).text((10, top), row, fill="black", font=font)
        lines.append(box_line(8, top + 2, 12 + round(font.getlength(row)), top + 30))
    assert any(white_gaps(page.crop((8, 12, 330, 40)), 0.45))
    assert cut_joined_columns(page, lines, 0.0) == lines
