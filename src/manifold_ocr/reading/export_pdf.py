"""Searchable PDFs: pages as they are, with what was read as an invisible text layer.

The layer is set in a font without outlines, one code per character used, as Tesseract and
OCRmyPDF do (PDF 32000-1:2008, 9.3.6: text rendering mode 3; 9.10.3: ToUnicode). The same
input gives the same bytes.
"""

import io
import warnings
from collections.abc import Iterable
from contextlib import suppress
from itertools import groupby
from pathlib import Path
from typing import Any

from PIL import Image

from manifold_ocr.errors import UserError
from manifold_ocr.files import atomic_write
from manifold_ocr.images import PDF_DPI
from manifold_ocr.reading.export import DOWN, UP, direction, words
from manifold_ocr.reading.page import PageText

# Of a line that runs right, down, left, up: where it runs and where its letters' tops are, in
# pixels (y grows downward).
WAYS = (((1, 0), (0, -1)), ((0, 1), (1, 0)), ((-1, 0), (0, 1)), ((0, -1), (-1, 0)))
PRIVATE = 0xE000  # the first code of the private use area
ADVANCE = 0.5  # width of every glyph in em
DESCENT = 0.2  # share of a line's height below its baseline
DPI_RANGE = (50.0, 1200.0)  # what a file says outside of this is taken for a mistake


def image_dpi(image: Image.Image) -> float:
    """Return the resolution that an image states, or `PDF_DPI`."""
    with suppress(TypeError, ValueError, IndexError, KeyError):
        stated = float(image.info["dpi"][0])
        if DPI_RANGE[0] <= stated <= DPI_RANGE[1]:
            return stated
    return float(PDF_DPI)


class SearchablePdf:
    """A PDF under construction; pages are added in order, then it is saved once.

    Raises:
        UserError: pikepdf is not installed (the `pages` extra).
    """

    def __init__(self) -> None:
        try:
            import pikepdf
        except ModuleNotFoundError as error:
            raise UserError(
                "searchable PDFs need pikepdf: pip install 'manifold-ocr[pages]'"
            ) from error
        self._lib: Any = pikepdf
        self.pdf: Any = pikepdf.new()
        self.pages = 0
        self._codes: dict[str, int] = {}
        self._font = self.pdf.make_indirect(pikepdf.Dictionary(Type=pikepdf.Name.Font))
        self._sources: dict[Path, Any] = {}
        self._waiting: list[tuple[Path, int, PageText]] = []

    def add_image(self, image: Image.Image, page: PageText, jpeg: bytes | None = None) -> None:
        """Add an image as a page; `jpeg` are its own JPEG bytes where they show the same."""
        self._copy_waiting()
        lib, dpi = self._lib, image_dpi(image)
        width, height = (72.0 * side / dpi for side in image.size)
        blank = self.pdf.add_blank_page(page_size=(max(3.0, width), max(3.0, height)))
        blank.Resources = lib.Dictionary(
            XObject=lib.Dictionary(Im=self._picture(image, jpeg)),
            Font=lib.Dictionary(ManifoldOcr=self._font),
        )
        drawn = b"q %.4f 0 0 %.4f 0 0 cm /Im Do Q\n" % (width, height)
        scale = 72.0 / dpi
        layer = self._layer(page, (scale, 0.0, 0.0, -scale, 0.0, height))
        blank.Contents = self.pdf.make_stream(drawn + layer)
        self.pages += 1

    def add_pdf_page(
        self, source: Path, number: int, page: PageText, password: str | None = None
    ) -> None:
        """Add page `number` (from 1) of a PDF as it is; boxes are those of its rendering.

        Form fields, layers, bookmarks and link targets of the PDF come along.

        Raises:
            UserError: the PDF cannot be opened for copying.
        """
        lib = self._lib
        if source not in self._sources:
            try:
                self._sources[source] = lib.open(source, password=password or "")
            except lib.PdfError as error:
                raise UserError(f"{source}: cannot be copied into a searchable PDF") from error
        self._waiting.append((source, number, page))
        self.pages += 1

    def _copy_waiting(self) -> None:
        """Copy the pages that wait, those of one PDF together: bookmarks lead to several."""
        for source, same in groupby(self._waiting, key=lambda waiting: waiting[0]):
            waiting, first = list(same), len(self.pdf.pages)
            self._copy(self._sources[source], [number - 1 for _, number, _ in waiting])
            for place, (_, _, page) in enumerate(waiting, first):
                added = self.pdf.pages[place]
                added.contents_add(b"q\n", prepend=True)
                layer = self._layer(page, self._to_points(added, page.size))
                added.add_resource(self._font, self._lib.Name.Font, name=self._lib.Name.ManifoldOcr)
                added.contents_add(b"\nQ\n" + layer)
        self._waiting = []

    def _copy(self, source: Any, places: list[int]) -> None:
        """Append pages with what belongs to them, or alone where that is damaged."""
        known = len(self.pdf.pages)
        with warnings.catch_warnings():  # of fields and links that lead to pages left behind
            warnings.simplefilter("ignore", self._lib.PageCopyWarning)
            try:
                self.pdf.add_pages_from(source, places)
            except (self._lib.PdfError, ValueError, TypeError, AttributeError, KeyError):
                del self.pdf.pages[known:]
                self.pdf.pages.extend(source.pages[place] for place in places)

    def save(self, path: Path) -> None:
        """Write the PDF, whole or not at all."""
        with atomic_write(path, "wb") as file:
            file.write(self.to_bytes())

    def to_bytes(self) -> bytes:
        """Return the PDF; the same pages give the same bytes."""
        self._copy_waiting()
        self._fill_font()
        buffer = io.BytesIO()
        with warnings.catch_warnings():  # of fields that their PDF itself had lost
            warnings.simplefilter("ignore", self._lib.PageCopyWarning)
            self.pdf.save(buffer, deterministic_id=True, compress_streams=True)
        for source in self._sources.values():
            source.close()
        return buffer.getvalue()

    def _picture(self, image: Image.Image, jpeg: bytes | None) -> Any:
        lib = self._lib
        gray = image.mode in ("L", "1") or _is_gray(image)
        facts = {
            "Type": lib.Name.XObject, "Subtype": lib.Name.Image, "Width": image.width,
            "Height": image.height, "BitsPerComponent": 8,
        }  # fmt: skip
        if jpeg is not None:
            with Image.open(io.BytesIO(jpeg)) as original:
                gray = original.mode == "L"
            facts["Filter"] = lib.Name.DCTDecode
        data = jpeg or image.convert("L" if gray else "RGB").tobytes()
        space = lib.Name.DeviceGray if gray else lib.Name.DeviceRGB
        return self.pdf.make_indirect(lib.Stream(self.pdf, data, ColorSpace=space, **facts))

    def _to_points(self, page: Any, size: tuple[int, int]) -> tuple[float, ...]:
        """Return the matrix from pixels of the upright rendering to the page's own points."""
        x0, y0, x1, y1 = (float(value) for value in page.cropbox)
        x0, x1, y0, y1 = min(x0, x1), max(x0, x1), min(y0, y1), max(y0, y1)
        turn = int(page.obj.get("/Rotate", 0)) % 360  # clockwise, when shown
        wide, high = size
        if turn in (90, 270):
            sx, sy = (y1 - y0) / wide, (x1 - x0) / high
        else:
            sx, sy = (x1 - x0) / wide, (y1 - y0) / high
        return {
            90: (0.0, sx, sy, 0.0, x0, y0),
            180: (-sx, 0.0, 0.0, sy, x1, y0),
            270: (0.0, -sx, -sy, 0.0, x1, y1),
        }.get(turn, (sx, 0.0, 0.0, -sy, x0, y1))

    def _layer(self, page: PageText, matrix: tuple[float, ...]) -> bytes:
        """Return content that writes the lines invisibly, in reading order."""
        a, b, c, d, e, f = matrix
        parts = [b"BT 3 Tr\n"]
        for line in page.lines:
            way = direction(line, page.turn)
            along, up = WAYS[way]
            for word, (x0, y0, x1, y1) in words(line, page.turn):
                wide, high = (y1 - y0, x1 - x0) if way in (DOWN, UP) else (x1 - x0, y1 - y0)
                if high <= 0 or wide <= 0:
                    continue
                base = DESCENT * high
                x, y = ((x0, y1 - base), (x0 + base, y0), (x1, y0 + base), (x1 - base, y1))[way]
                setting = (
                    a * along[0] + c * along[1], b * along[0] + d * along[1],
                    a * up[0] + c * up[1], b * up[0] + d * up[1],
                    a * x + c * y + e, b * x + d * y + f,
                )  # fmt: skip
                stretch = 100 * wide / (len(word) * ADVANCE * high)
                size = b"/ManifoldOcr %.3f Tf %.3f Tz " % (high, stretch)
                place = b"%.5f %.5f %.5f %.5f %.3f %.3f Tm " % setting
                parts.append(size + place + b"<" + self._encode(word + " ") + b"> Tj\n")
        return b"".join([*parts, b"ET\n"])

    def _encode(self, value: str) -> bytes:
        """Return codes: a character's own number, as programs that lose ToUnicode take it.

        Characters beyond 16 bits get codes of the private use area.
        """
        for sign in value:
            if sign not in self._codes:
                beyond = ord(sign) > 0xFFFF
                free = PRIVATE + sum(ord(known) > 0xFFFF for known in self._codes)
                self._codes[sign] = free if beyond else ord(sign)
        return b"".join(b"%04X" % (self._codes[sign] & 0xFFFF) for sign in value)

    def _fill_font(self) -> None:
        """Complete the font that all pages share, now that the characters are known."""
        lib, pdf = self._lib, self.pdf
        program = pdf.make_stream(_font_program())
        descriptor = lib.Dictionary(
            Type=lib.Name.FontDescriptor, FontName=lib.Name.GlyphLess, Flags=5,
            FontBBox=[0, 0, 500, 1000], ItalicAngle=0, Ascent=1000, Descent=-1,
            CapHeight=1000, StemV=80, FontFile2=program,
        )  # fmt: skip
        glyphs = pdf.make_stream(b"\x00\x01" * 0x10000)
        system = lib.Dictionary(
            Registry=lib.String("Adobe"), Ordering=lib.String("Identity"), Supplement=0
        )
        inner = lib.Dictionary(
            Type=lib.Name.Font, Subtype=lib.Name.CIDFontType2, BaseFont=lib.Name.GlyphLess,
            CIDSystemInfo=system, FontDescriptor=pdf.make_indirect(descriptor), DW=500,
            CIDToGIDMap=glyphs,
        )  # fmt: skip
        self._font.Subtype = lib.Name.Type0
        self._font.BaseFont = lib.Name.GlyphLess
        self._font.Encoding = lib.Name("/Identity-H")
        self._font.DescendantFonts = lib.Array([pdf.make_indirect(inner)])
        self._font.ToUnicode = pdf.make_stream(_to_unicode(self._codes))


def _is_gray(image: Image.Image) -> bool:
    if image.mode != "RGB":
        return False
    small = image.resize((min(64, image.width), min(64, image.height)), Image.Resampling.BOX)
    if any(high - low for low, high in _differences(small)):
        return False
    return not any(high - low for low, high in _differences(image))


def _differences(image: Image.Image) -> list[tuple[int, int]]:
    from PIL import ImageChops

    red, green, blue = image.split()
    pairs = ((red, green), (green, blue))
    return [ImageChops.difference(a, b).getextrema() for a, b in pairs]  # type: ignore[misc]


def _font_program() -> bytes:
    """Return a TrueType font of two empty glyphs, without dates."""
    from fontTools.fontBuilder import FontBuilder
    from fontTools.ttLib.tables._g_l_y_f import Glyph

    builder = FontBuilder(1000, isTTF=True)
    builder.updateHead(created=0, modified=0)
    builder.setupGlyphOrder([".notdef", "any"])
    builder.setupCharacterMap({32: "any"})
    builder.setupGlyf({".notdef": Glyph(), "any": Glyph()})
    builder.setupHorizontalMetrics({".notdef": (500, 0), "any": (500, 0)})
    builder.setupHorizontalHeader(ascent=1000, descent=-1)
    builder.setupNameTable({"familyName": "GlyphLess", "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    builder.font.recalcTimestamp = False
    buffer = io.BytesIO()
    builder.save(buffer)
    return buffer.getvalue()


def _to_unicode(codes: dict[str, int]) -> bytes:
    """Return the ToUnicode CMap of the used codes, 100 in a block as the standard bounds them."""
    pairs = [
        f"<{code:04X}> <{sign.encode('utf-16-be', 'surrogatepass').hex().upper()}>"
        for sign, code in codes.items()
    ]
    blocks = [pairs[start : start + 100] for start in range(0, len(pairs), 100)]
    body = "".join(
        f"{len(block)} beginbfchar\n" + "\n".join(block) + "\nendbfchar\n" for block in blocks
    )
    return (
        "/CIDInit /ProcSet findresource begin\n12 dict begin\nbegincmap\n"
        "/CIDSystemInfo << /Registry (Adobe) /Ordering (UCS) /Supplement 0 >> def\n"
        "/CMapName /Adobe-Identity-UCS def\n/CMapType 2 def\n"
        "1 begincodespacerange\n<0000> <FFFF>\nendcodespacerange\n"
        f"{body}endcmap\nCMapName currentdict /CMap defineresource pop\nend\nend\n"
    ).encode("ascii")


def jpeg_bytes(path: Path, image: Image.Image) -> bytes | None:
    """Return a file's own JPEG bytes where they show `image` as read (upright, gray or RGB)."""
    with open(path, "rb") as file:
        if file.read(3) != b"\xff\xd8\xff":
            return None
    with Image.open(path) as original:
        upright = original.getexif().get(0x0112, 1) == 1
        plain = original.format == "JPEG" and original.mode in ("L", "RGB")
        if upright and plain and original.size == image.size:
            return path.read_bytes()
    return None


def image_pdf(pages: Iterable[tuple[Image.Image, PageText]]) -> bytes:
    """Return a searchable PDF of images."""
    document = SearchablePdf()
    for image, page in pages:
        document.add_image(image, page)
    return document.to_bytes()
