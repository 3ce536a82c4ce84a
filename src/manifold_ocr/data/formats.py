"""What label formats share: text encodings, file order, boxes."""

import codecs
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from manifold_ocr.records import Box

_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class EncodingError(ValueError):
    """A file that is not UTF-8; the message says where and what to do."""


def read_text(path: Path) -> str:
    r"""Return the text of a UTF-8 file (a byte-order mark is dropped, line ends become `\\n`).

    Raises:
        EncodingError: not UTF-8. Guessing an encoding would train on wrong characters.
    """
    data = path.read_bytes()
    if data.startswith(_MARKS):
        raise EncodingError(f"UTF-16, not UTF-8: convert with iconv -f UTF-16 -t UTF-8 {path}")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise EncodingError(
            f"not UTF-8 at byte {error.start} (0x{data[error.start]:02x}): "
            f"convert it, for example iconv -f WINDOWS-1252 -t UTF-8 {path.name}"
        ) from error
    if "\0" in text:
        raise EncodingError("holds NUL bytes: not a text file")
    return text.replace("\r\n", "\n").replace("\r", "\n")


IMAGE_SUFFIXES = frozenset(
    (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".gif", ".pbm", ".pgm", ".ppm")
)


def walk_files(root: Path) -> Iterator[str]:
    """Yield the paths of all files below `root`, relative, `/`-separated, hidden ones skipped.

    The order is by name within each folder (code points), independent of the file system.
    """
    yield from _walk(str(root), "")


def _walk(folder: str, prefix: str) -> Iterator[str]:
    with os.scandir(folder) as entries:
        listed = sorted(entries, key=lambda entry: entry.name)
    for entry in listed:
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            yield from _walk(entry.path, f"{prefix}{entry.name}/")
        elif entry.is_file():
            yield prefix + entry.name


def is_image(name: str) -> bool:
    """Say whether a file name has the suffix of an image format."""
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES  # noqa: PTH122 (hot: 1e6 names)


def bounding_box(points: Sequence[float]) -> Box:
    """Return (x0, y0, x1, y1) around a flat polygon x1, y1, x2, y2, ...

    Raises:
        ValueError: fewer than two points or an odd count.
    """
    if len(points) < 4 or len(points) % 2:
        raise ValueError(f"a polygon needs pairs x, y, not {len(points)} numbers")
    xs, ys = points[0::2], points[1::2]
    return (min(xs), min(ys), max(xs), max(ys))


def area(box: Box) -> float:
    """Return the area of a box in square pixels (0 for an empty one)."""
    return max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])


def fit_box(box: Box, size: tuple[int, int], tolerance: float) -> Box | None:
    """Clip a box that leaves a (width, height) page by at most `tolerance` pixels a side.

    Returns None where it leaves the page further, or holds no pixel after clipping.
    """
    width, height = size
    x0, y0, x1, y1 = box
    outside = max(-x0, -y0, x1 - width, y1 - height)
    if outside > 0:
        if outside > tolerance:
            return None
        x0, y0, x1, y1 = max(0.0, x0), max(0.0, y0), min(width, x1), min(height, y1)
    return (x0, y0, x1, y1) if x1 - x0 >= 1 and y1 - y0 >= 1 else None
