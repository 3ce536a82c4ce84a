"""How a page lies: quarter turns, skew, and columns so close that the detector joins them.

Lines are detected on the image as it is. What follows works on their quadrangles: turned by
quarters, rotated by the skew into a straight frame where reading order is decided, and cut
where a white gap runs down through neighboring rows.
"""

import itertools
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import mean
from typing import Any

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
GAP_WIDTH = 0.45  # least white between joined columns, in line heights
GAP_ROWS = 4  # rows through which it must run
FAR_APART = 3.0  # pieces of one row this many line heights apart are read one by one
LINE_COVER = 0.4  # a lone row that fills this share of the height is an image of a line
PAGE_NUMBER = re.compile(r"\d{1,4}|[ivxlc]{1,7}")
INK = 0.35  # share of a line's contrast from which a pixel is ink

Confidences = Callable[[Sequence[Image.Image]], Sequence[float | None]]
Interval = tuple[float, float]


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


@dataclass(frozen=True, slots=True)
class _Strip:
    """A line in the straight frame: its box and the white gaps inside of it."""

    box: Box
    white: tuple[Interval, ...]


def cut_joined_columns(
    page: Image.Image, lines: Sequence[DetectedLine], skew: float
) -> list[DetectedLine]:
    """Cut lines where a white gap runs down through rows that are full on both sides of it.

    The detector joins columns whose gutter is narrower than a line is high. Spaces between
    words do not stand below each other in four rows.
    """
    strips = [_strip(page, line, skew) for line in lines]
    rows = _rows(strips)
    cuts: list[list[Interval]] = [[] for _ in lines]
    for start, row in enumerate(rows):
        for index in row:
            for gap in strips[index].white:
                shared = _run(strips, rows, start, gap)
                if shared and not any(overlap(*shared, *other) > 0 for other in cuts[index]):
                    cuts[index].append(shared)
    parts = zip(lines, strips, cuts, strict=True)
    return [part for line, strip, at in parts for part in _divided(line, strip.box, sorted(at))]


def _strip(page: Image.Image, line: DetectedLine, skew: float) -> _Strip:
    box = straight_box(line, skew)
    width, height = line_size(line)
    if width < 8 * height:
        return _Strip(box, ())
    gaps = white_gaps(crop_line(page, line, turn=False), GAP_WIDTH)
    step = (box[2] - box[0]) / max(1.0, width)
    return _Strip(box, tuple((box[0] + a * step, box[0] + b * step) for a, b in gaps))


def white_gaps(piece: Image.Image, least: float) -> list[tuple[int, int]]:
    """Return the columns of a line's crop, as (start, end), that hold no ink.

    `least` is the least width in heights of the crop; gaps at either end do not count.
    """
    import numpy as np

    gray = np.asarray(piece.convert("L")).astype(np.int16)
    ground = int(np.median(gray))
    contrast = int(np.abs(gray - ground).max())
    if contrast < 32:
        return []
    margin = max(1, gray.shape[0] // 10)
    ink = (np.abs(gray[margin:-margin] - ground) > INK * contrast).any(axis=0)
    filled = np.flatnonzero(ink)
    spaces = np.diff(filled)
    wide: Any = np.flatnonzero(spaces > least * piece.height)
    return [(int(filled[k]) + 1, int(filled[k + 1])) for k in wide]


def _rows(strips: Sequence[_Strip]) -> list[list[int]]:
    """Group strips by height, top to bottom: those whose middles lie within half a line."""
    order = sorted(range(len(strips)), key=lambda k: strips[k].box[1] + strips[k].box[3])
    rows: list[list[int]] = []
    for index in order:
        box = strips[index].box
        if rows:
            last = strips[rows[-1][0]].box
            if box[1] + box[3] - last[1] - last[3] < min(box[3] - box[1], last[3] - last[1]):
                rows[-1].append(index)
                continue
        rows.append([index])
    return rows


def _run(
    strips: Sequence[_Strip], rows: Sequence[Sequence[int]], start: int, gap: Interval
) -> Interval | None:
    """Return the white that `gap` shares with at least GAP_ROWS rows around `start`, or None."""
    count, shared = 1, gap
    box = strips[rows[start][0]].box
    least = GAP_WIDTH * (box[3] - box[1])
    for step in (-1, 1):
        at, missed = start + step, 0
        while 0 <= at < len(rows) and missed < 2:
            narrower = _through([strips[k] for k in rows[at]], shared, least)
            if narrower is None:
                break
            full = narrower[1]
            count, missed = (count + 1, 0) if full else (count, missed + 1)
            shared = narrower[0]
            at += step
    return shared if count >= GAP_ROWS else None


def _through(row: Sequence[_Strip], gap: Interval, least: float) -> tuple[Interval, bool] | None:
    """Return what is white of `gap` in a row, and whether the row has text on both sides."""
    crossing = [s for s in row if s.box[0] < gap[1] and s.box[2] > gap[0]]
    inside = [s for s in crossing if s.box[0] < gap[0] and s.box[2] > gap[1]]
    low, high = gap
    if inside:
        for a, b in inside[0].white:
            if min(b, high) - max(a, low) >= least:
                return (max(a, low), min(b, high)), True
        return None
    low = max([low, *(s.box[2] for s in crossing if s.box[0] < low)])
    high = min([high, *(s.box[0] for s in crossing if s.box[2] > high)])
    if high - low < least / 2:
        return None
    full = any(s.box[2] <= high for s in row) and any(s.box[0] >= low for s in row)
    return (low, high), full


def _divided(line: DetectedLine, box: Box, gaps: Sequence[Interval]) -> list[DetectedLine]:
    """Return a line without straight x intervals, cut along its own slant."""
    if not gaps:
        return [line]
    width = box[2] - box[0]
    starts = [0.0, *((b - 0.1 * (b - a) - box[0]) / width for a, b in gaps)]
    ends = [*((a + 0.1 * (b - a) - box[0]) / width for a, b in gaps), 1.0]
    a, b, c, d = line.quad

    def between(p: Point, q: Point, share: float) -> Point:
        return p[0] + (q[0] - p[0]) * share, p[1] + (q[1] - p[1]) * share

    return [
        replace(
            line,
            quad=(between(a, b, s), between(a, b, e), between(d, c, e), between(d, c, s)),
        )
        for s, e in zip(starts, ends, strict=True)
    ]


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
