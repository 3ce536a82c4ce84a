"""A line's pixels as CTC recognisers take them, and the reading of their frames (torch-free)."""

import numpy as np
from PIL import Image

from manifold_ocr.models.base import Recognition

HEIGHT = 48
STRIDE = 8  # pixels of width that one frame covers
MAX_WIDTH = 3200  # 400 frames; a wider line is squeezed to this width, as the hub's processor does
BLANK = 0


def line_width(size: tuple[int, int]) -> int:
    """Return the width in pixels that an image of (width, height) has at 48 pixels of height.

    It is the multiple of 8 nearest to the true aspect, from 8 to 3,200: exact, so no padding
    ever enters a line and its features do not depend on other lines.
    """
    width, height = size
    return STRIDE * min(max(1, round(HEIGHT * width / height / STRIDE)), MAX_WIDTH // STRIDE)


def frame_count(size: tuple[int, int]) -> int:
    """Return the CTC frames of an image of (width, height): the most labels it can carry."""
    return line_width(size) // STRIDE


def line_pixels(image: Image.Image) -> np.ndarray:
    """Return float32 (1, 3, 48, W) in [-1, 1], channels blue, green, red.

    The resampling of Pillow works in integers: equal on every processor.
    """
    resized = image.convert("RGB").resize(
        (line_width(image.size), HEIGHT), Image.Resampling.BILINEAR
    )
    channels = np.asarray(resized, dtype=np.uint8)[:, :, ::-1].transpose(2, 0, 1)
    return np.ascontiguousarray(channels[None], dtype=np.float32) / np.float32(127.5) - np.float32(
        1
    )


def decode_frames(best: np.ndarray, probability: np.ndarray, characters: list[str]) -> Recognition:
    """Return the text of greedy CTC: repeats joined, blanks (class 0) dropped.

    `best` and `probability` are (T,): the winning class of each frame and its probability.
    Confidence is the mean over characters of the highest probability among the frames that
    the character spans; a line without characters has confidence 0.
    """
    starts = np.flatnonzero(np.diff(best, prepend=-1))
    kept = [i for i, start in enumerate(starts) if best[start] != BLANK]
    if not kept:
        return Recognition("", 0.0, len(best))
    peaks = np.maximum.reduceat(probability, starts)
    text = "".join(characters[best[starts[i]]] for i in kept)
    return Recognition(text, float(np.mean(peaks[kept], dtype=np.float64)), len(best))
