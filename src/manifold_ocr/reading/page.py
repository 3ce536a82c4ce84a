"""Read whole pages: detect lines, recognise each, arrange the text as a person reads it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from PIL import Image

from manifold_ocr.errors import UserError
from manifold_ocr.images import PDF_DPI, Document
from manifold_ocr.models.base import OcrModel
from manifold_ocr.reading.detect import DetectedLine, crop_line, usual_height
from manifold_ocr.reading.layout.lines import Line, Paragraph, join_rows
from manifold_ocr.reading.layout.order import arrange

LINE_ASPECT = 12.0  # wider than this for its height: one line, whatever a detector says
LINE_COVER = 0.4  # a lone row that fills this share of the height is an image of a line

Mode = Literal["auto", "line", "page"]
PageRange = tuple[int, int | None]  # first and last page from 1; None: to the end


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


def open_pages(
    path: Path,
    dpi: int = PDF_DPI,
    *,
    password: str | None = None,
    pages: Sequence[PageRange] = (),
) -> Iterator[tuple[str, Image.Image]]:
    """Yield (label, RGB page) of an image or PDF, one in memory at a time.

    The label is the path, with `#page=N` in a PDF or a file of several pages. A page that
    cannot be rendered is left out; after the last page one error names all of those.

    Raises:
        UserError: the file cannot be opened, or a page of it cannot be rendered.
    """
    problems = []
    with Document(path, password) as document:
        for frame in chosen_frames(len(document), pages):
            try:
                page = document.render(frame, dpi)
            except UserError as error:
                problems.append(str(error))
                continue
            yield document.label(frame), page
    if problems:
        raise UserError("; ".join(problems))


def parse_pages(text: str) -> list[PageRange]:
    """Return page ranges such as `1-3,7,10-` as (first, last) from 1; None is the last page.

    Raises:
        UserError: not such a list.
    """
    ranges: list[PageRange] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        known = first.isdecimal() and (last.isdecimal() or not last)
        if not known or int(first) < 1 or (last and int(last) < int(first)):
            raise UserError(f"pages {text!r}: write numbers and ranges such as 1-3,7,10-")
        ranges.append((int(first), int(last) if last else (None if dash else int(first))))
    return ranges


def chosen_frames(count: int, pages: Sequence[PageRange] = ()) -> list[int]:
    """Return the frames (from 0) of `count` that page ranges name, in order; all without any."""
    if not pages:
        return list(range(count))
    wanted = {
        number for first, last in pages for number in range(first, min(last or count, count) + 1)
    }
    return [number - 1 for number in sorted(wanted)]
