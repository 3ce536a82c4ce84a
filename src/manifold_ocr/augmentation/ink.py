"""What happens to ink: thicker, thinner, broken or faded strokes, hard thresholds."""

import numpy as np
from PIL import Image, ImageFilter

from manifold_ocr.augmentation.pixels import (
    between,
    blend,
    paper_level,
    smooth_field,
    to_array,
    to_image,
)


def spread(image: Image.Image, weight: int) -> Image.Image:
    """Thicken dark strokes: `weight`/256 of a one-pixel dilation."""
    wide = to_array(image.filter(ImageFilter.MinFilter(3)))
    return to_image(blend(to_array(image), wide, weight))


def thin(image: Image.Image, weight: int) -> Image.Image:
    """Thin dark strokes: `weight`/256 of a one-pixel erosion."""
    narrow = to_array(image.filter(ImageFilter.MaxFilter(3)))
    return to_image(blend(to_array(image), narrow, weight))


def fade(rng: np.random.Generator, image: Image.Image, amount: int, cell: int = 24) -> Image.Image:
    """Let the ink pale towards the paper in smooth patches; at most `amount`/256 is lost."""
    values = to_array(image)
    paper = paper_level(values)
    loss = smooth_field(rng, values.shape, cell).astype(np.int32) * amount >> 8
    ink = values.astype(np.int32)
    return to_image(ink + ((paper - ink) * loss >> 8))


def broken(rng: np.random.Generator, image: Image.Image, amount: int) -> Image.Image:
    """Remove flecks of ink: where fine noise passes a limit the paper shows.

    `amount` (0..255) is the limit's depth: about `amount`/256 of the strokes' area pales.
    """
    values = to_array(image)
    paper = paper_level(values)
    field = smooth_field(rng, values.shape, between(rng, 2, 4))
    lost = field < amount
    ink = values.astype(np.int32)
    return to_image(np.where(lost, ink + ((paper - ink) * 200 >> 8), ink))


def scanline_gaps(rng: np.random.Generator, image: Image.Image, gaps: int) -> Image.Image:
    """Whiten `gaps` horizontal hairlines, as a worn print head or a fax leaves them."""
    values = to_array(image).copy()
    paper = paper_level(values)
    for _ in range(gaps):
        row = between(rng, 0, values.shape[0] - 1)
        values[row] = (values[row].astype(np.int32) + 2 * paper) // 3
    return to_image(values)


def binarise(image: Image.Image, margin: int) -> Image.Image:
    """Return only black and white; ink is what is `margin`/256 of the way below the paper."""
    values = to_array(image)
    paper, darkest = paper_level(values), int(values.min())
    limit = paper - ((paper - darkest) * margin >> 8)
    return to_image(np.where(values < limit, 0, 255))
