"""Columns so close that the detector joins them: cut where a white gap runs down through rows."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

from PIL import Image

from manifold_ocr.reading.detect import DetectedLine, Point, crop_line, line_size
from manifold_ocr.reading.layout.lines import overlap
from manifold_ocr.reading.straighten import straight_box
from manifold_ocr.records import Box

GAP_WIDTH = 0.45  # least white between joined columns, in line heights
GAP_ROWS = 4  # rows through which it must run
WORD_SPACE = 0.2  # least space between words, in line heights
FEW_SPACES = 2  # other spaces in a line from which they tell how wide those of words are
PUNCTUATION = 0.65  # line heights of the white beside full-width punctuation
WIDER = 1.4  # a gutter is this many times as wide as the spaces between the words beside it
INK = 0.35  # share of a line's contrast from which a pixel is ink
SOLID = 95  # percent of a line's pixels below its contrast: specks darker than print are fewer

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class _Strip:
    """A line in the straight frame: its box and the spaces inside of it, left to right."""

    box: Box
    spaces: tuple[Interval, ...]

    @property
    def white(self) -> list[Interval]:
        """The spaces that are wide enough for a gutter."""
        least = GAP_WIDTH * (self.box[3] - self.box[1])
        return [(a, b) for a, b in self.spaces if b - a > least]

    def ratio(self, gap: Interval) -> float:
        """Return how many times as wide as the other spaces one of them is.

        Chinese has none between words, but white of up to a character beside punctuation.
        """
        others = [b - a for a, b in self.spaces if (a, b) != gap]
        if len(others) < FEW_SPACES:
            others = [PUNCTUATION * (self.box[3] - self.box[1])]
        return (gap[1] - gap[0]) / median(others)


def cut_joined_columns(
    page: Image.Image, lines: Sequence[DetectedLine], skew: float
) -> list[DetectedLine]:
    """Cut lines where a white gap runs down through rows that are full on both sides of it.

    The detector joins columns whose gutter is narrower than a line is high. Spaces between
    words seldom stand below each other in four rows; where they do, in type of one width, a
    gutter is the wider one.
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
    gaps = white_gaps(crop_line(page, line, turn=False), WORD_SPACE)
    step = (box[2] - box[0]) / max(1.0, width)
    return _Strip(box, tuple((box[0] + a * step, box[0] + b * step) for a, b in gaps))


def white_gaps(piece: Image.Image, least: float) -> list[tuple[int, int]]:
    """Return the columns of a line's crop, as (start, end), that hold no ink.

    `least` is the least width in heights of the crop; gaps at either end do not count.
    """
    import numpy as np

    gray = np.asarray(piece.convert("L")).astype(np.int16)
    ground = int(np.median(gray))
    contrast = int(np.percentile(np.abs(gray - ground), SOLID))
    if contrast < 32:
        return []
    margin = max(1, gray.shape[0] // 10)
    ink = (np.abs(gray[margin:-margin] - ground) > INK * contrast).any(axis=0)
    filled = np.flatnonzero(ink)
    spaces = np.diff(filled)
    wide: Any = np.flatnonzero(spaces > least * piece.height)
    return [(int(filled[k]) + 1, int(filled[k + 1])) for k in wide]


def strip_pieces(strip: Image.Image, longest: float) -> list[Image.Image]:
    """Return a line's image cut at spaces into pieces at most about `longest` heights long.

    Each cut is at the widest space near where equal pieces would end; without one, right there.
    """
    count = math.ceil(strip.width / (longest * strip.height))
    if count < 2:
        return [strip]
    gaps, step, cuts = white_gaps(strip, 0.0), strip.width / count, [0]
    for place in (round(step * number) for number in range(1, count)):
        near = [gap for gap in gaps if abs(sum(gap) / 2 - place) < step / 4]
        start, end = max(near, key=lambda gap: gap[1] - gap[0], default=(place, place))
        cuts.append((start + end) // 2)
    return [
        strip.crop((left, 0, right, strip.height))
        for left, right in itertools.pairwise([*cuts, strip.width])
    ]


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
    ratios = [strip.ratio(gap) for strip in (strips[k] for k in rows[start]) if gap in strip.spaces]
    box = strips[rows[start][0]].box
    least = GAP_WIDTH * (box[3] - box[1])
    for step in (-1, 1):
        at, missed = start + step, 0
        while 0 <= at < len(rows) and missed < 2:
            narrower = _through([strips[k] for k in rows[at]], shared, least)
            if narrower is None:
                break
            full = narrower[1]
            ratios += narrower[2]
            count, missed = (count + 1, 0) if full else (count, missed + 1)
            shared = narrower[0]
            at += step
    return shared if count >= GAP_ROWS and median(ratios) >= WIDER else None


def _through(
    row: Sequence[_Strip], gap: Interval, least: float
) -> tuple[Interval, bool, list[float]] | None:
    """Return what is white of `gap` in a row, and whether the row has text on both sides.

    The list holds how much wider than the line's other spaces the gap is, if it is in a line.
    """
    crossing = [s for s in row if s.box[0] < gap[1] and s.box[2] > gap[0]]
    inside = [s for s in crossing if s.box[0] < gap[0] and s.box[2] > gap[1]]
    low, high = gap
    if inside:
        for a, b in inside[0].white:
            if min(b, high) - max(a, low) >= least:
                return (max(a, low), min(b, high)), True, [inside[0].ratio((a, b))]
        return None
    low = max([low, *(s.box[2] for s in crossing if s.box[0] < low)])
    high = min([high, *(s.box[0] for s in crossing if s.box[2] > high)])
    if high - low < least / 2:
        return None
    full = any(s.box[2] <= high for s in row) and any(s.box[0] >= low for s in row)
    return (low, high), full, []


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
