"""Open, scale and crop images the same way everywhere: training, evaluation, engines, reports."""

import math
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from manifold_ocr.errors import UserError
from manifold_ocr.records import Box, Sample

MAX_IMAGE_PIXELS = 400_000_000  # a decompression bomb, not a page: 20,000 x 20,000


def open_image(path: Path | str) -> Image.Image:
    """Return a fully decoded RGB image (transparent pixels over white).

    Raises:
        UserError: missing, empty, truncated, no image, or over 400 million pixels.
    """
    path = Path(path)
    try:
        if path.stat().st_size == 0:
            raise UserError(f"{path}: the file is empty (0 bytes); copy it again")
        with Image.open(path) as image:
            if image.width * image.height > MAX_IMAGE_PIXELS:
                raise UserError(f"{path}: {image.width}x{image.height} pixels is over the limit")
            image.load()
            return _to_rgb(image)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such image") from error
    except UnidentifiedImageError as error:
        raise UserError(f"{path}: not an image that can be read; convert it to PNG") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"{path}: damaged or truncated image ({error}); copy it again") from error


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        canvas = Image.new("RGBA", image.size, "white")
        canvas.alpha_composite(image.convert("RGBA"))
        return canvas.convert("RGB")
    if image.mode.startswith("I;16") or image.mode == "I":
        return image.point(lambda value: value / 256).convert("L").convert("RGB")
    return image.convert("RGB")


def scaled_size(size: tuple[int, int], max_pixels: int) -> tuple[int, int]:
    """Return (width, height) shrunk to at most `max_pixels`, aspect kept; 0 is no limit."""
    width, height = size
    if max_pixels <= 0 or width * height <= max_pixels:
        return size
    scale = math.sqrt(max_pixels / (width * height))
    return max(1, math.floor(width * scale)), max(1, math.floor(height * scale))


def crop(image: Image.Image, box: Box | None) -> Image.Image:
    """Return the pixels of `box` ([x0, y0, x1, y1], rounded outwards), or the whole image."""
    if box is None:
        return image
    x0, y0 = max(0, math.floor(box[0])), max(0, math.floor(box[1]))
    x1, y1 = min(image.width, math.ceil(box[2])), min(image.height, math.ceil(box[3]))
    if x1 <= x0 or y1 <= y0:
        raise UserError(f"box {list(box)} holds no pixel of a {image.width}x{image.height} image")
    return image.crop((x0, y0, x1, y1))


def load_sample(sample: Sample, image_root: Path | str) -> Image.Image:
    """Return the RGB pixels that a reader gets for `sample`: opened, scaled, cropped.

    `box` is in pixels of the image after `max_pixels` scaling.

    Raises:
        UserError: the image cannot be read or the box holds no pixel; names the row.
    """
    image = open_image(Path(image_root) / sample.image)
    size = scaled_size(image.size, sample.max_pixels)
    if size != image.size:
        image = image.resize(size, Image.Resampling.BICUBIC)
    try:
        return crop(image, sample.box)
    except UserError as error:
        raise UserError(f"{sample.image} (row {sample.id}): {error}") from error
