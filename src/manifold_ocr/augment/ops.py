"""Degradations of gray images in integer arithmetic: ink, paper, camera; equal bytes on every CPU.

numpy's floating-point exp, log and pow differ between vector units, and so do its normal
deviates; everything here is integers, or Pillow's own compiled code, which has one path.
"""

import hashlib
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter, ImageOps

Gray = NDArray[np.uint8]
Signed = NDArray[np.int16]


def generator(*parts: object) -> np.random.Generator:
    """Return a generator seeded by the SHA-256 of the parts' text, joined by `:`."""
    digest = hashlib.sha256(":".join(map(str, parts)).encode("utf-8")).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16], "big")))


def chance(rng: np.random.Generator, probability: float) -> bool:
    """Return True with `probability` (resolved to one in a million)."""
    return int(rng.integers(1_000_000)) < round(probability * 1_000_000)


def between(rng: np.random.Generator, low: int, high: int) -> int:
    """Return an integer of [low, high], both included; `low` where the range is empty."""
    return int(rng.integers(low, high + 1)) if high > low else low


def to_array(image: Image.Image) -> Gray:
    """Return the pixels of a gray copy of `image`: (height, width) uint8."""
    return np.array(image if image.mode == "L" else image.convert("L"), dtype=np.uint8)


def to_image(values: NDArray[np.generic]) -> Image.Image:
    """Clip to 0..255 and return a gray image."""
    return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8), mode=None)


def bell_noise(rng: np.random.Generator, shape: tuple[int, int], deviation: int) -> Signed:
    """Return a bell-shaped noise field of the given standard deviation in gray levels.

    The sum of four uniform bytes has mean 510 and standard deviation 148.
    """
    raw = rng.integers(0, 256, size=(4, *shape), dtype=np.uint8)
    total = raw.sum(axis=0, dtype=np.int32) - 510
    scaled: Signed = (total * deviation // 148).astype(np.int16)
    return scaled


def smooth_field(rng: np.random.Generator, shape: tuple[int, int], cell: int) -> Gray:
    """Return random values 0..255 that vary smoothly over about `cell` pixels."""
    height, width = shape
    rows, columns = max(2, height // cell + 2), max(2, width // cell + 2)
    coarse = rng.integers(0, 256, size=(rows, columns), dtype=np.uint8)
    return to_array(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def blend(first: Gray, second: Gray, weight: int) -> Gray:
    """Return `first` with `weight`/256 of `second` mixed in."""
    mixed = first.astype(np.int32) * (256 - weight) + second.astype(np.int32) * weight
    return ((mixed + 128) >> 8).astype(np.uint8)


def paper_level(values: Gray) -> int:
    """Return the gray level of the background: the 85th percentile, without interpolation."""
    counts = np.bincount(values.ravel(), minlength=256)
    return int(np.searchsorted(np.cumsum(counts), values.size * 85 // 100))


SLOPE = 1000  # slopes are given in thousandths, so that no sine is needed


def blur(image: Image.Image, tenths: int) -> Image.Image:
    """Blur with a Gaussian of `tenths`/10 pixels."""
    return image.filter(ImageFilter.GaussianBlur(tenths / 10)) if tenths > 0 else image


def motion_blur(image: Image.Image) -> Image.Image:
    """Smear over three pixels sideways, as a sheet that moved in the scanner."""
    return image.filter(ImageFilter.Kernel((3, 3), (0, 0, 0, 1, 2, 1, 0, 0, 0), scale=4))


def fewer_pixels(image: Image.Image, percent: int) -> Image.Image:
    """Scan at `percent` of the resolution and scale back up."""
    width, height = image.size
    small = (max(1, width * percent // 100), max(1, height * percent // 100))
    return image.resize(small, Image.Resampling.BOX).resize(
        (width, height), Image.Resampling.BILINEAR
    )


def slant(image: Image.Image, thousandths: int, fill: int) -> Image.Image:
    """Turn by a small angle of the given slope about the center; the size stays."""
    width, height = image.size
    slope = thousandths / SLOPE
    matrix = (1.0, slope, -slope * height / 2, -slope, 1.0, slope * width / 2)
    return image.transform(
        (width, height), Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC, fillcolor=fill
    )


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    """Store as JPEG of the given quality and read it back."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    buffer.seek(0)
    with Image.open(buffer) as stored:
        return stored.convert(image.mode)


def spread(image: Image.Image, weight: int) -> Image.Image:
    """Thicken dark strokes: `weight`/256 of a one-pixel dilation."""
    values = to_array(image)
    return to_image(blend(values, _darkest_around(values), weight))


def thin(image: Image.Image, weight: int) -> Image.Image:
    """Thin dark strokes: `weight`/256 of a one-pixel erosion."""
    values = to_array(image)
    return to_image(blend(values, 255 - _darkest_around(255 - values), weight))


def _darkest_around(values: Gray) -> Gray:
    """Return the darkest of each pixel and its eight neighbors, an axis at a time."""
    down = np.minimum(values[:-1], values[1:])
    dark = values.copy()
    np.minimum(dark[:-1], down, out=dark[:-1])
    np.minimum(dark[1:], down, out=dark[1:])
    across = np.minimum(dark[:, :-1], dark[:, 1:])
    np.minimum(dark[:, :-1], across, out=dark[:, :-1])
    np.minimum(dark[:, 1:], across, out=dark[:, 1:])
    return dark


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


def texture(rng: np.random.Generator, image: Image.Image, depth: int) -> Image.Image:
    """Add fibres: fine and coarse grain, together at most `depth` gray levels darker."""
    values = to_array(image).astype(np.int32)
    fine = smooth_field(rng, values.shape, 3).astype(np.int32)
    coarse = smooth_field(rng, values.shape, 17).astype(np.int32)
    return to_image(values - ((fine + coarse) * depth >> 9))


def gradient(rng: np.random.Generator, image: Image.Image, depth: int) -> Image.Image:
    """Darken smoothly over the whole image by up to `depth` gray levels (uneven light)."""
    values = to_array(image).astype(np.int32)
    corners = rng.integers(0, 256, size=(2, 3), dtype=np.uint8)
    height, width = values.shape
    field = to_array(Image.fromarray(corners).resize((width, height), Image.Resampling.BILINEAR))
    return to_image(values - (field.astype(np.int32) * depth >> 8))


def stains(rng: np.random.Generator, image: Image.Image, depth: int, cell: int = 60) -> Image.Image:
    """Darken a few smooth blots by up to `depth` gray levels; most of the sheet stays clean."""
    values = to_array(image).astype(np.int32)
    blots = np.maximum(smooth_field(rng, values.shape, cell).astype(np.int32) - 170, 0)
    return to_image(values - (blots * depth // 85))


def show_through(
    rng: np.random.Generator, image: Image.Image, depth: int, other: Image.Image | None = None
) -> Image.Image:
    """Let the mirrored print of the other side shine through, `depth`/256 strong.

    `other` is what is on the other side; without it the image itself is used, shifted.
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
    """Add sensor noise of the given standard deviation in gray levels."""
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
