"""What label formats share: text encodings, file order, boxes."""

import codecs
import os
import re
import unicodedata
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from manifold_ocr.images import IMAGE_SUFFIXES
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
        raise EncodingError(f"UTF-16, not UTF-8: convert it: iconv -f UTF-16 -t UTF-8 {path.name}")
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


_JOINERS = "\u200c\u200d"  # they change how letters and emoji are drawn, beside a space nothing
_IDLE_JOINERS = re.compile(f"(?:(?<=\\s)|^)[{_JOINERS}]+|[{_JOINERS}]+(?=\\s|$)")


def visible(text: str) -> str:
    r"""Return a label without the characters that no image shows.

    Format and control characters go (zero-width spaces, marks of direction, byte-order marks);
    a soft hyphen at the end of a line is the hyphen that is printed there, elsewhere it is
    nothing. Tabs are spaces; Unicode's line separators are `\n`.
    """
    if text.isascii() and text.isprintable():
        return text
    text = re.sub("[\r\x85\u2028\u2029]", "\n", text.replace("\t", " "))
    text = re.sub("\u00ad(?=[ ]*(?:\n|$))", "-", text)
    text = "".join(
        c for c in text if c == "\n" or c in _JOINERS or unicodedata.category(c) not in ("Cc", "Cf")
    )
    return _IDLE_JOINERS.sub("", text)


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
    """Say whether a file name has the suffix of an image format, or of a PDF."""
    suffix = os.path.splitext(name)[1].lower()  # noqa: PTH122 (hot: 1e6 names)
    return suffix in IMAGE_SUFFIXES or suffix == ".pdf"


def unlisted(root: Path, folder: str, listed: Collection[str]) -> Iterator[str]:
    """Yield the images below a folder of `root` (relative to it) that are not `listed`."""
    if (root / folder).is_dir():
        for name in walk_files(root / folder):
            path = f"{folder}/{name}" if folder else name
            if is_image(name) and path not in listed:
                yield path


def unescaped(text: str) -> str:
    """Return a quoted text of ICDAR's label files without the backslash before `"` and itself."""
    return re.sub(r'\\(["\\])', r"\1", text)


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


def upright_box(box: Box, size: tuple[int, int], orientation: int) -> Box:
    """Return a box in pixels of the file as one of the image that its EXIF tag turns upright.

    `size` is (width, height) of the upright image, `orientation` the tag's value, 1 to 8.
    """
    width, height = size
    x0, y0, x1, y1 = box
    if orientation in (5, 6, 7, 8):
        x0, y0, x1, y1 = y0, x0, y1, x1
    if orientation in (2, 3, 6, 7):
        x0, x1 = width - x1, width - x0
    if orientation in (3, 4, 7, 8):
        y0, y1 = height - y1, height - y0
    return (x0, y0, x1, y1)


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
