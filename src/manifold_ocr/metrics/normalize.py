"""Normalization profiles: what a metric sees of a text. Every result names its profile.

A profile is a base (`raw`, `nfc`, `nfc_ws`, `grapheme`, `jiwer`, `odb`), optionally followed
by `+casefold`, `+width` or both: `nfc_ws+casefold` compares without case.
"""

import functools
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass

DEFAULT_PROFILE = "nfc_ws"

_INLINE_MATH = re.compile(r"\$(.*?)\$|\\\((.*?)\\\)")
_MATH_MARKS = re.compile(r"[\\^_]")
_ESCAPED = re.compile(r"\\[\\_&%^]")
_LITERAL_BREAKS = ("\\t", "\\n", "\t", "\n", "/t", "/n")
_NOT_WORD_OR_HAN = re.compile(r"[^\w\u4e00-\u9fff]")


@dataclass(frozen=True, slots=True)
class Profile:
    """What a profile does, in the words that stand beside every result."""

    name: str
    unicode: str
    whitespace: str
    case: str
    width: str
    unit: str


def describe(profile: str) -> Profile:
    """Name what `profile` does to Unicode form, white space, case, width, and its unit.

    Raises:
        ValueError: no such profile; the valid ones are listed.
    """
    base, folds = _parse(profile)
    unicode_form = {"raw": "as is", "jiwer": "as is", "odb": "as is"}.get(base, "NFC")
    whitespace = {"nfc_ws": "collapsed", "jiwer": "stripped", "odb": "removed"}.get(base, "as is")
    return Profile(
        name=profile,
        unicode=unicode_form,
        whitespace=whitespace,
        case="folded" if "casefold" in folds else "kept",
        width="folded" if "width" in folds else "kept",
        unit="grapheme cluster" if base == "grapheme" else "code point",
    )


def normalize(text: str, profile: str = DEFAULT_PROFILE) -> str:
    """Return `text` as `profile` sees it (for `grapheme`: the NFC string, see `units`)."""
    for step in _steps(profile):
        text = step(text)
    return text


def units(text: str, profile: str = DEFAULT_PROFILE) -> Sequence[str]:
    """Return what is counted: the string's code points, or a list of grapheme clusters."""
    normalized = normalize(text, profile)
    return graphemes(normalized) if profile.startswith("grapheme") else normalized


def graphemes(text: str) -> list[str]:
    """Split into extended grapheme clusters (Unicode Standard Annex 29, GB9c included)."""
    if text.isascii() and "\r" not in text:
        return list(text)
    from uniseg.graphemecluster import grapheme_clusters

    return list(grapheme_clusters(text))


def collapse_whitespace(text: str) -> str:
    """Strip, and make each run of white space one space."""
    return " ".join(text.split())


def fold_width(text: str) -> str:
    """Map full-width and half-width forms to their ordinary ones (and nothing else)."""
    return text if text.isascii() else unicodedata.normalize("NFC", text.translate(_width_table()))


def omnidocbench_text(text: str) -> str:
    """Return the form in which OmniDocBench compares text blocks (profile `odb`).

    Inline formulas become Unicode, literal and real tabs and line breaks vanish, and so does
    everything but word characters: spaces, punctuation, emoji, combining marks.
    """
    return word_characters(inline_math_to_unicode(text))


def word_characters(text: str) -> str:
    """Delete literal and real tabs and line breaks, then all but word and Han characters."""
    for sequence in _LITERAL_BREAKS:  # one after another: removing one may make the next
        text = text.replace(sequence, "")
    return _NOT_WORD_OR_HAN.sub("", text)


def inline_math_to_unicode(text: str) -> str:
    r"""Replace `$...$` and `\(...\)` that hold a backslash, `^` or `_` by Unicode text.

    Escaped characters (`\_`, `\%`, ...) are dropped first; what the converter cannot read
    stays as it is.
    """
    if "$" not in text and "\\(" not in text:
        return text
    return _INLINE_MATH.sub(_math_to_unicode, text)


def _math_to_unicode(match: re.Match[str]) -> str:
    content = match.group(1) if match.group(1) is not None else match.group(2)
    content = _ESCAPED.sub("", content)
    if not _MATH_MARKS.search(content):
        return match.group(0)
    try:
        return latex_to_text(content + " " if content.endswith("\\") else content).strip()
    except Exception:  # the converter has no base class for its parse errors
        return match.group(0)


def latex_to_text(latex: str) -> str:
    """Return LaTeX as plain Unicode text (through pylatexenc)."""
    from pylatexenc.latex2text import LatexNodes2Text

    return str(LatexNodes2Text().latex_to_text(latex))


_BASES: dict[str, tuple[Callable[[str], str], ...]] = {
    "raw": (),
    "nfc": (functools.partial(unicodedata.normalize, "NFC"),),
    "nfc_ws": (functools.partial(unicodedata.normalize, "NFC"), collapse_whitespace),
    "grapheme": (functools.partial(unicodedata.normalize, "NFC"),),
    "jiwer": (str.strip,),
    "odb": (omnidocbench_text,),
}
_FOLDS: dict[str, Callable[[str], str]] = {"casefold": str.casefold, "width": fold_width}


def _parse(profile: str) -> tuple[str, tuple[str, ...]]:
    base, *folds = profile.split("+")
    if base not in _BASES or any(fold not in _FOLDS for fold in folds):
        raise ValueError(
            f"no normalization profile {profile!r}; a profile is one of {', '.join(_BASES)}, "
            f"optionally followed by {' or '.join('+' + fold for fold in _FOLDS)}"
        )
    return base, tuple(folds)


@functools.cache
def _steps(profile: str) -> tuple[Callable[[str], str], ...]:
    base, folds = _parse(profile)
    return _BASES[base] + tuple(_FOLDS[fold] for fold in folds)


@functools.cache
def _width_table() -> dict[int, str]:
    forms = (0x3000, *range(0xFF00, 0xFFF0))  # all that Unicode decomposes as wide or narrow
    return {code: unicodedata.normalize("NFKC", chr(code)) for code in forms}
