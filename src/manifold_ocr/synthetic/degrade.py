"""What happened to the sheet between printing and scanning, subset by subset."""

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageOps

from manifold_ocr.augment import ops
from manifold_ocr.augment.ops import between, chance, paper_level, to_array

LEVELS = 16  # gray levels that are stored: a scan of 4 bits, which keeps the files small


def degrade(subset: str, page: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Return the page as scanned, photographed or shown on a screen."""
    return quantize(HISTORY_OF[subset](page, rng))


def quantize(page: Image.Image) -> Image.Image:
    """Return the page with 16 evenly spaced gray levels, 0 and 255 among them."""
    return page.point([((value * (LEVELS - 1) + 127) // 255) * 17 for value in range(256)])


def _office(page: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Printed matter and forms: clean, coarsely scanned, copied pale, or black and white."""
    kind = between(rng, 0, 4)
    if kind == 1:
        page = ops.fewer_pixels(page, between(rng, 40, 58))
    elif kind == 2:
        white = between(rng, 190, 255)
        page = ops.contrast(ops.blur(page, between(rng, 6, 12)), white - 100, white)
    elif kind == 3:
        page = ops.binarise(ops.blur(page, between(rng, 4, 8)), between(rng, 50, 110))
    elif kind == 4:
        page = ops.jpeg(ops.blur(page, between(rng, 8, 15)), between(rng, 8, 25))
    return page


def _screen(page: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Code as a screenshot: every second one on a dark ground, some scaled down."""
    if chance(rng, 0.5):
        page = ops.contrast(ImageOps.invert(page), between(rng, 15, 60), between(rng, 170, 240))
    if chance(rng, 0.5):
        page = ops.fewer_pixels(page, between(rng, 50, 75))
    if chance(rng, 0.3):
        page = ops.jpeg(page, between(rng, 12, 40))
    return page


def _figure(page: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Charts: pasted into a document, blurred by scaling or gray on gray."""
    if chance(rng, 0.4):
        page = ops.fewer_pixels(page, between(rng, 58, 80))
    if chance(rng, 0.3):
        page = ops.contrast(page, between(rng, 30, 110), between(rng, 190, 255))
    return page


def _thermal(page: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Receipts: heat print that pales in patches, worn print heads, curled paper."""
    page = ops.fade(rng, page, between(rng, 80, 215), cell=between(rng, 20, 60))
    if chance(rng, 0.4):
        page = ops.scanline_gaps(rng, page, page.height // between(rng, 12, 30))
    if chance(rng, 0.6):
        page = ops.blur(page, between(rng, 5, 13))
    if chance(rng, 0.5):
        page = ops.gradient(rng, page, between(rng, 20, 70))
    return ops.grain(rng, page, between(rng, 1, 7))


def _notebook(page: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Handwriting: pencil or pen, photographed in uneven light."""
    if chance(rng, 0.5):
        page = ops.spread(page, between(rng, 60, 200))
    else:
        page = ops.broken(rng, page, between(rng, 20, 90))
    if chance(rng, 0.5):
        page = ops.gradient(rng, page, between(rng, 20, 80))
    if chance(rng, 0.6):
        page = ops.blur(page, between(rng, 6, 16))
    page = ops.contrast(page, between(rng, 0, 100), 255)
    return ops.grain(rng, page, between(rng, 1, 8))


def _copy(page: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Chinese pages: newsprint and copies of copies."""
    if chance(rng, 0.6):
        page = ops.fewer_pixels(page, between(rng, 48, 75))
    if chance(rng, 0.4):
        page = ops.broken(rng, page, between(rng, 15, 50))
    if chance(rng, 0.3):
        return ops.binarise(page, between(rng, 90, 150))
    page = ops.contrast(page, between(rng, 0, 110), between(rng, 180, 255))
    return ops.grain(rng, page, between(rng, 1, 8))


def _several(page: Image.Image, rng: np.random.Generator) -> Image.Image:
    """One of five histories, then the scanner's slant and dust."""
    page = HISTORIES[between(rng, 0, len(HISTORIES) - 1)](page, rng)
    page = ops.specks(rng, page, between(rng, 100, 900))
    return ops.slant(page, between(rng, -4, 4), paper_level(to_array(page)))


def _fax(page: Image.Image, rng: np.random.Generator) -> Image.Image:
    page = ops.fewer_pixels(page, between(rng, 52, 75))
    page = ops.broken(rng, page, between(rng, 25, 65))
    page = ops.grain(rng, page, between(rng, 8, 20))
    page = ops.binarise(page, between(rng, 80, 150))
    return ops.scanline_gaps(rng, page, page.height // between(rng, 14, 40))


def _faded_copy(page: Image.Image, rng: np.random.Generator) -> Image.Image:
    page = ops.blur(page, between(rng, 5, 12))
    page = ops.fade(rng, page, between(rng, 60, 150), cell=between(rng, 12, 40))
    white = between(rng, 190, 240)
    page = ops.contrast(page, white - between(rng, 90, 140), white)
    return ops.grain(rng, page, between(rng, 4, 10))


def _thin_paper(page: Image.Image, rng: np.random.Generator) -> Image.Image:
    page = ops.contrast(page, between(rng, 40, 100), between(rng, 200, 245))
    page = ops.show_through(rng, page, between(rng, 80, 140))
    page = ops.blur(page, between(rng, 8, 16))
    return ops.grain(rng, page, between(rng, 3, 9))


def _dirty_sheet(page: Image.Image, rng: np.random.Generator) -> Image.Image:
    page = ops.spread(page, between(rng, 60, 200))
    page = ops.broken(rng, page, between(rng, 30, 75))
    page = ops.blur(page, between(rng, 4, 9))
    page = ops.stains(rng, page, between(rng, 40, 110))
    page = ops.texture(rng, page, between(rng, 20, 60))
    return ops.specks(rng, page, between(rng, 1000, 5000))


def _coarse_scan(page: Image.Image, rng: np.random.Generator) -> Image.Image:
    page = ops.fewer_pixels(page, between(rng, 38, 53))
    page = ops.contrast(page, between(rng, 30, 100), between(rng, 190, 250))
    page = ops.grain(rng, page, between(rng, 4, 10))
    return ops.jpeg(page, between(rng, 12, 35))


HISTORIES = (_fax, _faded_copy, _thin_paper, _dirty_sheet, _coarse_scan)

HISTORY_OF: dict[str, Callable[[Image.Image, np.random.Generator], Image.Image]] = {
    "printed": _office,
    "receipts": _thermal,
    "code": _screen,
    "forms": _office,
    "handwriting": _notebook,
    "charts": _figure,
    "degraded": _several,
    "chinese": _copy,
}
