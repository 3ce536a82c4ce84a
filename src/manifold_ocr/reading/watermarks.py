"""Watermarks: pale words askew behind the text of a page; they are no part of what it says."""

import math
from collections.abc import Sequence
from statistics import median

from PIL import Image

from manifold_ocr.reading.detect import DetectedLine

ASKEW = 15.0  # degrees by which a watermark leans against the text, and against the vertical
PALE = 0.4  # a watermark has less than this share of the text's contrast
SOLID = 95  # percent of a crop's pixels below its contrast


def watermarks(
    lines: Sequence[DetectedLine], crops: Sequence[Image.Image], skew: float
) -> list[bool]:
    """Tell which lines of a page are watermarks; `skew` is its text's angle in degrees.

    Stamps lean too, but are printed as dark as text. A page of nothing but pale words askew
    has no watermark.
    """
    askew = [_leans(line, skew) for line in lines]
    level = [contrast(c) for c, leans in zip(crops, askew, strict=True) if not leans]
    if not any(askew) or not level:
        return [False] * len(lines)
    most = PALE * median(level)
    return [leans and contrast(c) < most for c, leans in zip(crops, askew, strict=True)]


def _leans(line: DetectedLine, skew: float) -> bool:
    (ax, ay), (bx, by) = line.quad[0], line.quad[1]
    off = abs(math.degrees(math.atan2(by - ay, bx - ax)) - skew) % 90
    return ASKEW <= off <= 90 - ASKEW


def contrast(piece: Image.Image) -> float:
    """Return how far solid ink stands from the ground, in gray values from 0 to 255."""
    import numpy as np

    gray = np.asarray(piece.convert("L")).astype(np.int16)
    return float(np.percentile(np.abs(gray - int(np.median(gray))), SOLID))
