"""How other tools compute their numbers, so that ours can be compared with published ones.

Each function is named after the tool whose convention it follows; docs/metrics.md says how
the conventions differ. None of them is a headline metric of ours.
"""

import re
import unicodedata
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from manifold_ocr.metrics import edit
from manifold_ocr.metrics.normalize import graphemes

_SPACES = re.compile(r"\s\s+")


@dataclass(frozen=True, slots=True)
class JiwerMeasures:
    """What jiwer reports for words or characters of one pair."""

    error_rate: float
    match_error_rate: float
    information_lost: float
    information_preserved: float
    counts: edit.EditCounts


def jiwer_words(text: str) -> list[str]:
    """Two or more white-space characters become a space; split at U+0020 only.

    A lone newline or tab therefore does not separate words, while CRLF does.
    """
    return [word for word in _SPACES.sub(" ", text).strip().split(" ") if word]


def jiwer_measures(reference: Sequence[Hashable], prediction: Sequence[Hashable]) -> JiwerMeasures:
    """Return (S+D+I)/N, (S+D+I)/(C+S+D+I) and word information lost and preserved.

    With an empty reference the error rate is the number of insertions.
    """
    counts = edit.edit_counts(reference, prediction)
    n, m, d = len(reference), len(prediction), counts.distance
    if n == 0 and m == 0:
        return JiwerMeasures(0.0, 0.0, 0.0, 1.0, counts)
    preserved = (counts.hits / n) * (counts.hits / m) if n and m else 0.0
    return JiwerMeasures(
        error_rate=d / n if n else float(d),
        match_error_rate=d / (counts.hits + d),
        information_lost=1 - preserved,
        information_preserved=preserved,
        counts=counts,
    )


def jiwer_cer(reference: str, prediction: str) -> JiwerMeasures:
    """Characters after stripping the ends."""
    return jiwer_measures(reference.strip(), prediction.strip())


def jiwer_wer(reference: str, prediction: str) -> JiwerMeasures:
    """Words as `jiwer_words` cuts them."""
    return jiwer_measures(jiwer_words(reference), jiwer_words(prediction))


def dinglehopper_characters(text: str) -> list[str]:
    """NFC, then extended grapheme clusters (UAX 29)."""
    return graphemes(unicodedata.normalize("NFC", text))


def dinglehopper_words(text: str) -> list[str]:
    """UAX 29 words after NFC that hold more than white space, punctuation or symbols.

    Characters of the Private Use Area count as letters.
    """
    from uniseg import wordbreak

    text = unicodedata.normalize("NFC", text)
    lettered = "".join("A" if "\ue000" <= c <= "\uf8ff" else c for c in text)
    words, start = [], 0
    for segment in wordbreak.words(lettered):
        word = text[start : start + len(segment)]
        start += len(segment)
        if not all(map(_separates, word)):
            words.append(word)
    return words


def dinglehopper_rate(reference: Sequence[str], prediction: Sequence[str]) -> float:
    """d/n; 0 if nothing differs, infinite if only the reference is empty."""
    d = edit.distance(reference, prediction)
    if d == 0:
        return 0.0
    return d / len(reference) if reference else float("inf")


def _separates(character: str) -> bool:
    category = unicodedata.category(character)
    return category[0] in "MPZS" or category in ("Cc", "Cf")
