"""Read whole pages: detect lines, recognise each, arrange the text as a person reads it."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from PIL import Image

from manifold_ocr.errors import UserError
from manifold_ocr.images import MAX_IMAGE_PIXELS, open_image
from manifold_ocr.models.base import OcrModel
from manifold_ocr.reading.detect import DetectedLine, crop_line, usual_height
from manifold_ocr.reading.layout.lines import Line, Paragraph, join_rows
from manifold_ocr.reading.layout.order import arrange

PDF_DPI = 200
LINE_ASPECT = 12.0  # wider than this for its height: one line, whatever a detector says
LINE_COVER = 0.4  # a lone row that fills this share of the height is an image of a line

Mode = Literal["auto", "line", "page"]


class Detector(Protocol):
    """Finds lines on a page."""

    def detect(self, image: Image.Image) -> list[DetectedLine]:
        """Return the lines of an RGB page in pixels of `image`."""
        ...


@dataclass(frozen=True, slots=True)
class PageText:
    """What was read from one image: paragraphs in reading order, image size in pixels.

    `mode` says whether the image was read as one `line` or as a `page`.
    """

    paragraphs: tuple[Paragraph, ...]
    size: tuple[int, int]
    mode: Literal["line", "page"]

    @property
    def lines(self) -> list[Line]:
        """All lines in reading order."""
        return [line for paragraph in self.paragraphs for line in paragraph.lines]

    @property
    def text(self) -> str:
        """Paragraphs joined by a blank line, line breaks as on the page."""
        return "\n\n".join(part.text for part in self.paragraphs if part.text)

    @property
    def flowing_text(self) -> str:
        """Paragraphs joined by a blank line, each on one line."""
        return "\n\n".join(part.flowing_text for part in self.paragraphs if part.text)

    @property
    def confidence(self) -> float | None:
        """Mean confidence of the lines weighted by their characters; None without text."""
        known = [line for line in self.lines if line.confidence is not None and line.text]
        characters = sum(len(line.text) for line in known)
        if not characters:
            return None
        return sum((line.confidence or 0.0) * len(line.text) for line in known) / characters

    def as_json(self) -> dict[str, Any]:
        """Return text, boxes ([x0, y0, x1, y1] pixels) and confidence as plain values."""
        return {
            "mode": self.mode,
            "width": self.size[0],
            "height": self.size[1],
            "text": self.text,
            "confidence": _rounded(self.confidence),
            "paragraphs": [
                {
                    "box": [round(value, 1) for value in part.box],
                    "text": part.text,
                    "lines": [
                        {
                            "box": [round(value, 1) for value in line.box],
                            "text": line.text,
                            "confidence": _rounded(line.confidence),
                        }
                        for line in part.lines
                    ],
                }
                for part in self.paragraphs
            ],
        }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


class PageReader:
    """A detector and a recogniser that read any image, a line or a page."""

    def __init__(self, detector: Detector, recogniser: OcrModel) -> None:
        """Keep both; nothing is loaded here."""
        self.detector = detector
        self.recogniser = recogniser

    def read(self, image: Image.Image, mode: Mode = "auto") -> PageText:
        """Read an RGB image; `auto` takes a lone row that fills the image for a line."""
        if mode == "line" or (mode == "auto" and image.width >= LINE_ASPECT * image.height):
            return self._read_line(image)
        return self.read_detected(image, self.detector.detect(image), mode)

    def read_detected(
        self, image: Image.Image, found: list[DetectedLine], mode: Mode = "page"
    ) -> PageText:
        """Read an image whose lines were detected before; their boxes are kept."""
        if mode == "line" or (mode == "auto" and is_line_image(image.size, found)):
            return self._read_line(image)
        return self._read_lines(image, found)

    def _read_line(self, image: Image.Image) -> PageText:
        (result,) = self.recogniser.recognise([image])
        box = (0.0, 0.0, float(image.width), float(image.height))
        line = Line(box, result.text, result.confidence)
        paragraphs = arrange([line]) if result.text.strip() else []
        return PageText(tuple(paragraphs), image.size, "line")

    def _read_lines(self, image: Image.Image, found: list[DetectedLine]) -> PageText:
        usual = usual_height(found)
        results = self.recogniser.recognise(crop_line(image, line, usual) for line in found)
        lines = [
            Line(where.box, result.text, result.confidence)
            for where, result in zip(found, results, strict=True)
            if result.text.strip()
        ]
        return PageText(tuple(arrange(lines)), image.size, "page")


def is_line_image(size: tuple[int, int], found: list[DetectedLine]) -> bool:
    """Tell whether the detected lines make one row that fills most of the image's height."""
    width, height = size
    if not found:
        return width >= 2 * height
    rows = join_rows([Line(line.box) for line in found])
    top, bottom = min(row.box[1] for row in rows), max(row.box[3] for row in rows)
    tallest = max(row.height for row in rows)
    return bottom - top < 1.6 * tallest and tallest >= LINE_COVER * height


def open_pages(path: Path, dpi: int = PDF_DPI) -> Iterator[tuple[str, Image.Image]]:
    """Yield (label, RGB page) of an image or of each page of a PDF, one in memory at a time.

    The label is the path, with `#page=N` for a page of a PDF.

    Raises:
        UserError: the file cannot be read; names it.
    """
    if path.suffix.lower() != ".pdf":
        yield str(path), open_image(path)
        return
    try:
        import pypdfium2
    except ModuleNotFoundError as error:
        raise UserError(
            f"{path}: PDFs need pypdfium2: pip install 'manifold-ocr[pages]'"
        ) from error
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    with ExitStack() as stack:
        try:
            document = pypdfium2.PdfDocument(path)
        except pypdfium2.PdfiumError as error:
            raise UserError(f"{path}: not a PDF that can be read ({error})") from error
        stack.callback(document.close)
        for number in range(len(document)):
            yield f"{path}#page={number + 1}", _render(document, number, dpi, path)


def _render(document: Any, number: int, dpi: int, path: Path) -> Image.Image:
    page = document[number]
    try:
        width, height = page.get_size()  # points: 72 an inch
        scale = dpi / 72
        if width * height * scale * scale > MAX_IMAGE_PIXELS:
            raise UserError(f"{path}#page={number + 1}: too large at {dpi} dpi; lower --dpi")
        image: Image.Image = page.render(scale=scale).to_pil().convert("RGB")
        return image
    finally:
        page.close()
