"""The pages of a PDF, rendered and read by PDFium.

PDFium takes a file's own /Count for the number of its pages; qpdf, through pikepdf, goes through
the tree of pages (ISO 32000-2, 7.7.3). Where they differ the tree is right: a count that is too
low would lose pages, one that is too high would make up some.
"""

import contextlib
import io
import logging
import math
from functools import cached_property
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
            import pikepdf
            import pypdfium2
        except ModuleNotFoundError as error:
            raise UserError(
                f"{path}: PDFs need {error.name}: pip install 'manifold-ocr[pages]'"
            ) from error
        logging.getLogger("pikepdf").setLevel(logging.CRITICAL)  # damage is told by the page
        self._open, self._path, self._password = pikepdf.open, path, password or ""
        self._load = pypdfium2.PdfDocument
        self._error = pypdfium2.PdfiumError
        try:
            self._file = self._load(path, password=password)
        except self._error as error:
            # PDFium's reason may be that of the file before: it sets none for one without pages
            if "password" in str(error).lower() and b"/Encrypt" in path.read_bytes():
                hint = "the password is wrong" if password else "give its --password"
                raise UserError(f"{path}: a PDF with a password; {hint}") from error
            raise UserError(f"{path}: not a PDF that can be read, or without any page") from error
        self._stated = len(self._file)
        if not self._stated:
            self.close()
            raise UserError(f"{path}: a PDF without any page that can be read")
        with contextlib.suppress(self._error):
            self._file.init_forms()

    def has(self, frame: int) -> bool:
        """Return whether there is such a page; the tree is asked only where that is in doubt."""
        if not 0 <= frame < self._stated:
            return 0 <= frame < self.count
        try:
            self._file[frame].close()
        except self._error:
            return frame < self.count
        return True

    @cached_property
    def count(self) -> int:
        """The number of pages; from then on PDFium has all of them.

        A page that the tree names and that is missing counts: it is damaged.
        """
        try:
            with self._open(self._path, password=self._password) as file:
                found = len(file.pages)  # takes missing ones out of the tree
                if found > self._stated:
                    self._repair(file)
            if found >= self._stated:
                return found
            # as it is: inheriting attributes takes missing pages out too
            with self._open(
                self._path, password=self._password, inherit_page_attributes=False
            ) as file:
                return max(found, min(self._stated, _leaves(file.Root.Pages)))
        except Exception:  # damage of any kind, on which PDFium has its own view
            return self._stated

    def _repair(self, file: Any) -> None:
        """Take qpdf's copy of the file, in which the counts are right."""
        copy = io.BytesIO()
        file.save(copy)
        repaired = self._load(copy.getvalue())
        self._file.close()
        self._file = repaired
        with contextlib.suppress(self._error):
            self._file.init_forms()

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


def _leaves(node: Any) -> int:
    """Return how many pages a node of a tree without loops names, missing ones included."""
    waiting, count = [node], 0
    while waiting:
        kids = waiting.pop().get("/Kids", [])
        for kid in kids:
            if kid is not None and "/Kids" in kid:
                waiting.append(kid)
            else:
                count += 1
    return count
