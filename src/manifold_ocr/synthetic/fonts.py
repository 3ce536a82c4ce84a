"""The fonts, all from pinned packages, and text drawn with them as ink masks."""

import importlib.util
import random
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from fontTools.ttLib import TTFont
from PIL import Image, ImageChops, ImageDraw, ImageFont

from manifold_ocr.augment.ops import to_array
from manifold_ocr.errors import UserError


@dataclass(frozen=True, slots=True)
class Face:
    """One font file: the package it comes in, and its path there.

    `scale` (percent) makes hands with small letters as large as the other faces.
    """

    package: str
    file: str
    scale: int = 100


DEJAVU = "mpl-data/fonts/ttf/"

# Faces that train and val draw with; the test split shares them.
SHARED = {
    "roboto": Face("font_roboto", "files/Roboto-Regular.ttf"),
    "roboto-italic": Face("font_roboto", "files/Roboto-Italic.ttf"),
    "roboto-bold": Face("font_roboto", "files/Roboto-Bold.ttf"),
    "roboto-light": Face("font_roboto", "files/Roboto-Light.ttf"),
    "source-serif": Face("font_source_serif_pro", "files/SourceSerifPro-Regular.ttf"),
    "source-serif-italic": Face("font_source_serif_pro", "files/SourceSerifPro-It.ttf"),
    "source-serif-bold": Face("font_source_serif_pro", "files/SourceSerifPro-Bold.ttf"),
    "crimson": Face("fontpkg_crimson_text", "files/CrimsonText-Regular.ttf"),
    "crimson-italic": Face("fontpkg_crimson_text", "files/CrimsonText-Italic.ttf"),
    "lato": Face("fontpkg_lato", "files/Lato-Regular.ttf"),
    "lato-bold": Face("fontpkg_lato", "files/Lato-Bold.ttf"),
    "dejavu-sans": Face("matplotlib", DEJAVU + "DejaVuSans.ttf"),
    "dejavu-serif": Face("matplotlib", DEJAVU + "DejaVuSerif.ttf"),
    "dejavu-mono": Face("matplotlib", DEJAVU + "DejaVuSansMono.ttf"),
    "dejavu-mono-bold": Face("matplotlib", DEJAVU + "DejaVuSansMono-Bold.ttf"),
    "roboto-mono": Face("fontpkg_roboto_mono", "files/RobotoMono[wght].ttf"),
    "inconsolata": Face("fontpkg_inconsolata", "files/Inconsolata[wdth,wght].ttf"),
    "barlow": Face("fontpkg_barlow_condensed", "files/BarlowCondensed-Medium.ttf"),
    "kalam": Face("fontpkg_kalam", "files/Kalam-Regular.ttf"),
    "kalam-light": Face("fontpkg_kalam", "files/Kalam-Light.ttf"),
    "caveat": Face("fontpkg_caveat", "files/Caveat[wght].ttf", 125),
    "satisfy": Face("fontpkg_satisfy", "files/Satisfy-Regular.ttf"),
    "intuitive": Face("font_intuitive", "files/Intuitive.ttf"),
    "delius": Face("fontpkg_delius", "files/Delius-Regular.ttf"),
    "noto-sans-sc": Face("pylopdf_fonts_zh_cn", "NotoSansSC-Regular.otf"),
    "noto-serif-sc": Face("pylopdf_fonts_zh_cn", "NotoSerifSC-Regular.otf"),
}

# Faces that the training split draws with as well where many are asked for; of other families than
# those of the test split.
MANY = {
    "dm-mono": Face("fontpkg_dm_mono", "files/DMMono-Regular.ttf"),
    "dm-mono-light": Face("fontpkg_dm_mono", "files/DMMono-Light.ttf"),
    "fira-code": Face("fontpkg_fira_code", "files/FiraCode[wght].ttf"),
    "geist-mono": Face("fontpkg_geist_mono", "files/GeistMono[wght].ttf"),
    "lora": Face("fontpkg_lora", "files/Lora[wght].ttf"),
    "lora-italic": Face("fontpkg_lora", "files/Lora-Italic[wght].ttf"),
    "garamond": Face("fontpkg_eb_garamond", "files/EBGaramond[wght].ttf"),
    "garamond-italic": Face("fontpkg_eb_garamond", "files/EBGaramond-Italic[wght].ttf"),
    "baskerville": Face("fontpkg_libre_baskerville", "files/LibreBaskerville[wght].ttf"),
    "vollkorn": Face("fontpkg_vollkorn", "files/Vollkorn[wght].ttf"),
    "open-sans": Face("fontpkg_open_sans", "files/OpenSans[wdth,wght].ttf"),
    "work-sans": Face("fontpkg_work_sans", "files/WorkSans[wght].ttf"),
    "archivo-narrow": Face("fontpkg_archivo_narrow", "files/ArchivoNarrow[wght].ttf"),
    "roboto-condensed": Face("fontpkg_roboto_condensed", "files/RobotoCondensed[wght].ttf"),
    "zeyada": Face("fontpkg_zeyada", "files/Zeyada.ttf", 140),
    "yellowtail": Face("fontpkg_yellowtail", "files/Yellowtail-Regular.ttf", 110),
    "great-vibes": Face("fontpkg_great_vibes", "files/GreatVibes-Regular.ttf", 125),
    "pacifico": Face("fontpkg_pacifico", "files/Pacifico-Regular.ttf"),
}

# Faces of other families that occur in the test split and nowhere else.
TEST_ONLY = {
    "pt-serif": Face("fontpkg_pt_serif", "files/PT_Serif-Web-Regular.ttf"),
    "pt-serif-italic": Face("fontpkg_pt_serif", "files/PT_Serif-Web-Italic.ttf"),
    "pt-sans": Face("fontpkg_pt_sans", "files/PT_Sans-Web-Regular.ttf"),
    "pt-sans-bold": Face("fontpkg_pt_sans", "files/PT_Sans-Web-Bold.ttf"),
    "caladea": Face("font_caladea", "files/Caladea-Regular.ttf"),
    "stix": Face("matplotlib", DEJAVU + "STIXGeneral.ttf"),
    "source-sans": Face("font_source_sans_pro", "files/SourceSansPro-Regular.ttf"),
    "share-tech": Face("fontpkg_share_tech", "files/ShareTech-Regular.ttf"),
    "plex-mono": Face("fontpkg_ibm_plex_mono", "files/IBMPlexMono-Regular.ttf"),
    "jetbrains-mono": Face("fontpkg_jetbrains_mono", "files/JetBrainsMono[wght].ttf"),
    "space-mono": Face("fontpkg_space_mono", "files/SpaceMono-Regular.ttf"),
    "shadows": Face("fontpkg_shadows_into_light", "files/ShadowsIntoLight.ttf", 115),
    "indie-flower": Face("fontpkg_indie_flower", "files/IndieFlower-Regular.ttf"),
    "dancing": Face("fontpkg_dancing_script", "files/DancingScript[wght].ttf", 115),
    "sarasa-mono": Face("impaper", "res/sarasa-mono-sc-regular.ttf"),
    "wqy-microhei": Face("paperang_p2_fonts_cjk", "fonts/wqy-microhei.ttc"),
}

_SANS = ("roboto", "roboto-italic", "roboto-bold", "lato", "dejavu-sans")
_PROSE = (*_SANS, "source-serif", "source-serif-italic", "crimson", "crimson-italic")
_HAND = ("kalam", "kalam-light", "caveat", "satisfy", "intuitive", "delius")
_MONO = ("dejavu-mono", "dejavu-mono-bold", "roboto-mono", "inconsolata")

# subset -> faces of (train and val, test only)
PARTITION: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "printed": (
        (*_PROSE, "dejavu-serif"),
        ("pt-serif", "pt-serif-italic", "pt-sans", "caladea", "stix"),
    ),
    "receipts": ((*_MONO, "barlow", "roboto"), ("plex-mono", "share-tech", "space-mono")),
    "code": (_MONO, ("plex-mono", "jetbrains-mono", "space-mono")),
    "forms": (
        ("roboto", "roboto-light", "lato", "dejavu-sans", "source-serif"),
        ("pt-sans", "source-sans", "caladea"),
    ),
    "handwriting": (_HAND, ("shadows", "dancing", "indie-flower")),
    "charts": (
        ("roboto", "lato", "dejavu-sans", "barlow", "roboto-light"),
        ("source-sans", "pt-sans-bold", "share-tech"),
    ),
    "degraded": (
        ("roboto", "source-serif", "crimson", "dejavu-serif", "dejavu-mono", "lato-bold"),
        ("pt-serif", "stix", "plex-mono", "source-sans"),
    ),
    "chinese": (("noto-sans-sc", "noto-serif-sc"), ("sarasa-mono", "wqy-microhei")),
}

_MANY_MONO = ("dm-mono", "dm-mono-light", "fira-code", "geist-mono")
_MANY_SERIFS = ("lora", "garamond", "baskerville", "vollkorn")
_NARROW = ("archivo-narrow", "roboto-condensed")
# subset -> further faces of train
MORE: dict[str, tuple[str, ...]] = {
    "printed": (*_MANY_SERIFS, "lora-italic", "garamond-italic", "open-sans", "work-sans"),
    "receipts": (*_MANY_MONO, *_NARROW),
    "code": _MANY_MONO,
    "forms": ("open-sans", "work-sans", "lora", "archivo-narrow"),
    "handwriting": ("zeyada", "yellowtail", "great-vibes", "pacifico"),
    "charts": (*_NARROW, "open-sans", "work-sans"),
    "degraded": (*_MANY_SERIFS, "open-sans", "work-sans", "fira-code"),
    "chinese": (),
}


def faces_for(subset: str, split: str, many: bool = False) -> tuple[str, ...]:
    """Return the faces that a subset draws with in a split, in training `many` if asked for.

    The test split's own faces are listed twice, so that two lines in three or more use one.
    """
    shared, test_only = PARTITION[subset]
    if many and split == "train":
        return (*shared, *MORE[subset])
    return shared if split != "test" else (*test_only * 2, *shared[:: max(1, len(shared) // 3)])


def font_path(name: str) -> Path:
    """Return the file of a face; a name that is an absolute path is the file itself.

    Raises:
        UserError: the package that holds it is not installed, or lacks the file.
    """
    if name.startswith("/"):
        return Path(name)
    face = SHARED.get(name) or MANY.get(name) or TEST_ONLY[name]
    spec = importlib.util.find_spec(face.package)
    for folder in spec.submodule_search_locations or () if spec else ():
        path = Path(folder) / face.file
        if path.is_file():
            return path
    raise UserError(
        f"font {name}: {face.file} of the package {face.package.replace('_', '-')} is missing; "
        "run `make install` again"
    )


@lru_cache(maxsize=256)
def load(name: str, size: int, shaped: bool = False) -> ImageFont.FreeTypeFont:
    """Return a face at `size` pixels, laid out without raqm so that its presence is no matter.

    `shaped` lays out with raqm: right to left, joined letters, marks in their place.
    """
    face = SHARED.get(name) or MANY.get(name) or TEST_ONLY.get(name)
    pixels = size * face.scale // 100 if face else size
    engine = ImageFont.Layout.RAQM if shaped else ImageFont.Layout.BASIC
    return ImageFont.truetype(str(font_path(name)), pixels, layout_engine=engine)


@lru_cache(maxsize=64)
def coverage(name: str) -> frozenset[int]:
    """Return the code points that a face has glyphs for."""
    with TTFont(font_path(name), fontNumber=0, lazy=True) as font:
        return frozenset(font.getBestCmap())


def covers(name: str, text: str) -> bool:
    """Return whether a face can draw every character of `text`."""
    return all(ord(char) in coverage(name) or char == " " for char in text)


PAD = 6  # room around a run for overhanging strokes and wobble, in pixels


@dataclass(frozen=True, slots=True)
class Pen:
    """How a run of text is drawn.

    `size` is the font size and `tracking` the extra space after each character, in pixels.
    `wobble` is the largest vertical shift of a character. `dots` > 0 prints on a raster of
    that many pixels, as a needle printer does. `shaped` text is set by raqm, tracking aside.
    """

    face: str
    size: int
    tracking: int = 0
    wobble: int = 0
    dots: int = 0
    shaped: bool = False


def line_height(pen: Pen) -> int:
    """Return ascent plus descent of the pen's font in pixels."""
    ascent, descent = load(pen.face, pen.size).getmetrics()
    return int(ascent + descent)


def draw_run(text: str, pen: Pen, rng: random.Random) -> Image.Image:
    """Return a gray mask (255 is ink) of `text`; the top is the ascent less PAD."""
    font = load(pen.face, pen.size, pen.shaped)
    height = line_height(pen) + 2 * PAD
    if pen.shaped or (pen.tracking == 0 and pen.wobble == 0):
        mask = Image.new("L", (int(font.getlength(text)) + 2 * PAD + pen.size // 2, height))
        ImageDraw.Draw(mask).text((PAD, PAD), text, font=font, fill=255)
    else:
        mask = _draw_spread(text, pen, rng, height)
    return _needle_print(mask, pen.dots) if pen.dots else mask


def _draw_spread(text: str, pen: Pen, rng: random.Random, height: int) -> Image.Image:
    advances = [_advance(pen.face, pen.size, char) + pen.tracking for char in text]
    mask = Image.new("L", (sum(advances) + 2 * PAD + pen.size, height))
    x, shift = PAD, 0
    for char, advance in zip(text, advances, strict=True):
        if pen.wobble:
            shift = min(pen.wobble, max(-pen.wobble, shift + rng.randint(-1, 1)))
        if char != " ":
            glyph = _glyph(pen.face, pen.size, char)
            left, top = x - pen.size // 2, shift
            region = (left, top, left + glyph.width, top + height)
            mask.paste(ImageChops.lighter(mask.crop(region), glyph), region[:2])
        x += max(1, advance)
    return mask


@lru_cache(maxsize=16384)
def _advance(face: str, size: int, char: str) -> int:
    return int(load(face, size).getlength(char) + 0.5)


@lru_cache(maxsize=4096)
def _glyph(face: str, size: int, char: str) -> Image.Image:
    """Return the mask of one character, drawn half a size from the left and PAD from the top."""
    font = load(face, size)
    height = line_height(Pen(face, size)) + 2 * PAD
    glyph = Image.new("L", (int(font.getlength(char)) + 2 * size, height))
    ImageDraw.Draw(glyph).text((size // 2, PAD), char, font=font, fill=255)
    return glyph


def _needle_print(mask: Image.Image, pitch: int) -> Image.Image:
    """Sample the mask every `pitch` pixels and strike a round dot where there is ink."""
    width, height = mask.width // pitch, mask.height // pitch
    cells = to_array(mask.resize((width, height), Image.Resampling.BOX)) > 96
    needle = np.full((pitch, pitch), 255, dtype=np.uint8)
    if pitch > 2:
        needle[[0, 0, -1, -1], [0, -1, 0, -1]] = 110
    else:
        needle[-1, :] = needle[:, -1] = 150
    return Image.fromarray(np.kron(cells.astype(np.uint8), needle))
