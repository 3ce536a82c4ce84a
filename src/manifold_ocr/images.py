"""One door for images and PDFs: training, evaluation, engines, reports, `read` and `label`.

What comes through it is what a viewer shows: turned by its EXIF tag, transparent ink over a
ground that it stands out from, 16-bit and float pixels scaled to 8 bits. A file has pages: an
image one, a TIFF, GIF, WebP or PDF each of its own; page k of a file is its `frame` k.
"""

import math
import warnings
from pathlib import Path
from types import TracebackType

from PIL import Image

from manifold_ocr.errors import UserError
from manifold_ocr.pdf_pages import PdfPages
from manifold_ocr.pixels import (
    MAX_IMAGE_PIXELS,
    orientation_of,
    shown,
    telling,
    upright_line,
)
from manifold_ocr.records import Box, Sample

PDF_DPI = 200
# fmt: off
IMAGE_SUFFIXES = frozenset((
    ".avif", ".bmp", ".gif", ".heic", ".heif", ".j2k", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg",
    ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp",
))
# fmt: on
PAGED_FORMATS = ("TIFF", "GIF", "WEBP")  # MPO is not one: its other images are previews
MAX_FRAMES = 10_000  # a file whose pages go round in a circle ends
SUBFILE_TYPE = 254  # the TIFF tag: bit 0 marks a thumbnail, bit 2 a mask
HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")

Image.MAX_IMAGE_PIXELS = MAX_IMAGE_PIXELS  # Pillow's only warns; `_Frames` applies ours
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
warnings.filterwarnings("ignore", module=r"PIL\.")  # damaged EXIF data and the like: it is shown


def open_image(path: Path | str, frame: int = 0) -> Image.Image:
    """Return page `frame` (from 0) of an image or PDF as fully decoded upright RGB.

    A page of a PDF is rendered at 200 dpi.

    Raises:
        UserError: missing, empty, truncated, no image, over 400 million pixels, or without
            such a page; says which.
    """
    with Document(path) as document:
        return document.render(frame)


def image_size(path: Path | str, frame: int = 0) -> tuple[int, int]:
    """Return (width, height) in pixels of what `open_image` returns, without decoding it.

    Raises:
        UserError: as `open_image`, except for damage that only decoding shows.
    """
    with Document(path) as document:
        return document.size(frame)


def count_pages(path: Path | str) -> int:
    """Return how many pages an image or PDF has.

    Raises:
        UserError: the file cannot be opened.
    """
    with Document(path) as document:
        return len(document)


class Document:
    """The pages of an image file or a PDF, opened once and rendered one by one."""

    def __init__(self, path: Path | str, password: str | None = None) -> None:
        """Open the file; nothing is decoded yet.

        Raises:
            UserError: it cannot be opened; says why.
        """
        self.path = Path(path)
        head = _head(self.path)
        self.is_pdf = b"%PDF-" in head or (
            self.path.suffix.lower() == ".pdf" and not _is_image(head)
        )
        self._file: PdfPages | _Frames = (
            PdfPages(self.path, password) if self.is_pdf else _Frames(self.path, head)
        )

    def __enter__(self) -> "Document":
        """Return the document."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the file."""
        self._file.close()

    def __len__(self) -> int:
        """Return the number of pages."""
        return self._file.count

    def label(self, frame: int) -> str:
        """Return the path, with `#page=N` (from 1) in a PDF or a file of several pages."""
        several = self.is_pdf or len(self) > 1
        return f"{self.path}#page={frame + 1}" if several else str(self.path)

    def size(self, frame: int, dpi: int = PDF_DPI) -> tuple[int, int]:
        """Return (width, height) in pixels of the rendered page.

        Raises:
            UserError: no such page, or it is damaged or too large.
        """
        self._check(frame)
        return self._file.size(frame, dpi, self.label(frame))

    def render(self, frame: int, dpi: int = PDF_DPI) -> Image.Image:
        """Return the page as upright RGB; `dpi` counts for PDFs only.

        Raises:
            UserError: no such page, or it is damaged or too large; other pages can still
                be rendered.
        """
        self._check(frame)
        return self._file.render(frame, dpi, self.label(frame))

    def text_layer(self, frame: int, dpi: int = PDF_DPI) -> list[tuple[Box, str]]:
        """Return the text that a PDF page carries, in runs with their boxes; none for images.

        Boxes are in pixels of the page as `render` returns it; text outside of it is left out.
        A PDF with form fields gives none: their values are no part of a text layer.

        Raises:
            UserError: no such page, or it is damaged.
        """
        self._check(frame)
        if isinstance(self._file, _Frames):
            return []
        return self._file.text(frame, dpi, self.label(frame))

    def dpi(self, frame: int, dpi: int = PDF_DPI) -> float:
        """Return the dots per inch at which `render` renders a page: less for a huge one.

        Raises:
            UserError: no such page, or it is damaged.
        """
        self._check(frame)
        return self._file.dpi(frame, dpi, self.label(frame))

    def _check(self, frame: int) -> None:
        if not self._file.has(frame):
            raise UserError(
                f"{self.path}: there is no page {frame + 1}; the file has {len(self)} page(s)"
            )


class _Frames:
    """The pages of an image file: its frames, without thumbnails and masks."""

    def __init__(self, path: Path, head: bytes) -> None:
        if head[4:8] == b"ftyp" and head[8:12] in HEIF_BRANDS:
            _register_heif(path)
        with telling(path, head):
            self._image = Image.open(path)
        self._frames = _page_frames(self._image)
        self.count = len(self._frames)

    def has(self, frame: int) -> bool:
        return 0 <= frame < self.count

    def size(self, frame: int, dpi: int, label: str) -> tuple[int, int]:
        image = self._at(frame, label)
        turned = orientation_of(image) in (5, 6, 7, 8)
        if turned and image.format != "TIFF":  # Pillow states the turned size of a TIFF itself
            return image.height, image.width
        return image.size

    def render(self, frame: int, dpi: int, label: str) -> Image.Image:
        image = self._at(frame, label)
        with telling(label):
            return shown(image)

    def dpi(self, frame: int, dpi: int, label: str) -> float:
        return float(dpi)

    def _at(self, frame: int, label: str) -> Image.Image:
        with telling(label):
            self._image.seek(self._frames[frame])
        width, height = self._image.size
        if width * height > MAX_IMAGE_PIXELS:
            raise UserError(
                f"{label}: {width}x{height} pixels is too large "
                f"(the limit is {MAX_IMAGE_PIXELS:,} pixels); scale it down"
            )
        return self._image

    def close(self) -> None:
        self._image.close()


def exif_orientation(path: Path | str) -> int:
    """Return the EXIF orientation of an image file, 1 (upright) where it states none.

    Raises:
        UserError: the file cannot be opened.
    """
    path = Path(path)
    with telling(path, _head(path)), Image.open(path) as image:
        return orientation_of(image)


def _head(path: Path) -> bytes:
    """Return the first kilobyte of a file; PDF readers look for their mark in it."""
    try:
        with open(path, "rb") as file:
            head = file.read(1024)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file (no such image)") from error
    except IsADirectoryError as error:
        raise UserError(f"{path}: a folder, not an image; name the files in it") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be opened ({error})") from error
    if not head:
        raise UserError(f"{path}: the file is empty (0 bytes); copy it again")
    return head


def _is_image(head: bytes) -> bool:
    marks = (b"\x89PNG", b"\xff\xd8\xff", b"II*\0", b"MM\0*", b"GIF8", b"BM", b"RIFF")
    return head.startswith(marks)


def _register_heif(path: Path) -> None:
    try:
        from pillow_heif import register_heif_opener
    except ModuleNotFoundError as error:
        raise UserError(
            f"{path}: HEIC images need pillow-heif: pip install 'manifold-ocr[heic]'"
        ) from error
    register_heif_opener()


def _page_frames(image: Image.Image) -> list[int]:
    """Return the frames that are pages; a damaged one counts, and is told when it is opened."""
    pages: list[int] = []
    for frame in range(MAX_FRAMES if image.format in PAGED_FORMATS else 1):
        try:
            image.seek(frame)
        except EOFError:
            break
        except Exception:  # any damage: see telling
            pages.append(frame)
            break
        kind = getattr(image, "tag_v2", {}).get(SUBFILE_TYPE, 0)
        if not (isinstance(kind, int) and kind & 0b101):
            pages.append(frame)
    return pages or [0]


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

    `box` is in pixels of the upright image after `max_pixels` scaling. A line that runs down
    the image is turned (see `upright_line`).

    Raises:
        UserError: the image cannot be read or the box holds no pixel; names the row.
    """
    return cut_sample(load_page(sample, image_root), sample)


def load_page(sample: Sample, image_root: Path | str) -> Image.Image:
    """Return the image that `sample` is on, opened and scaled."""
    image = open_image(Path(image_root) / sample.image, getattr(sample, "frame", 0))
    size = scaled_size(image.size, sample.max_pixels)
    return image if size == image.size else image.resize(size, Image.Resampling.BICUBIC)


def cut_sample(image: Image.Image, sample: Sample) -> Image.Image:
    """Return the pixels of `sample` on its page (see `load_sample`)."""
    try:
        piece = crop(image, sample.box)
    except UserError as error:
        raise UserError(f"{sample.image} (row {sample.id}): {error}") from error
    return upright_line(piece) if sample.granularity == "line" else piece
