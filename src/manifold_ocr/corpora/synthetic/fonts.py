"""The fonts, all from pinned packages, and which of them only the test split may use."""

import importlib.util
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from fontTools.ttLib import TTFont
from PIL import ImageFont

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


def faces_for(subset: str, split: str) -> tuple[str, ...]:
    """Return the faces that a subset draws with in a split.

    The test split's own faces are listed twice, so that two lines in three or more use one.
    """
    shared, test_only = PARTITION[subset]
    return shared if split != "test" else (*test_only * 2, *shared[:: max(1, len(shared) // 3)])


def font_path(name: str) -> Path:
    """Return the file of a face.

    Raises:
        UserError: the package that holds it is not installed, or lacks the file.
    """
    face = SHARED.get(name) or TEST_ONLY[name]
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
def load(name: str, size: int) -> ImageFont.FreeTypeFont:
    """Return a face at `size` pixels, laid out without raqm so that its presence is no matter."""
    face = SHARED.get(name) or TEST_ONLY[name]
    return ImageFont.truetype(
        str(font_path(name)), size * face.scale // 100, layout_engine=ImageFont.Layout.BASIC
    )


@lru_cache(maxsize=64)
def coverage(name: str) -> frozenset[int]:
    """Return the code points that a face has glyphs for."""
    with TTFont(font_path(name), fontNumber=0, lazy=True) as font:
        return frozenset(font.getBestCmap())


def covers(name: str, text: str) -> bool:
    """Return whether a face can draw every character of `text`."""
    return all(ord(char) in coverage(name) or char == " " for char in text)
