"""Read whole pages: detect lines, recognize each, arrange the text as a person reads it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol

from PIL import Image

from manifold_ocr.errors import UserError
from manifold_ocr.images import PDF_DPI, Document
from manifold_ocr.models.base import OcrModel, Recognition
from manifold_ocr.pixels import upright_line
from manifold_ocr.reading.detect import (
    DetectedLine,
    crop_line,
    usual_height,
)
from manifold_ocr.reading.gutters import cut_joined_columns, strip_pieces
from manifold_ocr.reading.layout.lines import Line, Paragraph, Row
from manifold_ocr.reading.layout.order import arrange
from manifold_ocr.reading.lone_letters import with_the_case_of_their_row
from manifold_ocr.reading.straighten import (
    is_line_image,
    is_upside_down,
    missed_beside_numbers,
    quarter,
    quarter_turns,
    skew_of,
    straight_box,
    turn_lines,
    ways_up,
)
from manifold_ocr.reading.watermarks import watermarks

UNREADABLE = "unreadable script"
WATERMARK = "watermark"
LEAST_CONFIDENCE = 0.6  # below, the recognizer has not made out what the detector is sure of
FEWEST_LETTERS = 0.25  # for each time that its height goes into a line's width; Latin has about 2
LONGEST = 40.0  # heights that a line is read whole; recognizers squeeze what is much longer
SURE_TEXT = 0.6  # the detector's score from which it is sure of text

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

    `mode` says whether the image was read as one `line` or as a `page`. The page is upright
    after `turn` quarter turns counter-clockwise and level after `skew` degrees more. Boxes are
    those of the image as it came. `unreadable` are lines that the model cannot read, and
    `watermarks` those behind the text; both say so in their note.
    """

    paragraphs: tuple[Paragraph, ...]
    size: tuple[int, int]
    mode: Literal["line", "page"]
    turn: int = 0
    skew: float = 0.0
    unreadable: tuple[Line, ...] = ()
    watermarks: tuple[Line, ...] = ()

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
            "turned": 90 * self.turn,
            "skew": self.skew,
            "unreadable": [_line_json(line) for line in self.unreadable],
            "watermarks": [_line_json(line) for line in self.watermarks],
            "paragraphs": [
                {
                    "box": [round(value, 1) for value in part.box],
                    "text": part.text,
                    "lines": [_line_json(line) for line in part.lines],
                }
                for part in self.paragraphs
            ],
        }


def _line_json(line: Line) -> dict[str, Any]:
    value = {
        "box": [round(value, 1) for value in line.box],
        "text": line.text,
        "confidence": _rounded(line.confidence),
    }
    return {**value, "note": line.note} if line.note else value


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


@dataclass(frozen=True, slots=True)
class ReadLine:
    """A line that was read: as found, as it lies straight (for the order), in the image."""

    found: DetectedLine
    straight: Line
    line: Line
    crop: Image.Image

    @property
    def behind(self) -> bool:
        """Whether it is a watermark."""
        return self.straight.note == WATERMARK


class PageReader:
    """A detector and a recognizer that read any image, a line or a page."""

    def __init__(self, detector: Detector, recognizer: OcrModel) -> None:
        """Keep both; nothing is loaded here."""
        self.detector = detector
        self.recognizer = recognizer

    def read(self, image: Image.Image, mode: Mode = "auto") -> PageText:
        """Read an RGB image; `auto` takes a lone row that fills the image for a line."""
        return self.read_with_crops(image, mode)[0]

    def read_with_crops(
        self, image: Image.Image, mode: Mode = "auto"
    ) -> tuple[PageText, list[Image.Image]]:
        """Read an RGB image; also return the level crop of each of the text's lines, in order.

        `auto` never comes back empty where one of the two ways to read finds text.
        """
        if mode == "line":
            return self._read_line(image)
        found = self.detector.detect(image)
        if mode == "auto" and is_line_image(image.size, found):
            page, crops = self._read_line(image)
            if page.text or not found:
                return page, crops
        return self._read_page(image, found)

    def _read_line(self, image: Image.Image) -> tuple[PageText, list[Image.Image]]:
        level = upright_line(image)
        read = list(self.recognizer.recognize(strip_pieces(level, LONGEST)))
        sure = [part.confidence for part in read if part.confidence is not None and part.text]
        box = (0.0, 0.0, float(image.width), float(image.height))
        text = " ".join(part.text for part in read if part.text)
        line = Line(box, text, min(sure, default=read[0].confidence))
        paragraphs = arrange([line]) if text.strip() else []
        return PageText(tuple(paragraphs), image.size, "line"), [level] * len(paragraphs)

    def _read_page(
        self, image: Image.Image, found: list[DetectedLine]
    ) -> tuple[PageText, list[Image.Image]]:
        turn = quarter_turns(image, found, self._confidences)
        lines, skew = self._read_turned(image, found, turn)
        if not turn and is_upside_down(image, found, _confidence(lines) or 0.0, self._confidences):
            turn = 2
            lines, skew = self._read_turned(image, found, turn)
        written = [line for line in lines if line.straight.text.strip() and not line.behind]
        originals = {id(line.straight): line for line in written}
        paragraphs, crops = [], []
        for part in arrange([line.straight for line in written]):
            pieces = [[originals[id(piece)] for piece in row.pieces] for row in part.rows]
            crops += [line.crop for row in pieces for line in row]
            rows = (Row(tuple(line.line for line in row)) for row in pieces)
            paragraphs.append(Paragraph(tuple(rows)))
        noted = {note: tuple(line.line for line in lines if line.line.note == note)
                 for note in (UNREADABLE, WATERMARK)}  # fmt: skip
        text = PageText(
            tuple(paragraphs),
            image.size,
            "page",
            turn,
            round(skew, 2),
            noted[UNREADABLE],
            noted[WATERMARK],
        )
        return text, crops

    def _read_turned(
        self, image: Image.Image, found: list[DetectedLine], turn: int
    ) -> tuple[list[ReadLine], float]:
        """Read the lines of an image that is upright after quarter turns counter-clockwise."""
        page = quarter(image, turn)
        lines = turn_lines(found, image.size, turn)
        skew = skew_of(lines)
        lines = cut_joined_columns(page, lines, skew)
        read = self._read_lines(page, lines, skew)
        if not skew:
            missed = missed_beside_numbers(page, lines, [line.straight.text for line in read])
            read += self._read_lines(page, missed, skew)
            cased = with_the_case_of_their_row(
                page, [line.straight for line in read], self.recognizer
            )
            read = [replace(line, straight=to) for line, to in zip(read, cased, strict=True)]
        back = turn_lines([line.found for line in read], page.size, -turn)
        boxes = zip(read, back, strict=True)
        return [replace(r, line=replace(r.straight, box=b.box)) for r, b in boxes], skew

    def _read_lines(
        self, page: Image.Image, lines: Sequence[DetectedLine], skew: float
    ) -> list[ReadLine]:
        """Read lines of an upright page; of those that run down it the surer way counts."""
        usual = usual_height(lines)
        ways = [
            [quarter(crop_line(page, line, usual, turn=False), way) for way in ways_up(line, usual)]
            for line in lines
        ]
        results = iter(list(self.recognizer.recognize(crop for way in ways for crop in way)))
        read = []
        behind = watermarks(lines, [crops[0] for crops in ways], skew)
        for line, crops, mark in zip(lines, ways, behind, strict=True):
            tried = [(next(results), crop) for crop in crops]
            best, crop = max(tried, key=lambda pair: pair[0].confidence or 0.0)
            note = WATERMARK if mark else UNREADABLE if is_unreadable(best, line, crop) else ""
            straight = Line(straight_box(line, skew), best.text, best.confidence, note)
            read.append(ReadLine(line, straight, straight, crop))
        return read

    def _confidences(self, pieces: Sequence[Image.Image]) -> list[float | None]:
        return [result.confidence for result in self.recognizer.recognize(pieces)]


def _confidence(lines: Sequence[ReadLine]) -> float | None:
    """Return the mean confidence weighted by characters; None without text."""
    known = [(line.line.confidence, len(line.line.text)) for line in lines if line.line.text]
    total = sum(length for confidence, length in known if confidence is not None)
    if not total:
        return None
    return sum((confidence or 0.0) * length for confidence, length in known) / total


def is_unreadable(result: Recognition, line: DetectedLine, crop: Image.Image) -> bool:
    """Tell whether the detector is sure of text that the recognizer cannot make out.

    So come out scripts that its vocabulary does not hold: doubtful, or as a letter or two for a
    whole line. A number alone may stand behind leaders.
    """
    text = "".join(result.text.split())
    doubtful = result.confidence is not None and result.confidence < LEAST_CONFIDENCE
    sparse = len(text) * crop.height < FEWEST_LETTERS * crop.width and text.isalpha()
    return line.score >= SURE_TEXT and (doubtful or sparse or not text)


@dataclass(frozen=True, kw_only=True)
class ReadOptions:
    """How a file is read: `dpi` of PDFs, page ranges (all without any), text layers or pixels."""

    mode: Mode = "auto"
    dpi: int = PDF_DPI
    password: str | None = None
    pages: Sequence[PageRange] = ()
    text_layer: Literal["ignore", "prefer"] = "ignore"


def read_document(
    reader: PageReader, path: Path, options: ReadOptions, note: Callable[[str], None]
) -> Iterator[tuple[str, PageText]]:
    """Yield (label, text) of each page; `note` is told what a user should know of a page.

    Raises:
        UserError: as `open_pages`.
    """
    with Document(path, options.password) as document:
        if not chosen_frames(len(document), options.pages):
            raise UserError(f"{path}: none of its {len(document)} page(s) is in --pages")
        for frame, label, image in _rendered(document, options.dpi, options.pages):
            layer = document.text_layer(frame, options.dpi)
            if layer and options.text_layer == "prefer":
                lines = [Line(box, text) for box, text in layer]
                yield label, PageText(tuple(arrange(lines)), image.size, "page")
                continue
            if layer:
                note(f"{label}: read from its pixels; it has a text layer (--text-layer prefer)")
            if (dpi := document.dpi(frame, options.dpi)) < options.dpi:
                note(f"{label}: rendered at {dpi:.0f} dpi, it is too large for {options.dpi}")
            text = reader.read(image, options.mode)
            if text.turn:
                note(f"{label}: turned by {90 * text.turn} degrees counter-clockwise")
            if text.unreadable:
                note(f"{label}: {len(text.unreadable)} line(s) of {UNREADABLE}")
            if mark := " ".join(line.text for line in text.watermarks if line.text):
                note(f"{label}: left out the watermark {mark!r}")
            yield label, text


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
    with Document(path, password) as document:
        for _, label, image in _rendered(document, dpi, pages):
            yield label, image


def _rendered(
    document: Document, dpi: int, pages: Sequence[PageRange]
) -> Iterator[tuple[int, str, Image.Image]]:
    problems = []
    for frame in chosen_frames(len(document), pages):
        try:
            page = document.render(frame, dpi)
        except UserError as error:
            problems.append(str(error))
            continue
        yield frame, document.label(frame), page
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
