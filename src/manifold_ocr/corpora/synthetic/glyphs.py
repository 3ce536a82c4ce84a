"""Text to ink: one run of text drawn as a mask, with tracking, wobble or printer dots."""

import random
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image, ImageChops, ImageDraw

from manifold_ocr.augmentation.pixels import to_array
from manifold_ocr.corpora.synthetic import fonts

PAD = 6  # room around a run for overhanging strokes and wobble, in pixels


@dataclass(frozen=True, slots=True)
class Pen:
    """How a run of text is drawn.

    `size` is the font size and `tracking` the extra space after each character, in pixels.
    `wobble` is the largest vertical shift of a character. `dots` > 0 prints on a raster of
    that many pixels, as a needle printer does.
    """

    face: str
    size: int
    tracking: int = 0
    wobble: int = 0
    dots: int = 0


def line_height(pen: Pen) -> int:
    """Return ascent plus descent of the pen's font in pixels."""
    ascent, descent = fonts.load(pen.face, pen.size).getmetrics()
    return int(ascent + descent)


def draw_run(text: str, pen: Pen, rng: random.Random) -> Image.Image:
    """Return a grey mask (255 is ink) of `text`; the top is the ascent less PAD."""
    font = fonts.load(pen.face, pen.size)
    height = line_height(pen) + 2 * PAD
    if pen.tracking == 0 and pen.wobble == 0:
        mask = Image.new("L", (int(font.getlength(text)) + 2 * PAD + pen.size // 2, height))
        ImageDraw.Draw(mask).text((PAD, PAD), text, font=font, fill=255)
    else:
        mask = _draw_spread(text, pen, rng, height)
    return _needle_print(mask, pen.dots) if pen.dots else mask


def _draw_spread(text: str, pen: Pen, rng: random.Random, height: int) -> Image.Image:
    advances = [_advance(pen.face, pen.size, char) + pen.tracking for char in text]
    mask = Image.new("L", (sum(advances) + 2 * PAD + pen.size, height))
    x, shift = PAD, 0
    for char, advance in zip(text, advances, strict=True):
        if pen.wobble:
            shift = min(pen.wobble, max(-pen.wobble, shift + rng.randint(-1, 1)))
        if char != " ":
            glyph = _glyph(pen.face, pen.size, char)
            left, top = x - pen.size // 2, shift
            region = (left, top, left + glyph.width, top + height)
            mask.paste(ImageChops.lighter(mask.crop(region), glyph), region[:2])
        x += max(1, advance)
    return mask


@lru_cache(maxsize=16384)
def _advance(face: str, size: int, char: str) -> int:
    return int(fonts.load(face, size).getlength(char) + 0.5)


@lru_cache(maxsize=4096)
def _glyph(face: str, size: int, char: str) -> Image.Image:
    """Return the mask of one character, drawn half a size from the left and PAD from the top."""
    font = fonts.load(face, size)
    height = line_height(Pen(face, size)) + 2 * PAD
    glyph = Image.new("L", (int(font.getlength(char)) + 2 * size, height))
    ImageDraw.Draw(glyph).text((size // 2, PAD), char, font=font, fill=255)
    return glyph


def _needle_print(mask: Image.Image, pitch: int) -> Image.Image:
    """Sample the mask every `pitch` pixels and strike a round dot where there is ink."""
    width, height = mask.width // pitch, mask.height // pitch
    cells = to_array(mask.resize((width, height), Image.Resampling.BOX)) > 96
    needle = np.full((pitch, pitch), 255, dtype=np.uint8)
    if pitch > 2:
        needle[[0, 0, -1, -1], [0, -1, 0, -1]] = 110
    else:
        needle[-1, :] = needle[:, -1] = 150
    return Image.fromarray(np.kron(cells.astype(np.uint8), needle))
