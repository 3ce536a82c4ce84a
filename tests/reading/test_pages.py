"""Page reading around a detector and a recognizer that are drawn by hand, and the real one."""

import random

import pytest
from PIL import Image, ImageDraw

from manifold_ocr.errors import UserError
from manifold_ocr.models.base import Recognition
from manifold_ocr.reading.detect import (
    DetectedLine,
    DetectionConfig,
    LineDetector,
    crop_line,
    usual_height,
)
from manifold_ocr.reading.page import PageReader, open_pages
from manifold_ocr.reading.straighten import is_line_image


def quad(x0, y0, x1, y1):
    return DetectedLine(((x0, y0), (x1, y0), (x1, y1), (x0, y1)), 0.9)


class Boxes:
    """A detector that returns what it was given."""

    def __init__(self, lines):
        self.lines = lines

    def detect(self, image):
        return self.lines


class Widths:
    """A recognizer that reads an image as its width; 13 pixels read as nothing."""

    family = name = "widths"

    def recognize(self, images, prompts=None):
        for image in images:
            yield Recognition("" if image.width == 13 else f"w{image.width}", 0.8)

    def vision_tokens(self, size):
        return 0


def read(lines, size=(400, 300), mode="auto"):
    return PageReader(Boxes(lines), Widths()).read(Image.new("RGB", size, "white"), mode)


def test_a_page_is_read_line_by_line_in_order_with_boxes_and_confidence():
    page = read([quad(10, 60, 210, 80), quad(10, 10, 160, 30), quad(10, 200, 23, 215)])
    assert page.mode == "page" and page.text == "w150\n\nw200"
    assert [line.box for line in page.lines] == [(10, 10, 160, 30), (10, 60, 210, 80)]
    assert page.confidence == pytest.approx(0.8)
    value = page.as_json()
    assert value["paragraphs"][0]["lines"][0] == {
        "box": [10, 10, 160, 30], "text": "w150", "confidence": 0.8,
    }  # fmt: skip


def test_a_blank_page_has_no_text_and_no_confidence():
    page = read([])
    assert (page.text, page.confidence, page.mode) == ("", None, "page")


@pytest.mark.parametrize(
    ("size", "lines", "expected"),
    [
        ((400, 300), [quad(10, 10, 390, 30)], "page"),  # one line on a page of paper
        ((400, 40), [quad(10, 5, 390, 35)], "line"),
        ((400, 40), [quad(10, 5, 190, 35), quad(210, 6, 390, 34)], "line"),
        ((400, 90), [quad(10, 5, 390, 40), quad(10, 50, 390, 85)], "page"),
        ((400, 40), [], "line"),
        ((900, 60), [quad(0, 0, 90, 9), quad(0, 30, 90, 39)], "page"),  # two rows are no line
        ((900, 60), [quad(0, 5, 200, 55), quad(700, 5, 900, 55)], "page"),  # words far apart
        ((60, 400), [quad(5, 5, 55, 395)], "page"),  # text that runs down
    ],
)
def test_lines_and_pages_are_told_apart(size, lines, expected):
    assert read(lines, size).mode == expected
    assert read(lines, size, mode="page").mode == "page"
    assert read(lines, size, mode="line").text == f"w{max(size)}"


def test_auto_is_never_empty_where_lines_were_found():
    lines, size = [quad(0, 1, 12, 9)], (13, 10)
    assert is_line_image(size, lines) and read(lines, size, "line").text == ""
    assert (read(lines, size).text, read(lines, size).mode) == ("w12", "page")


def test_is_line_image_needs_the_row_to_fill_the_height():
    assert is_line_image((300, 50), [quad(0, 10, 300, 40)])
    assert not is_line_image((300, 200), [quad(0, 10, 300, 40)])


def test_a_skewed_line_is_straightened_and_vertical_text_turned():
    page = Image.new("RGB", (300, 300), "white")
    skewed = DetectedLine(((20, 40), (220, 80), (214, 110), (14, 70)), 0.9)
    assert crop_line(page, skewed).size == (204, 31)
    assert crop_line(page, quad(10, 10, 30, 210)).size == (200, 20)
    assert crop_line(page, quad(10, 10, 110, 30)).size == (100, 20)


def test_a_lone_digit_is_not_taken_for_vertical_text():
    found = [quad(10, 10, 200, 34), quad(10, 50, 200, 74), quad(10, 90, 22, 114)]
    page = Image.new("RGB", (300, 300), "white")
    assert crop_line(page, found[2], usual_height(found)).size == (12, 24)
    tall = quad(250, 10, 270, 200)
    assert crop_line(page, tall, usual_height([*found, tall])).size == (190, 20)


def test_pdfs_are_read_page_by_page(tmp_path):
    pytest.importorskip("pypdfium2")
    sheets = [Image.new("RGB", (200, 100 + 100 * i), "white") for i in range(2)]
    sheets[0].save(tmp_path / "two.pdf", save_all=True, append_images=sheets[1:], resolution=100)
    pages = list(open_pages(tmp_path / "two.pdf", dpi=200))
    assert [label.rsplit("#")[1] for label, _ in pages] == ["page=1", "page=2"]
    assert [image.size for _, image in pages] == [(400, 200), (400, 400)]


def test_bad_files_are_one_clear_error(tmp_path):
    pytest.importorskip("pypdfium2")
    (tmp_path / "bad.pdf").write_bytes(b"hello")
    for name, said in (
        ("bad.pdf", "not a PDF"),
        ("none.pdf", "no such file"),
        ("none.png", "no such"),
    ):
        with pytest.raises(UserError, match=said):
            list(open_pages(tmp_path / name))


def test_faint_lines_are_found_between_dark_specks():
    page = Image.new("RGB", (500, 330), (210, 210, 210))
    draw = ImageDraw.Draw(page)
    for row in range(6):
        draw.text((30, 20 + 50 * row), f"Row {row} of a page", fill=(190, 190, 190), font_size=24)
    rng = random.Random(5)
    for _ in range(3000):
        page.putpixel((rng.randrange(500), rng.randrange(330)), (20, 20, 20))
    detector = LineDetector(DetectionConfig(threads=1))
    assert len(detector.detect(page)) == 6
    with_specks_only = Image.new("RGB", (300, 200), "white")
    for _ in range(600):
        with_specks_only.putpixel((rng.randrange(300), rng.randrange(200)), (20, 20, 20))
    assert detector.detect(with_specks_only) == []


def test_the_detector_of_the_wheel_finds_lines_at_any_resolution():
    page = Image.new("RGB", (700, 320), "white")
    draw = ImageDraw.Draw(page)
    for row in range(4):
        draw.text((40, 40 + 60 * row), f"Row {row} of a page", fill="black", font_size=28)
    detector = LineDetector(DetectionConfig(threads=1))
    found = detector.detect(page)
    assert len(found) == 4 and all(25 < line.height < 50 for line in found)
    small = page.resize((233, 107), Image.Resampling.LANCZOS)
    assert len(detector.detect(small)) == 4
    assert detector.detect(Image.new("RGB", (300, 200), "white")) == []


@pytest.mark.parametrize(("gray", "left_out"), [(200, True), (60, False)])
def test_a_pale_word_askew_behind_the_text_is_a_watermark_and_a_dark_one_a_stamp(gray, left_out):
    page = Image.new("RGB", (400, 400), "white")
    slanted = ((60.0, 300.0), (240.0, 150.0), (266.0, 181.0), (86.0, 331.0))
    ImageDraw.Draw(page).line([*slanted, slanted[0]], fill=(gray, gray, gray), width=5)
    for top in (20, 60):
        ImageDraw.Draw(page).rectangle((14, top + 4, 186, top + 12), fill="black")
    lines = [quad(10, 20, 190, 40), quad(10, 60, 190, 80), DetectedLine(slanted, 0.9)]
    found = PageReader(Boxes(lines), Widths()).read(page, "page")
    assert [line.note for line in found.watermarks] == ["watermark"] * left_out
    assert len(found.lines) == 3 - left_out
    assert [value["note"] for value in found.as_json()["watermarks"]] == ["watermark"] * left_out
    alone = PageReader(Boxes(lines[2:]), Widths()).read(page, "page")
    assert not alone.watermarks and len(alone.lines) == 1


def test_a_small_row_under_a_headline_is_no_part_of_its_line():
    """A sign: the headline 95 pixels high, 45 below it a row of 27; it was read as one line."""
    from manifold_ocr.reading.detect import DetectedLine
    from manifold_ocr.reading.straighten import is_line_image

    def box(x0, y0, x1, y1):
        return DetectedLine(((x0, y0), (x1, y0), (x1, y1), (x0, y1)), 0.9)

    headline = box(15, 10, 635, 145)
    assert is_line_image((700, 170), [headline])
    assert is_line_image((700, 170), [box(15, 10, 300, 145), box(330, 50, 600, 140)])
    assert not is_line_image((700, 260), [headline, box(20, 155, 370, 200)])
    price = [box(20, 20, 265, 125), box(325, 60, 435, 92), box(325, 98, 462, 126)]
    assert not is_line_image((500, 210), price)
