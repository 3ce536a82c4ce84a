"""Degradations with a cause of their own: weak printers, stamps, creases, gutters, screens.

Integer arithmetic as in `ops`; strengths are in the units that params.yaml names.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from manifold_ocr.augment import geometry
from manifold_ocr.augment.ops import (
    Gray,
    between,
    chance,
    paper_level,
    smooth_field,
    to_array,
    to_image,
)

Ints = NDArray[np.int32]


def pale(values: Gray, loss: NDArray[np.generic]) -> Image.Image:
    """Let ink pale towards the paper by `loss`/256 (broadcast over the image's shape)."""
    paper, ink = paper_level(values), values.astype(np.int32)
    return to_image(ink + ((paper - ink) * loss.astype(np.int32) >> 8))


def profile(rng: np.random.Generator, length: int, cell: int) -> Ints:
    """Return a smooth random profile 0..255 of that length that varies over about `cell`."""
    line: Ints = smooth_field(rng, (1, length), cell)[0].astype(np.int32)
    return line


def low_ink(rng: np.random.Generator, image: Image.Image, amount: int) -> Image.Image:
    """Run out of toner (streaks down the sheet) or of ink (bands across it).

    Half of the way is printed in full; the palest streak loses `amount`/256 of its contrast.
    """
    values = to_array(image)
    height, width = values.shape
    down = chance(rng, 0.5)
    cell = between(rng, 8, 30) if down else between(rng, 3, 9)
    streaks = np.maximum(profile(rng, width if down else height, cell) - 100, 0) * 256 // 155
    grid = streaks[None, :] if down else streaks[:, None]
    mottled = 160 + (smooth_field(rng, values.shape, 3).astype(np.int32) * 96 >> 8)
    return pale(values, np.minimum(grid * mottled >> 8, 255) * amount >> 8)


def thermal(rng: np.random.Generator, image: Image.Image, amount: int) -> Image.Image:
    """Age a heat print: all of it pales, by half to the whole of `amount`/256, in wide clouds.

    Up to two dead points of the print head leave hairlines; the paper grays by up to
    `amount`/8 levels.
    """
    values = to_array(image)
    width = values.shape[1]
    clouds = smooth_field(rng, values.shape, max(40, width // 4)).astype(np.int32)
    loss = (128 + (clouds >> 1)) * amount >> 8
    for _ in range(between(rng, 0, 2)):
        loss[:, between(rng, 0, width - 1)] = 230
    print_ = to_array(pale(values, np.minimum(loss, 255))).astype(np.int32)
    gray = smooth_field(rng, values.shape, max(60, width // 3)).astype(np.int32) * amount >> 11
    return to_image(print_ - gray * (print_ > 96))


def ink_level(values: Gray) -> int:
    """Return the gray level that the darkest hundredth of the pixels does not exceed."""
    counts = np.bincount(values.ravel(), minlength=256)
    return int(np.searchsorted(np.cumsum(counts), max(1, values.size // 100)))


def dot_matrix(rng: np.random.Generator, image: Image.Image, pitch: int) -> Image.Image:
    """Print again with needles `pitch` pixels apart, at most a twelfth of the image's height.

    A line of less than 24 pixels has no room for needles and stays as it is.
    A needle strikes where a quarter of its cell is ink; the ribbon inks unevenly.
    """
    values = to_array(image)
    height, width = values.shape
    pitch = min(pitch, height // 12)
    paper, darkest = paper_level(values), ink_level(values)
    if paper - darkest < 8 or pitch < 2:
        return to_image(values)
    columns, rows = -(-width // pitch), -(-height // pitch)
    sheet = np.full((rows * pitch, columns * pitch), paper, dtype=np.int32)
    sheet[:height, :width] = values
    cells = sheet.reshape(rows, pitch, columns, pitch).sum(axis=(1, 3)) // pitch**2
    struck = (paper - cells) * 4 > paper - darkest
    middle = np.abs(2 * np.arange(pitch) - (pitch - 1))
    needle = 270 - 44 * (middle[:, None] ** 2 + middle[None, :] ** 2) // (pitch - 1)
    ribbon = 256 - (smooth_field(rng, (rows, columns), 12).astype(np.int32) * 90 >> 8)
    ink = np.kron(struck * ribbon, np.clip(needle, 60, 256)) >> 8
    return to_image((paper - ((paper - darkest) * ink >> 8))[:height, :width])


WORDS = ("PAID", "COPY", "RECEIVED", "FILED", "APPROVED", "ENTERED", "NO. 4471", "12 MAR 2019")


def stamp(rng: np.random.Generator, image: Image.Image, depth: int) -> Image.Image:
    """Stamp the sheet once, at most `depth` gray levels darker; print below stays readable.

    A ring or a frame around a word, turned a little, inked unevenly, often cut by the edge.
    """
    values = to_array(image)
    height, width = values.shape
    base = max(24, min(2 * height, width // 6))
    mask = _stamp_mask(rng, between(rng, base, 2 * base))
    x = between(rng, -mask.width // 3, width - 2 * mask.width // 3)
    y = between(rng, -mask.height * 2 // 3, height - mask.height // 3)
    layer = Image.new("L", (width, height))
    layer.paste(mask, (x, y))
    patches = 96 + (smooth_field(rng, values.shape, 9).astype(np.int32) * 160 >> 8)
    ink = to_array(layer).astype(np.int32) * patches >> 8
    return to_image(values - (ink * depth >> 8))


def _stamp_mask(rng: np.random.Generator, height: int) -> Image.Image:
    word, ring = WORDS[between(rng, 0, len(WORDS) - 1)], chance(rng, 0.5)
    width = height if ring else height * 2
    pen = max(1, height // 24)
    mask = Image.new("L", (width, height))
    draw = ImageDraw.Draw(mask)
    for inset in (pen, 4 * pen):
        shape = (inset, inset, width - 1 - inset, height - 1 - inset)
        (draw.ellipse if ring else draw.rectangle)(shape, outline=255, width=pen)
    size = max(6, (width - 10 * pen) * 3 // (2 * len(word) + 2))
    font = ImageFont.load_default(min(size, height // 2))
    draw.text((width // 2, height // 2), word, font=font, fill=255, anchor="mm")
    return mask.rotate(between(rng, -18, 18), Image.Resampling.BILINEAR, expand=True)


def fold(rng: np.random.Generator, image: Image.Image, strength: int) -> Image.Image:
    """Crease the sheet (see `geometry.fold`): one side is in shade, ink is off the crease."""
    mesh = geometry.fold(rng, image.size, strength)
    values = to_array(mesh.apply(image))
    down = len(mesh.columns) == 3
    crease = (mesh.columns if down else mesh.rows)[1]
    length = values.shape[1] if down else values.shape[0]
    place = np.arange(length) - crease
    reach = max(12, length // 7)
    near = np.maximum(reach - np.abs(place), 0)
    side = place < 0 if chance(rng, 0.5) else place > 0
    shade = near * (16 + 3 * strength) // reach * np.where(side, 2, 1) // 2
    field = values.astype(np.int32) - (shade[None, :] if down else shade[:, None])
    cracked = smooth_field(rng, values.shape, 3) > 90
    on = np.abs(place) <= 1
    cracked &= on[None, :] if down else on[:, None]
    paper = min(255, paper_level(values) + 4)
    rubbed = field + ((paper - field) * 150 >> 8)
    return to_image(np.where(cracked, rubbed, field))


def binding(rng: np.random.Generator, image: Image.Image, strength: int) -> Image.Image:
    """Open a bound book: it darkens towards the gutter by up to `strength` of 255 levels."""
    left, zone = geometry.gutter(rng, image.width)
    mesh = geometry.curl(rng, image.size, strength, left, zone)
    values = to_array(mesh.apply(image)).astype(np.int32)
    width = values.shape[1]
    place = np.arange(width) if left else width - 1 - np.arange(width)
    near = np.maximum(zone - place, 0)
    shade = near * near * strength // (zone * zone)
    return to_image(values * (256 - shade)[None, :] >> 8)


def _sine(step: int) -> int:
    """Return 127 * sin(2 pi step/256) by the formula of Bhaskara I, in integers."""
    half = step % 128
    value = 127 * 16 * half * (128 - half) // (5 * 128 * 128 - 4 * half * (128 - half))
    return value if step < 128 else -value


SINE = np.array([_sine(step) for step in range(256)], dtype=np.int32)


def moire(rng: np.random.Generator, image: Image.Image, depth: int) -> Image.Image:
    """Photograph a screen or a halftone: two fine gratings beat, `depth` gray levels strong.

    The second grating's frequency is off by a few percent, and it is bent a little.
    """
    values = to_array(image)
    height, width = values.shape
    fast = 256 * 256 * 10 // between(rng, 24, 45)  # periods of 2.4 to 4.5 pixels
    lean = between(rng, -fast // 3, fast // 3)
    x, y = np.arange(width, dtype=np.int64)[None, :], np.arange(height, dtype=np.int64)[:, None]
    bend = smooth_field(rng, values.shape, max(48, width // 3)).astype(np.int64) << 8
    off = between(rng, 3, 8) if chance(rng, 0.5) else -between(rng, 3, 8)
    turned = lean + fast * between(rng, -6, 6) // 100
    first = SINE[(fast * x + lean * y >> 8) & 255]
    second = SINE[((fast * (100 + off) // 100 * x + turned * y + bend) >> 8) & 255]
    waves = (first * second >> 7) * 2 + first // 2
    return to_image(values + (waves * depth // 320))
