"""Edit distance, its operation counts and the error rates made of them.

Symbols throughout: reference length n, prediction length m, Levenshtein distance d (unit
costs), alignment counts C matches, S substitutions, D deletions, I insertions, with
n = C+S+D, m = C+S+I, d = S+D+I. Only d and I-D = m-n are equal for every optimal alignment;
S, D and I are those of the alignment that rapidfuzz returns. A sequence is a string (code
points) or a list of hashable units (graphemes, words, tokens).
"""

import functools
import unicodedata
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import regex
from rapidfuzz.distance import LCSseq, Levenshtein

Units = Sequence[Hashable]


@dataclass(frozen=True, slots=True)
class EditCounts:
    """Operations that turn a reference into a prediction, in units of the sequences."""

    hits: int
    substitutions: int
    deletions: int
    insertions: int

    @property
    def distance(self) -> int:
        """Return d = S+D+I."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def reference_length(self) -> int:
        """Return n = C+S+D."""
        return self.hits + self.substitutions + self.deletions

    @property
    def prediction_length(self) -> int:
        """Return m = C+S+I."""
        return self.hits + self.substitutions + self.insertions


def distance(reference: Units, prediction: Units) -> int:
    """Return the Levenshtein distance d."""
    return Levenshtein.distance(reference, prediction)


def lcs_length(reference: Units, prediction: Units) -> int:
    """Return the length of a longest common subsequence."""
    return LCSseq.similarity(reference, prediction)


def edit_counts(reference: Units, prediction: Units) -> EditCounts:
    """Count the operations of one optimal alignment."""
    if reference == prediction:
        return EditCounts(len(reference), 0, 0, 0)
    tags = Counter(op.tag for op in Levenshtein.editops(reference, prediction))
    substitutions, deletions = tags["replace"], tags["delete"]
    return EditCounts(
        hits=len(reference) - substitutions - deletions,
        substitutions=substitutions,
        deletions=deletions,
        insertions=tags["insert"],
    )


CLASSES = ("letters", "digits", "punctuation", "spaces", "cjk")
_CJK = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}\p{Bopomofo}]")


@functools.lru_cache(maxsize=65_536)
def character_class(unit: str) -> str:
    """One of CLASSES, by the unit's first code point; symbols count as punctuation."""
    first = unit[0]
    if first.isspace():
        return "spaces"
    if _CJK.match(first):
        return "cjk"
    category = unicodedata.category(first)[0]
    return {"N": "digits", "L": "letters", "M": "letters"}.get(category, "punctuation")


def edits_by_class(reference: Sequence[str], prediction: Sequence[str]) -> Mapping[str, Any]:
    """Count the operations of the alignment of `edit_counts` by the class of their character.

    Keys are `substitutions_CLASS` and `deletions_CLASS` (the class of the reference's
    character) and `insertions_CLASS` (of the predicted one); a key that is missing is 0.
    """
    if reference == prediction:
        return {}
    counts: Counter[str] = Counter()
    for operation in Levenshtein.editops(reference, prediction):
        if operation.tag == "insert":
            counts[f"insertions_{character_class(prediction[operation.dest_pos])}"] += 1
        else:
            kind = "deletions" if operation.tag == "delete" else "substitutions"
            counts[f"{kind}_{character_class(reference[operation.src_pos])}"] += 1
    return counts


def error_rate(d: int, n: int) -> float | None:
    """d/n: unbounded above; 0 if both texts are empty, None if only the reference is."""
    if n == 0:
        return 0.0 if d == 0 else None
    return d / n


def normalized(d: int, n: int, m: int) -> float:
    """d/max(n, m), in [0, 1]; 0 if both are empty."""
    longest = max(n, m)
    return d / longest if longest else 0.0


def cer(reference: Units, prediction: Units) -> float | None:
    """Character error rate d/n (see `error_rate` for an empty reference)."""
    return error_rate(distance(reference, prediction), len(reference))


def ned(reference: Units, prediction: Units) -> float:
    """Normalized edit distance d/max(n, m)."""
    return normalized(distance(reference, prediction), len(reference), len(prediction))


def wer(reference: str, prediction: str) -> float | None:
    """Word error rate over white-space separated words, case kept."""
    return cer(reference.split(), prediction.split())


def micro_error_rate(pairs: Iterable[tuple[Units, Units]]) -> float | None:
    """Corpus error rate: sum of d over sum of n; None where all references are empty."""
    total = length = 0
    for reference, prediction in pairs:
        total += distance(reference, prediction)
        length += len(reference)
    return error_rate(total, length)


def indel_similarity(reference: Units, prediction: Units) -> float:
    """2*LCS/(n+m), which the Levenshtein package calls `ratio`; 1 if both are empty."""
    total = len(reference) + len(prediction)
    return 2 * lcs_length(reference, prediction) / total if total else 1.0


def precision_recall_f1(common: int, n: int, m: int) -> tuple[float, float, float]:
    """Return C/m, C/n and 2C/(n+m), all in [0, 1]; both empty: 1, one empty: 0."""
    if n == 0 and m == 0:
        return 1.0, 1.0, 1.0
    return (common / m if m else 0.0, common / n if n else 0.0, 2 * common / (n + m))


def bag_overlap(reference: Iterable[Hashable], prediction: Iterable[Hashable]) -> int:
    """Sum over types of min(counts): what both texts hold, whatever the order."""
    return (Counter(reference) & Counter(prediction)).total()


def anls(prediction: str, answers: Sequence[str], threshold: float = 0.5) -> float:
    """Average normalized Levenshtein similarity of one answer (Biten et al. 2019, ICCV).

    The best 1 - NED over the accepted `answers`, case and outer white space ignored; a
    similarity that does not exceed 1 - `threshold` counts as 0.

    Raises:
        ValueError: no accepted answer.
    """
    if not answers:
        raise ValueError("a question needs at least one accepted answer")
    said = " ".join(prediction.casefold().split())
    best = min(ned(" ".join(answer.casefold().split()), said) for answer in answers)
    return 1.0 - best if best < threshold else 0.0
