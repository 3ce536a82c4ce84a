"""What an opened image file shows: upright, over a ground, 8 bits; and why it cannot be opened."""

import contextlib
from collections.abc import Iterator

from PIL import Image, ImageOps, ImageStat, UnidentifiedImageError

from manifold_ocr.errors import UserError
from manifold_ocr.records import Box

TALL_LINE = 2.5
ORIENTATION = 0x0112  # the EXIF tag
MAX_IMAGE_PIXELS = 400_000_000  # a decompression bomb, not a page: 20,000 x 20,000


def shown(image: Image.Image) -> Image.Image:
    """Return an open Pillow image as a viewer shows it, in RGB with pixels of its own.

    Turned by its EXIF tag; transparent ink over white or black, whichever it stands out from;
    16-bit, int32 and float pixels scaled by their real range.
    """
    image.load()
    if orientation_of(image) != 1:
        image = ImageOps.exif_transpose(image)
    # a copy: RGB frames must not share memory with the open file
    return image.copy() if image.mode == "RGB" and not _transparent(image) else _rgb(image)


def orientation_of(image: Image.Image) -> int:
    """Return the EXIF orientation of an open image, 1 (upright) where it states none."""
    try:
        value = image.getexif().get(ORIENTATION, 1)
    except Exception:  # damaged EXIF data: the pixels are shown as they are stored
        return 1
    return value if value in range(1, 9) else 1


def _transparent(image: Image.Image) -> bool:
    return image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info


def _rgb(image: Image.Image) -> Image.Image:
    if _transparent(image):
        return _over_ground(image.convert("RGBA"))
    if image.mode.startswith("I") or image.mode == "F":
        return _eight_bits(image).convert("RGB")
    if image.mode == "LAB":
        from PIL import ImageCms

        profiles = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        turned = ImageCms.profileToProfile(image, *profiles, outputMode="RGB")
        return image if turned is None else turned
    return image.convert("RGB")


def _over_ground(image: Image.Image) -> Image.Image:
    """Return RGBA pixels over white, or over black where the visible ink is light.

    White letters on a transparent ground would vanish over white. A picture of which less
    than a tenth is transparent brings its own ground.
    """
    alpha = image.getchannel("A")
    clear = alpha.histogram()
    ground = "white"
    if sum(clear[:128]) >= 0.1 * sum(clear):
        visible = alpha.point(lambda value: 255 if value >= 128 else 0)
        ink = ImageStat.Stat(image.convert("RGB").convert("L"), mask=visible)
        if ink.count[0] and ink.mean[0] > 160:
            ground = "black"
    canvas = Image.new("RGBA", image.size, ground)
    canvas.alpha_composite(image)
    return canvas.convert("RGB")


def _eight_bits(image: Image.Image) -> Image.Image:
    """Return 16-bit, int32 or float pixels as 8-bit gray, scaled by their real range.

    The greatest value is white and 0 black, so that 12 bits in 16 are not dark; where the
    values leave most of that range empty, or are negative, the least value is black.
    """
    import numpy as np

    values = np.asarray(image).astype(np.float32)
    values = np.where(np.isfinite(values), values, np.float32(0))
    low, high = float(values.min()), float(values.max())
    black = low if low < 0 or (high - low) < high / 4 else 0.0
    if high == low:
        return Image.new("L", image.size, 255 if high > 0 else 0)
    scaled = (values - np.float32(black)) * np.float32(255 / (high - black))
    return Image.fromarray((scaled + np.float32(0.5)).clip(0, 255).astype(np.uint8))


def upright_line(image: Image.Image) -> Image.Image:
    """Return the image of a line, turned counter-clockwise where its text runs down.

    Training, evaluation and reading turn vertical Chinese and Japanese the same way. A single
    character is up to TALL_LINE times as high as wide, so that it stays.
    """
    if image.height < TALL_LINE * image.width:
        return image
    return image.transpose(Image.Transpose.ROTATE_90)


def turn_box(box: Box, size: tuple[int, int], orientation: int) -> Box:
    """Return a box of the raw pixels in the image as its EXIF `orientation` turns it.

    `size` is (width, height) of the raw image. Values 1 to 8 as the Exif standard (CIPA
    DC-008, 4.6.5.1.6) defines them: which side of the scene row 0 and column 0 are.
    """
    width, height = size
    x0, y0, x1, y1 = box
    turned: dict[int, Box] = {
        2: (width - x1, y0, width - x0, y1),
        3: (width - x1, height - y1, width - x0, height - y0),
        4: (x0, height - y1, x1, height - y0),
        5: (y0, x0, y1, x1),
        6: (height - y1, x0, height - y0, x1),
        7: (height - y1, width - x1, height - y0, width - x0),
        8: (y0, width - x1, y1, width - x0),
    }
    return turned.get(orientation, box)


@contextlib.contextmanager
def telling(where: object, head: bytes = b"") -> Iterator[None]:
    """Turn what Pillow raises into one clear error.

    Its plugins raise anything on damaged files (struct.error, KeyError, zlib.error, ...).
    """
    try:
        yield
    except UserError:
        raise
    except UnidentifiedImageError as error:
        raise UserError(f"{where}: {_what_it_is(head)}") from error
    except Image.DecompressionBombError as error:
        raise UserError(
            f"{where}: too large (the limit is {MAX_IMAGE_PIXELS:,} pixels); scale it down"
        ) from error
    except MemoryError as error:
        raise UserError(f"{where}: too large for the memory of this machine") from error
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{where}: damaged or truncated image ({reason}); copy it again") from error


def _what_it_is(head: bytes) -> str:
    """Say why the bytes are not an image that can be read, and what to do."""
    start = head.lstrip().lower()
    if start.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer, not the image; run `git lfs pull`"
    if start.startswith((b"<!doctype html", b"<html")):
        return "a web page, not an image; download the image itself"
    if b"<svg" in start:
        return "an SVG drawing, not an image that can be read; convert it to PNG"
    if head[4:8] == b"ftyp":
        brand = head[8:12].decode("ascii", "replace")
        return f"damaged, or a format that cannot be read ({brand}); convert it to PNG"
    return "not an image that can be read; convert it to PNG"
