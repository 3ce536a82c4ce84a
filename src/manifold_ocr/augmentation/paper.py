"""What happens to paper: texture, uneven light, stains, print of the other side, specks."""

import numpy as np
from PIL import Image, ImageFilter, ImageOps

from manifold_ocr.augmentation.pixels import (
    bell_noise,
    between,
    smooth_field,
    to_array,
    to_image,
)


def texture(rng: np.random.Generator, image: Image.Image, depth: int) -> Image.Image:
    """Add fibres: fine and coarse grain, together at most `depth` grey levels darker."""
    values = to_array(image).astype(np.int32)
    fine = smooth_field(rng, values.shape, 3).astype(np.int32)
    coarse = smooth_field(rng, values.shape, 17).astype(np.int32)
    return to_image(values - ((fine + coarse) * depth >> 9))


def gradient(rng: np.random.Generator, image: Image.Image, depth: int) -> Image.Image:
    """Darken smoothly over the whole image by up to `depth` grey levels (uneven light)."""
    values = to_array(image).astype(np.int32)
    corners = rng.integers(0, 256, size=(2, 3), dtype=np.uint8)
    height, width = values.shape
    field = to_array(Image.fromarray(corners).resize((width, height), Image.Resampling.BILINEAR))
    return to_image(values - (field.astype(np.int32) * depth >> 8))


def stains(rng: np.random.Generator, image: Image.Image, depth: int, cell: int = 60) -> Image.Image:
    """Darken a few smooth blots by up to `depth` grey levels; most of the sheet stays clean."""
    values = to_array(image).astype(np.int32)
    blots = np.maximum(smooth_field(rng, values.shape, cell).astype(np.int32) - 170, 0)
    return to_image(values - (blots * depth // 85))


def show_through(
    rng: np.random.Generator, image: Image.Image, depth: int, other: Image.Image | None = None
) -> Image.Image:
    """Let the mirrored print of the other side shine through, `depth`/256 strong.

    `other` is what stands on the other side; without it the image itself is used, shifted.
    """
    values = to_array(image).astype(np.int32)
    height, width = values.shape
    back = ImageOps.mirror((other or image).convert("L")).resize((width, height))
    back = back.filter(ImageFilter.GaussianBlur(1.5))
    ghost = to_array(back).astype(np.int32)
    shift = (between(rng, height // 6, max(1, height // 3)), between(rng, 5, max(6, width // 7)))
    ghost = np.roll(ghost, shift, axis=(0, 1))
    return to_image(values - ((int(ghost.max()) - ghost) * depth >> 8))


def grain(rng: np.random.Generator, image: Image.Image, deviation: int) -> Image.Image:
    """Add sensor noise of the given standard deviation in grey levels."""
    values = to_array(image)
    return to_image(values.astype(np.int16) + bell_noise(rng, values.shape, deviation))


def specks(rng: np.random.Generator, image: Image.Image, per_million: int) -> Image.Image:
    """Set `per_million` specks a million pixels, one to two pixels wide, two thirds dark."""
    values = to_array(image).copy()
    height, width = values.shape
    count = max(1, height * width * per_million // 1_000_000)
    rows = rng.integers(0, height, size=count)
    columns = rng.integers(0, width, size=count)
    sizes = rng.integers(1, 3, size=count)
    levels = np.where(rng.integers(0, 3, size=count) < 2, 40, 250)
    for row, column, size, level in zip(rows, columns, sizes, levels, strict=True):
        values[row : row + size, column : column + size] = level
    return to_image(values)


def contrast(image: Image.Image, black: int, white: int) -> Image.Image:
    """Map 0..255 linearly to black..white."""
    return image.convert("L").point(
        [black + value * (white - black) // 255 for value in range(256)]
    )
