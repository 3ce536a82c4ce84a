"""A plugin of OCRmyPDF: its page handling and PDF/A, our reading.

    ocrmypdf --plugin manifold_ocr.serving.ocrmypdf_plugin scan.pdf out.pdf

The environment variable MANIFOLD_OCR_MODEL names a checkpoint or adapter folder.
"""

import functools
import os
from pathlib import Path
from typing import Any

from ocrmypdf import hookimpl
from ocrmypdf.exceptions import BadArgsError, InputFileError
from ocrmypdf.pluginspec import OcrEngine, OrientationConfidence

from manifold_ocr import __version__
from manifold_ocr.errors import UserError
from manifold_ocr.files import atomic_write
from manifold_ocr.images import open_image
from manifold_ocr.reading.export import ReadPage, hocr
from manifold_ocr.reading.page import PageReader, PageText
from manifold_ocr.serving.documents import load_reader


@functools.cache
def _reader(model: str) -> PageReader:
    """Return the reader of this process, loaded at its first page."""
    return load_reader(Path(model) if model else None, 1)


def _read(image: Path) -> PageText:
    model = os.environ.get("MANIFOLD_OCR_MODEL", "")
    try:
        reader = _reader(model)
    except UserError as error:  # OCRmyPDF prints its own kinds of error without a traceback
        raise BadArgsError(f"MANIFOLD_OCR_MODEL: {error}" if model else str(error)) from error
    try:
        return reader.read(open_image(image))
    except UserError as error:
        raise InputFileError(str(error)) from error


class ManifoldOcrEngine(OcrEngine):
    """What OCRmyPDF asks of an engine."""

    @staticmethod
    def version() -> str:
        """Return our version."""
        return __version__

    @staticmethod
    def creator_tag(options: Any) -> str:
        """Return what the PDF's metadata says of us."""
        return f"manifold-ocr {__version__}"

    def __str__(self) -> str:
        return f"manifold-ocr {__version__}"

    @staticmethod
    def languages(options: Any) -> set[str]:
        """Return the languages that were asked for: one model reads all that it can write."""
        return {"eng", *(getattr(options, "languages", None) or ())}

    @staticmethod
    def get_orientation(input_file: Path, options: Any) -> OrientationConfidence:
        """Return that nothing is known: pages are read as they are shown."""
        return OrientationConfidence(angle=0, confidence=0.0)

    @staticmethod
    def generate_hocr(input_file: Path, output_hocr: Path, output_text: Path, options: Any) -> None:
        """Write the page's hOCR and text."""
        page = _read(input_file)
        for path, content in (
            (output_hocr, hocr([ReadPage(1, input_file.name, page)])),
            (output_text, page.text),
        ):
            with atomic_write(path) as file:
                file.write(content)

    @staticmethod
    def generate_pdf(input_file: Path, output_pdf: Path, output_text: Path, options: Any) -> None:
        """Refuse: OCRmyPDF's own renderer sets the text better, from hOCR."""
        raise NotImplementedError("manifold-ocr gives hOCR: leave --pdf-renderer at its default")


@hookimpl
def get_ocr_engine(options: Any = None) -> OcrEngine | None:
    """Return our engine, unless another one was chosen by name."""
    chosen = getattr(options, "ocr_engine", "auto")
    return ManifoldOcrEngine() if chosen in (None, "auto") else None
