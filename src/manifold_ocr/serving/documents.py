"""Files as pages, within bounds: what batch, API, demo, gate and MCP server have in common.

A file's pages are opened one at a time; a page that cannot be opened costs that page only.
"""

import math
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from PIL import Image

from manifold_ocr.errors import UserError
from manifold_ocr.images import IMAGE_SUFFIXES, PDF_DPI, Document
from manifold_ocr.models.base import ImageSource, OcrModel, Recognition
from manifold_ocr.reading.detect import DetectedLine, DetectionConfig, LineDetector
from manifold_ocr.reading.export import ReadPage
from manifold_ocr.reading.export_pdf import SearchablePdf, jpeg_bytes
from manifold_ocr.reading.layout.lines import Line, Paragraph, Row
from manifold_ocr.reading.page import Mode, PageReader, PageText, chosen_frames, parse_pages

WITHOUT = "give a copy without one"  # none can be given in a folder or a request
SUFFIXES = IMAGE_SUFFIXES | {".pdf"}


class Reader(Protocol):
    """What turns an image into a page of text (`PageReader`)."""

    def read(self, image: Image.Image, mode: Mode = "auto") -> PageText:
        """Read an RGB image."""
        ...


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """What one document may be; None is no bound. `pixels` bounds a page as it is opened."""

    bytes: int | None = None
    pages: int | None = None
    pixels: int | None = None


class TooLargeError(UserError):
    """A document beyond its bounds."""


@dataclass(frozen=True, slots=True)
class OpenedPage:
    """A page of a file: its number from 1, its label, and its image or why there is none."""

    number: int
    label: str
    image: Image.Image | None
    error: str = ""


def open_document(path: Path, bounds: Bounds | None = None) -> Document:
    """Open a file whose size, pages and pixels are within bounds; nothing is decoded.

    Raises:
        TooLargeError: more bytes, pages or pixels per page than `bounds` allow.
        UserError: the file cannot be opened; names it.
    """
    bounds = bounds or Bounds()
    size = path.stat().st_size if path.is_file() else 0
    if bounds.bytes is not None and size > bounds.bytes:
        raise TooLargeError(f"{path}: {size:,} bytes, over the bound of {bounds.bytes:,}")
    try:
        document = Document(path)
    except UserError as error:
        if "too large" in str(error):  # over the bound that every image has
            raise TooLargeError(str(error)) from error
        raise UserError(str(error).replace("give its --password", WITHOUT)) from error
    try:
        if bounds.pages is not None and len(document) > bounds.pages:
            raise TooLargeError(
                f"{path}: {len(document):,} pages, over the bound of {bounds.pages:,}"
            )
        if bounds.pixels is not None and not document.is_pdf:
            for frame in range(len(document)):
                width, height = document.size(frame)
                if width * height > bounds.pixels:
                    raise TooLargeError(
                        f"{document.label(frame)}: {width}x{height} pixels, "
                        f"over the bound of {bounds.pixels:,}"
                    )
    except BaseException:
        document.__exit__(None, None, None)
        raise
    return document


def pages_of(
    document: Document,
    pages: str = "",
    dpi: int = PDF_DPI,
    *,
    bounds: Bounds | None = None,
    skip: Iterable[int] = (),
) -> Iterator[OpenedPage]:
    """Yield the chosen pages of a file in order, without those numbered in `skip`.

    A page of a PDF that is over the bound of pixels at `dpi` is rendered smaller.

    Raises:
        UserError: `pages` is no page range, or chooses none of the file's pages.
    """
    frames = chosen_frames(len(document), parse_pages(pages) if pages else ())
    if not frames:
        raise UserError(f"{document.path}: has {len(document)} pages, none of them in {pages!r}")
    known = set(skip)
    for frame in frames:
        if frame + 1 in known:
            continue
        label = document.label(frame)
        try:
            fitting = _fitting_dpi(document, frame, dpi, bounds)
            image = document.render(frame, fitting)
            yield OpenedPage(frame + 1, label, image)
        except (UserError, MemoryError) as error:
            yield OpenedPage(frame + 1, label, None, str(error) or f"{label}: no memory")


def _fitting_dpi(document: Document, frame: int, dpi: int, bounds: Bounds | None) -> int:
    if not document.is_pdf or bounds is None or bounds.pixels is None:
        return dpi
    while dpi > 1:
        width, height = document.size(frame, dpi)
        share = math.sqrt(bounds.pixels / (width * height))
        if share >= 1:
            break
        dpi = max(1, int(dpi * share))  # again: `size` bounds very large pages by itself
    return dpi


class PerThreadDetector:
    """Line detection from several threads: the library's detector keeps state while it runs."""

    def __init__(self, config: DetectionConfig | None = None) -> None:
        """Load nothing yet."""
        self._config, self._local = config, threading.local()

    def detect(self, image: Image.Image) -> list[DetectedLine]:
        """Return the lines of an RGB page (see `LineDetector.detect`)."""
        if not hasattr(self._local, "detector"):
            self._local.detector = LineDetector(self._config)
        found: list[DetectedLine] = self._local.detector.detect(image)
        return found


class LockedModel:
    """A recognizer that one thread uses at a time."""

    def __init__(self, model: OcrModel) -> None:
        """Keep the model."""
        self.family, self.name = model.family, model.name
        self._model, self._lock = model, threading.Lock()

    def recognize(
        self, images: Iterable[ImageSource], prompts: Sequence[str] | None = None
    ) -> Iterator[Recognition]:
        """Yield one result per image, in order."""
        with self._lock:
            yield from list(self._model.recognize(images, prompts))

    def vision_tokens(self, size: tuple[int, int]) -> int:
        """Return what the model says."""
        return self._model.vision_tokens(size)


def load_reader(model: Path | None = None, threads: int = 0, *, shipped: bool = True) -> PageReader:
    """Return a reader of pages that several threads may use, of a checkpoint.

    Without `model` it is the promoted checkpoint that comes with the project, or the base model
    where there is none or `shipped` is False.
    """
    from manifold_ocr.reading.engines.checkpoint import reader_model

    detector = PerThreadDetector(DetectionConfig(threads=threads))
    recognizer = reader_model(model, shipped=shipped, threads=threads)
    return PageReader(detector, LockedModel(recognizer))


def page_state(page: PageText) -> dict[str, Any]:
    """Return all of a page as plain values, exact: `page_of` gives an equal page."""
    return {
        "mode": page.mode,
        "size": list(page.size),
        "turn": page.turn,
        "skew": page.skew,
        "unreadable": [_line_state(line) for line in page.unreadable],
        "watermarks": [_line_state(line) for line in page.watermarks],
        "paragraphs": [
            [[_line_state(line) for line in row.pieces] for row in part.rows]
            for part in page.paragraphs
        ],
    }


def _line_state(line: Line) -> list[Any]:
    return [*line.box, line.text, line.confidence, line.note]


def _line_of(state: Sequence[Any]) -> Line:
    x0, y0, x1, y1, text, confidence, note = state
    return Line((x0, y0, x1, y1), text, confidence, note)


def page_of(state: dict[str, Any]) -> PageText:
    """Return the page that `page_state` describes."""
    return PageText(
        paragraphs=tuple(
            Paragraph(tuple(Row(tuple(map(_line_of, row))) for row in part))
            for part in state["paragraphs"]
        ),
        size=(state["size"][0], state["size"][1]),
        mode=state["mode"],
        turn=state["turn"],
        skew=state["skew"],
        unreadable=tuple(map(_line_of, state["unreadable"])),
        watermarks=tuple(map(_line_of, state.get("watermarks", ()))),
    )


EMPTY = page_state(PageText((), (1, 1), "page"))  # stands in for a page not read


def read_pages(states: Sequence[dict[str, Any]], name: str) -> list[ReadPage]:
    """Return the pages that could be read, labeled `name` or `name#page=N` where there are more."""
    several = len(states) > 1
    return [
        ReadPage(state["page"], f"{name}#page={state['page']}" if several else name, page_of(state))
        for state in states
        if "error" not in state
    ]


def searchable(
    path: Path, states: Sequence[dict[str, Any]], dpi: int, bounds: Bounds | None = None
) -> bytes:
    """Return the searchable PDF of a file: pages of a PDF as they are, images as pictures.

    A page that carries text already is drawn, so that no text is there twice. A page of a PDF
    that could not be read stays, without text.

    Raises:
        UserError: pikepdf is not installed, or the file can no longer be opened.
    """
    result = SearchablePdf()
    with open_document(path, bounds) as document:
        single = not document.is_pdf and len(document) == 1
        for state in states:
            page = page_of(EMPTY if "error" in state else state)
            frame = state["page"] - 1
            if document.is_pdf and ("error" in state or not document.text_layer(frame)):
                result.add_pdf_page(path, state["page"], page)
            elif "error" not in state:
                fitting = _fitting_dpi(document, frame, dpi, bounds)
                image = document.render(frame, fitting)
                if document.is_pdf:
                    image.info["dpi"] = (fitting, fitting)
                result.add_image(image, page, jpeg_bytes(path, image) if single else None)
    return result.to_bytes()
