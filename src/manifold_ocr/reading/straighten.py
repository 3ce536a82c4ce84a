"""How a page lies: quarter turns and skew; what dot leaders hide from the detector.

Lines are detected on the image as it is. What follows works on their quadrangles: turned by
quarters, and rotated by the skew into a straight frame where reading order is decided.
"""

import itertools
import math
import re
from collections.abc import Callable, Sequence
from statistics import mean

from PIL import Image

from manifold_ocr.reading.detect import (
    DetectedLine,
    Point,
    crop_line,
    line_size,
    ordered_quad,
    runs_down,
)
from manifold_ocr.reading.layout.lines import Line, overlap
from manifold_ocr.records import Box

QUARTER = (None, Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_180, Image.Transpose.ROTATE_270)
TALL = 1.5  # a line this much higher than wide runs down the image
STRIP = 2.5  # and one this much holds several characters
MOST = 0.6  # share of the lines' length that runs down a sideways page
SAMPLE = 6  # lines that decide about a turn
SURE = 0.9  # mean confidence from which a page is not tried upside down
BETTER = 0.1  # by which the other way up must be more confident
LEAST_SKEW = 1.0  # degrees; below, boxes stay as they are
MOST_SKEW = 45.0
FAR_APART = 3.0  # pieces of one row this many line heights apart are read one by one
LINE_COVER = 0.4  # a lone row that fills this share of the height is an image of a line
PAGE_NUMBER = re.compile(r"\d{1,4}|[ivxlc]{1,7}")

Confidences = Callable[[Sequence[Image.Image]], Sequence[float | None]]


def turn_point(point: Point, size: tuple[int, int], turn: int) -> Point:
    """Return a point of an image of `size` after `turn` quarter turns counter-clockwise."""
    (x, y), (width, height) = point, size
    return ((x, y), (y, width - x), (width - x, height - y), (height - y, x))[turn % 4]


def turn_lines(
    lines: Sequence[DetectedLine], size: tuple[int, int], turn: int
) -> list[DetectedLine]:
    """Return lines as they lie in the image turned by `turn` quarters counter-clockwise."""
    if not turn:
        return list(lines)
    return [
        DetectedLine(ordered_quad([turn_point(p, size, turn) for p in line.quad]), line.score)
        for line in lines
    ]


def quarter_turns(
    image: Image.Image, lines: Sequence[DetectedLine], confidences: Confidences
) -> int:
    """Return the quarter turns counter-clockwise (0, 1 or 3) that lay most lines level.

    Of a page whose lines run down, the longest are read both ways: the recognizer is sure of
    the right one. Vertical Chinese and Japanese is read turned counter-clockwise, which also
    brings its columns (right to left) into the order of rows. Without confidences (a model
    that has none) sideways pages are turned counter-clockwise.
    """
    sizes = [line_size(line) for line in lines]
    tall = [line for line, (w, h) in zip(lines, sizes, strict=True) if h > TALL * w]
    length = sum(max(line_size(line)) for line in tall)
    if not tall or length < MOST * sum(max(size) for size in sizes):
        return 0
    chosen = _longest(tall)
    if max(h / max(w, 1.0) for w, h in map(line_size, chosen)) < STRIP:
        return 0  # single characters
    pieces = [crop_line(image, line, turn=False) for line in chosen]
    ways = {turn: _mean(confidences([quarter(p, turn) for p in pieces])) for turn in (1, 3)}
    return 3 if ways[3] > ways[1] else 1


def is_upside_down(
    image: Image.Image, lines: Sequence[DetectedLine], sure: float, confidences: Confidences
) -> bool:
    """Tell whether level lines are read more confidently turned by 180 degrees.

    `sure` is the mean confidence of the page as it lies; only doubt costs another reading.
    """
    if sure >= SURE or not lines:
        return False
    pieces = [quarter(crop_line(image, line), 2) for line in _longest(lines)]
    return _mean(confidences(pieces)) >= sure + BETTER


def ways_up(line: DetectedLine, usual: float) -> tuple[int, ...]:
    """Return the quarter turns in which a line may be read: both where it runs down the page."""
    return (1, 3) if runs_down(line_size(line), usual) else (0,)


def is_line_image(size: tuple[int, int], found: list[DetectedLine]) -> bool:
    """Tell whether the detected lines make one row that fills most of the image's height.

    Of a row whose pieces stand far apart the pieces are read, not the white between them.
    """
    width, height = size
    if not found:
        return width >= 2 * height
    lines = sorted((Line(line.box) for line in found), key=lambda line: line.box[0])
    top, bottom = min(line.box[1] for line in lines), max(line.box[3] for line in lines)
    tallest = max(line.box[3] - line.box[1] for line in lines)
    high = max(lines, key=lambda line: line.box[3] - line.box[1]).box
    if any(not high[1] < (line.box[1] + line.box[3]) / 2 < high[3] for line in lines):
        return False  # a small row under a headline
    for one, other in itertools.combinations([line.box for line in lines], 2):
        across = min(one[2], other[2]) - max(one[0], other[0])
        if across > 0 and min(one[3], other[3]) <= max(one[1], other[1]):
            return False  # small rows beside a headline, one above the other
    if any(line.box[3] - line.box[1] > 2 * (line.box[2] - line.box[0]) for line in lines):
        return False  # text that runs down
    spaces = [b.box[0] - a.box[2] for a, b in itertools.pairwise(lines)]
    one_row = bottom - top < 1.6 * tallest and tallest >= LINE_COVER * height
    return one_row and max(spaces, default=0.0) < FAR_APART * tallest


def quarter(image: Image.Image, turn: int) -> Image.Image:
    """Return the image turned by quarters counter-clockwise."""
    how = QUARTER[turn % 4]
    return image if how is None else image.transpose(how)


def _longest(lines: Sequence[DetectedLine]) -> list[DetectedLine]:
    return sorted(lines, key=lambda line: -max(line_size(line)))[:SAMPLE]


def _mean(values: Sequence[float | None]) -> float:
    return mean(value or 0.0 for value in values) if values else 0.0


def skew_of(lines: Sequence[DetectedLine]) -> float:
    """Return the angle in degrees, clockwise positive, of most of the text; 0 where straight.

    The median over lines clearly longer than high, weighted by length.
    """
    angles = []
    for line in lines:
        width, height = line_size(line)
        if width >= 4 * height:
            (ax, ay), (bx, by), (cx, cy), (dx, dy) = line.quad
            angles.append((math.degrees(math.atan2(by - ay + cy - dy, bx - ax + cx - dx)), width))
    if not angles:
        return 0.0
    angles.sort()
    half, passed = sum(width for _, width in angles) / 2, 0.0
    for angle, width in angles:
        passed += width
        if passed >= half:
            return angle if LEAST_SKEW <= abs(angle) <= MOST_SKEW else 0.0
    return 0.0


def straight_box(line: DetectedLine, skew: float) -> Box:
    """Return the upright box of a line after the page is rotated back by `skew` degrees."""
    if not skew:
        return line.box
    cos, sin = math.cos(math.radians(-skew)), math.sin(math.radians(-skew))
    xs = [x * cos - y * sin for x, y in line.quad]
    ys = [x * sin + y * cos for x, y in line.quad]
    return min(xs), min(ys), max(xs), max(ys)


def missed_beside_numbers(
    page: Image.Image, lines: Sequence[DetectedLine], texts: Sequence[str]
) -> list[DetectedLine]:
    """Return what stands left of page numbers that were found alone at the right margin.

    Dots that lead from a title to its page make the detector miss the whole line but for its
    number. The strip between the margins is a line where it holds ink.
    """
    if len(lines) < 2:
        return []
    left, right = min(line.box[0] for line in lines), max(line.box[2] for line in lines)
    found = []
    for line, text in zip(lines, texts, strict=True):
        x0, y0, x1, y1 = line.box
        height = y1 - y0
        if not PAGE_NUMBER.fullmatch(text.strip()) or x1 < right - height:
            continue
        beside = any(
            other is not line and overlap(y0, y1, other.box[1], other.box[3]) > 0.4 * height
            for other in lines
        )
        strip = (math.floor(left), math.floor(y0), math.floor(x0), math.ceil(y1))
        if beside or strip[2] - strip[0] < 3 * height:
            continue
        gray = page.crop(strip).convert("L")
        ground = gray.histogram().index(max(gray.histogram()))
        ink = gray.point(lambda value, at=ground: 255 if abs(value - at) > 96 else 0).getbbox()
        if ink is not None and ink[2] - ink[0] > 2 * height:
            a, b = strip[0] + max(0, ink[0] - 2), min(strip[0] + ink[2] + 2, strip[2])
            found.append(DetectedLine(((a, y0), (b, y0), (b, y1), (a, y1)), line.score))
    return found
