"""What scanning and storing does: blur, fewer pixels, a slanted sheet, JPEG."""

import io

from PIL import Image, ImageFilter

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
    """Turn by a small angle of the given slope about the centre; the size stays."""
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
