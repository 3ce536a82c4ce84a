"""What happened to the sheet between printing and scanning, subset by subset."""

import numpy as np
from PIL import Image

from manifold_ocr.augmentation import camera, ink, paper
from manifold_ocr.augmentation.pixels import between, chance, paper_level, to_array

LEVELS = 16  # grey levels that are stored: a scan of 4 bits, which keeps the files small


def wear(subset: str, page: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Return the page as scanned."""
    if subset == "degraded":
        page = _degrade(page, rng)
    elif subset == "receipts":
        page = _thermal(page, rng)
    elif subset == "handwriting":
        page = _notebook(page, rng)
    elif subset == "chinese":
        page = _copy(page, rng)
    else:
        page = _light(page, rng)
    return quantise(page)


def quantise(page: Image.Image) -> Image.Image:
    """Return the page with 16 evenly spaced grey levels, 0 and 255 among them."""
    return page.point([((value * (LEVELS - 1) + 127) // 255) * 17 for value in range(256)])


def _light(page: Image.Image, rng: np.random.Generator) -> Image.Image:
    if chance(rng, 0.5):
        page = camera.blur(page, between(rng, 3, 9))
    if chance(rng, 0.35):
        page = camera.fewer_pixels(page, between(rng, 55, 80))
    if chance(rng, 0.3):
        page = paper.contrast(page, between(rng, 0, 70), between(rng, 190, 255))
    return page


def _thermal(page: Image.Image, rng: np.random.Generator) -> Image.Image:
    page = ink.fade(rng, page, between(rng, 60, 190), cell=between(rng, 20, 60))
    if chance(rng, 0.4):
        page = ink.scanline_gaps(rng, page, page.height // between(rng, 12, 30))
    if chance(rng, 0.6):
        page = camera.blur(page, between(rng, 4, 11))
    if chance(rng, 0.5):
        page = paper.gradient(rng, page, between(rng, 20, 70))
    return page


def _notebook(page: Image.Image, rng: np.random.Generator) -> Image.Image:
    if chance(rng, 0.5):
        page = ink.spread(page, between(rng, 60, 200))
    if chance(rng, 0.5):
        page = paper.gradient(rng, page, between(rng, 20, 80))
    if chance(rng, 0.6):
        page = camera.blur(page, between(rng, 4, 12))
    return page


def _copy(page: Image.Image, rng: np.random.Generator) -> Image.Image:
    if chance(rng, 0.5):
        page = camera.fewer_pixels(page, between(rng, 45, 75))
    if chance(rng, 0.3):
        page = ink.broken(rng, page, between(rng, 20, 60))
    if chance(rng, 0.25):
        return ink.binarise(page, between(rng, 90, 150))
    if chance(rng, 0.4):
        page = paper.contrast(page, between(rng, 40, 110), between(rng, 180, 250))
    return page


def _degrade(page: Image.Image, rng: np.random.Generator) -> Image.Image:
    """One of five histories, then the scanner's slant and dust."""
    page = HISTORIES[between(rng, 0, len(HISTORIES) - 1)](page, rng)
    page = paper.specks(rng, page, between(rng, 100, 900))
    return camera.slant(page, between(rng, -4, 4), paper_level(to_array(page)))


def _fax(page: Image.Image, rng: np.random.Generator) -> Image.Image:
    page = camera.fewer_pixels(page, between(rng, 52, 75))
    page = ink.broken(rng, page, between(rng, 20, 60))
    page = paper.grain(rng, page, between(rng, 6, 18))
    page = ink.binarise(page, between(rng, 80, 150))
    return ink.scanline_gaps(rng, page, page.height // between(rng, 14, 40))


def _faded_copy(page: Image.Image, rng: np.random.Generator) -> Image.Image:
    page = camera.blur(page, between(rng, 5, 12))
    page = ink.fade(rng, page, between(rng, 60, 150), cell=between(rng, 12, 40))
    white = between(rng, 190, 240)
    page = paper.contrast(page, white - between(rng, 75, 130), white)
    return paper.grain(rng, page, between(rng, 4, 10))


def _thin_paper(page: Image.Image, rng: np.random.Generator) -> Image.Image:
    page = paper.contrast(page, between(rng, 40, 100), between(rng, 200, 245))
    page = paper.show_through(rng, page, between(rng, 60, 120))
    page = camera.blur(page, between(rng, 6, 13))
    return paper.grain(rng, page, between(rng, 3, 9))


def _dirty_sheet(page: Image.Image, rng: np.random.Generator) -> Image.Image:
    page = ink.spread(page, between(rng, 60, 200))
    page = ink.broken(rng, page, between(rng, 30, 75))
    page = camera.blur(page, between(rng, 4, 9))
    page = paper.stains(rng, page, between(rng, 40, 110))
    page = paper.texture(rng, page, between(rng, 20, 60))
    return paper.specks(rng, page, between(rng, 1000, 5000))


def _coarse_scan(page: Image.Image, rng: np.random.Generator) -> Image.Image:
    page = camera.fewer_pixels(page, between(rng, 42, 58))
    page = paper.contrast(page, between(rng, 30, 100), between(rng, 190, 250))
    page = paper.grain(rng, page, between(rng, 4, 10))
    return camera.jpeg(page, between(rng, 12, 35))


HISTORIES = (_fax, _faded_copy, _thin_paper, _dirty_sheet, _coarse_scan)
