"""The pages of a PDF, rendered and read by PDFium."""

import contextlib
import math
from pathlib import Path
from typing import Any

from PIL import Image

from manifold_ocr.errors import UserError
from manifold_ocr.records import Box

MAX_PDF_PIXELS = 100_000_000  # a larger page is rendered at fewer dots per inch


class PdfPages:
    """The pages of a PDF, through PDFium, with filled form fields drawn.

    `frame` is a page's number from 0, `label` the name that messages call it by.
    """

    def __init__(self, path: Path, password: str | None) -> None:
        """Open the file; no page is loaded yet.

        Raises:
            UserError: it cannot be opened, needs a password or has no page; says which.
        """
        try:
            import pypdfium2
        except ModuleNotFoundError as error:
            raise UserError(
                f"{path}: PDFs need pypdfium2: pip install 'manifold-ocr[pages]'"
            ) from error
        self._error = pypdfium2.PdfiumError
        try:
            self._file = pypdfium2.PdfDocument(path, password=password)
        except self._error as error:
            # PDFium's reason may be that of the file before: it sets none for one without pages
            if "password" in str(error).lower() and b"/Encrypt" in path.read_bytes():
                hint = "the password is wrong" if password else "give its --password"
                raise UserError(f"{path}: a PDF with a password; {hint}") from error
            raise UserError(f"{path}: not a PDF that can be read, or without any page") from error
        with contextlib.suppress(self._error):
            self._file.init_forms()
        self.count = len(self._file)
        if not self.count:
            self.close()
            raise UserError(f"{path}: a PDF without any page that can be read")

    def _page(self, frame: int, label: str) -> Any:
        try:
            return self._file[frame]
        except self._error as error:
            raise UserError(f"{label}: the page is damaged ({error})") from error

    def dpi(self, frame: int, dpi: int, label: str) -> float:
        """Return the dots per inch that the page is rendered at: less than `dpi` for a huge one."""
        with contextlib.closing(self._page(frame, label)) as page:
            return 72 * self._scale(page, dpi)

    def _scale(self, page: Any, dpi: int) -> float:
        width, height = page.get_size()  # points: 72 an inch
        scale = dpi / 72
        return float(min(scale, math.sqrt(MAX_PDF_PIXELS / max(1.0, width * height))))

    def size(self, frame: int, dpi: int, label: str) -> tuple[int, int]:
        """Return (width, height) in pixels of the rendered page."""
        with contextlib.closing(self._page(frame, label)) as page:
            width, height = page.get_size()
            scale = self._scale(page, dpi)
            return math.ceil(width * scale), math.ceil(height * scale)

    def render(self, frame: int, dpi: int, label: str) -> Image.Image:
        """Return the page as RGB."""
        with contextlib.closing(self._page(frame, label)) as page:
            try:
                bitmap = page.render(scale=self._scale(page, dpi))
                image: Image.Image = bitmap.to_pil().convert("RGB")
            except (self._error, RuntimeError, ValueError, MemoryError) as error:
                raise UserError(f"{label}: the page cannot be rendered ({error})") from error
            return image

    def text(self, frame: int, dpi: int, label: str) -> list[tuple[Box, str]]:
        """Return the runs of the text layer with their boxes in rendered pixels."""
        if getattr(self._file, "formenv", None):
            return []
        width, height = self.size(frame, dpi, label)
        with contextlib.closing(self._page(frame, label)) as page:
            try:
                layer = page.get_textpage()
                rects = [layer.get_rect(k) for k in range(layer.count_rects())]
                runs = [(self._box(page, r, dpi), layer.get_text_bounded(*r)) for r in rects]
            except self._error as error:
                raise UserError(f"{label}: its text layer is damaged ({error})") from error
        return [
            (box, " ".join(text.split()))
            for box, text in runs
            if text.strip()
            and 0 <= box[0] + box[2] <= 2 * width
            and 0 <= box[1] + box[3] <= 2 * height
        ]

    def _box(self, page: Any, rect: tuple[float, float, float, float], dpi: int) -> Box:
        """Return a rectangle of the page's own space (points, y upwards) in rendered pixels."""
        from ctypes import byref, c_int

        import pypdfium2.raw as pdfium

        width, height = page.get_size()
        scale = self._scale(page, dpi)
        xs, ys = [], []
        for x, y in (rect[:2], rect[2:]):
            at_x, at_y = c_int(), c_int()
            size = 0, 0, round(100 * width * scale), round(100 * height * scale), 0
            pdfium.FPDF_PageToDevice(page, *size, x, y, byref(at_x), byref(at_y))
            xs.append(at_x.value / 100)
            ys.append(at_y.value / 100)
        return min(xs), min(ys), max(xs), max(ys)

    def close(self) -> None:
        """Close the file."""
        self._file.close()
