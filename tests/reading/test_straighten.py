"""Pages that lie turned, skewed or have joined columns: geometry drawn by hand, texts known."""

import math

import pytest
from PIL import Image, ImageDraw, ImageFont

from manifold_ocr.models.base import Recognition
from manifold_ocr.reading.detect import DetectedLine, DetectionConfig, LineDetector, ordered_quad
from manifold_ocr.reading.engines.rapidocr import RapidOcr
from manifold_ocr.reading.page import PageReader
from manifold_ocr.reading.straighten import (
    skew_of,
    straight_box,
    turn_lines,
    turn_point,
)
from manifold_ocr.synthetic.fonts import font_path

ROWS = [
    "The harbor master kept a ledger",
    "of every barge that passed",
    "between March and November",
    "and the name of its skipper.",
]
COLUMNS = ["港务长每年都会记录", "他用细长的字写下货物", "铁路很快夺走生意"]


def quad(x0, y0, x1, y1, angle=0.0):
    """A box of a straight page that was rotated clockwise by degrees about the origin."""
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    corners = ((x0, y0), (x1, y0), (x1, y1), (x0, y1))
    return DetectedLine(tuple((x * cos - y * sin, x * sin + y * cos) for x, y in corners), 0.9)


def page_of(rows, size=(560, 300), face="roboto", height=28):
    page = Image.new("RGB", size, "white")
    font = ImageFont.truetype(str(font_path(face)), height)
    for number, row in enumerate(rows):
        ImageDraw.Draw(page).text((30, 30 + 60 * number), row, fill="black", font=font)
    return page


def vertical_page():
    """Columns of Chinese from right to left, each from top to bottom."""
    page = Image.new("RGB", (340, 440), "white")
    font = ImageFont.truetype(str(font_path("noto-sans-sc")), 34)
    for column, text in enumerate(COLUMNS):
        for row, character in enumerate(text):
            at = (260 - 90 * column, 30 + 38 * row)
            ImageDraw.Draw(page).text(at, character, fill="black", font=font)
    return page


@pytest.fixture(scope="module")
def reader():
    return PageReader(LineDetector(DetectionConfig(threads=1)), RapidOcr(threads=1))


def test_points_turn_with_the_image():
    image = Image.new("L", (5, 3))
    image.putpixel((4, 1), 255)
    for turn, how in ((1, Image.Transpose.ROTATE_90), (2, Image.Transpose.ROTATE_180),
                      (3, Image.Transpose.ROTATE_270)):  # fmt: skip
        x, y = turn_point((4.5, 1.5), image.size, turn)  # the middle of the pixel
        assert image.transpose(how).getpixel((int(x), int(y))) == 255


def test_lines_turn_there_and_back():
    line = quad(10, 20, 110, 40)
    for turn in range(4):
        size = (200, 300) if turn % 2 == 0 else (300, 200)
        assert turn_lines(turn_lines([line], (200, 300), turn), size, -turn) == [line]


def test_corners_start_at_the_top_left_whatever_the_detector_starts_at():
    corners = [(10, 20), (110, 22), (109, 42), (9, 40)]
    for start in range(4):
        assert ordered_quad(corners[start:] + corners[:start]) == tuple(corners)


@pytest.mark.parametrize("angle", [-10.0, -3.0, 3.0, 7.0, 10.0])
def test_skew_is_the_angle_of_the_text_and_taken_out(angle):
    boxes = [(50, 100 + 30 * i, 450, 120 + 30 * i) for i in range(8)]
    lines = [quad(*box, angle) for box in boxes]
    assert skew_of(lines) == pytest.approx(angle)
    for box, line in zip(boxes, lines, strict=True):
        assert straight_box(line, skew_of(lines)) == pytest.approx(box)


def test_a_lone_slanted_word_does_not_skew_a_straight_page():
    lines = [quad(50, 100 + 30 * i, 450, 120 + 30 * i) for i in range(8)]
    assert skew_of([*lines, quad(50, 400, 150, 420, 20.0)]) == 0.0
    assert skew_of([]) == 0.0


@pytest.mark.parametrize("turn", [0, 1, 2, 3])
def test_turned_pages_are_found_and_read(reader, turn):
    upright = page_of(ROWS)
    how = (None, Image.Transpose.ROTATE_270, Image.Transpose.ROTATE_180, Image.Transpose.ROTATE_90)
    image = upright if not turn else upright.transpose(how[turn])
    page = reader.read(image)
    assert page.text.split() == " ".join(ROWS).split()
    assert page.turn == turn
    x0, y0, x1, y1 = page.lines[0].box  # in the image as it came
    dark = image.crop((round(x0), round(y0), round(x1), round(y1))).convert("L")
    assert min(dark.getdata()) < 80


@pytest.mark.parametrize("angle", [-6, 4])
def test_skewed_columns_are_read_as_if_straight(reader, angle):
    page = Image.new("RGB", (1000, 420), "white")
    page.paste(page_of(ROWS, (500, 300), height=26), (0, 50))
    page.paste(page_of(ROWS[::-1], (500, 300), height=26), (500, 50))
    turned = page.rotate(angle, Image.Resampling.BICUBIC, fillcolor="white", expand=True)
    found = reader.read(turned)
    assert found.text.split() == " ".join([*ROWS, *ROWS[::-1]]).split()
    assert found.skew == pytest.approx(-angle, abs=0.5)


@pytest.mark.parametrize("angle", [0, 3])
def test_vertical_columns_are_read_from_right_to_left(reader, angle):
    page = vertical_page().rotate(angle, Image.Resampling.BICUBIC, True, fillcolor="white")
    assert reader.read(page).text.split() == COLUMNS


def test_a_strip_of_two_rows_is_not_squeezed_into_one(reader):
    page = page_of([], (1500, 110))
    font = ImageFont.truetype(str(font_path("roboto")), 26)
    for row, text in enumerate(("Opening hours Monday to Friday", "Deliveries by the yard gate")):
        ImageDraw.Draw(page).text((20, 12 + 48 * row), text, fill="black", font=font)
    assert reader.read(page).text.splitlines() == [
        "Opening hours Monday to Friday", "Deliveries by the yard gate",
    ]  # fmt: skip


class Doubtful:
    """Reads nothing, or the same with little confidence."""

    family = name = "doubtful"

    def __init__(self, text, confidence=0.3):
        self.text, self.confidence = text, confidence

    def recognize(self, images, prompts=None):
        for _ in images:
            yield Recognition(self.text, self.confidence)


@pytest.mark.parametrize("text", ["", "oe"])
def test_text_that_the_model_cannot_write_is_said(text):
    class Found:
        def detect(self, image):
            return [quad(20, 20, 200, 50)]

    page = PageReader(Found(), Doubtful(text)).read(Image.new("RGB", (300, 300), "white"))
    ((line),) = page.unreadable
    assert (line.note, line.box) == ("unreadable script", (20, 20, 200, 50))
    assert page.as_json()["unreadable"][0]["note"] == "unreadable script"
    assert page.text == text


@pytest.mark.parametrize(("text", "said"), [("  y ", 1), ("7", 0), ("Sum", 0), ("合计", 0)])
def test_a_letter_for_a_whole_line_is_another_script(text, said):
    """A Hebrew line comes out as one sure letter; a number may stand behind leaders."""

    class Found:
        def detect(self, image):
            return [quad(20, 20, 200, 50)]

    page = PageReader(Found(), Doubtful(text, 0.95)).read(Image.new("RGB", (300, 300), "white"))
    assert len(page.unreadable) == said and page.text == text.strip()


def test_a_strip_of_many_words_is_read_in_pieces(reader):
    text = " ".join(["river stone market ledger window copper harbor violet engine paper"] * 5)
    font = ImageFont.truetype(str(font_path("roboto")), 28)
    strip = Image.new("RGB", (round(font.getlength(text)) + 24, 44), "white")
    ImageDraw.Draw(strip).text((12, 4), text, fill="black", font=font)
    assert strip.width > 66 * strip.height  # wider than recognizers take
    sizes = []
    engine = reader.detector._engine
    reader.detector._engine = lambda pixels: sizes.append(pixels.shape) or engine(pixels)
    try:
        page = reader.read(strip)
    finally:
        reader.detector._engine = engine
    assert (page.mode, page.text) == ("line", text)
    # rapidocr enlarges the shorter side to 736: 40 megapixels without margins
    assert all(min(height, width) >= 736 for height, width, _ in sizes) and len(sizes) == 1


@pytest.mark.parametrize("size", [(1, 1), (3, 9), (1, 900), (900, 1)])
def test_tiny_and_thin_images_cost_no_more_than_a_page(reader, size):
    """rapidocr adds 60 rows to a low image, then enlarges the shorter side to 736 pixels."""
    sizes = []
    engine = reader.detector._engine
    reader.detector._engine = lambda pixels: sizes.append(pixels.shape[:2]) or engine(pixels)
    try:
        assert reader.read(Image.new("RGB", size, "white")).text == ""
    finally:
        reader.detector._engine = engine
    for height, width in sizes:
        height += 60 if height <= 30 else 0
        assert width * height * max(1, 736 / min(width, height)) ** 2 < 3_000_000
