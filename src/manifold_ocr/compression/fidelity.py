"""How much of a text survives: characters and tokens, under the older and the sound formulas."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from manifold_ocr.text import edit
from manifold_ocr.text.tokens import MetricTokenizer


@dataclass(frozen=True, slots=True)
class PairCounts:
    """Lengths n (reference) and m (other), edit distance d and common subsequence c."""

    n: int
    m: int
    d: int
    c: int

    @classmethod
    def of(cls, reference: edit.Units, other: edit.Units) -> "PairCounts":
        """Count one pair of sequences."""
        return cls(
            len(reference),
            len(other),
            edit.distance(reference, other),
            edit.lcs_length(reference, other),
        )


@dataclass(frozen=True, slots=True)
class Fidelity:
    """Counts of one page pair, characters (code points, raw) and tokens."""

    characters: PairCounts
    tokens: PairCounts


def compare(reference: str, other: str, tokenizer: MetricTokenizer) -> Fidelity:
    """Compare two texts."""
    first, second = tokenizer.encode_batch([reference, other])
    return Fidelity(PairCounts.of(reference, other), PairCounts.of(first, second))


def micro_ned(pairs: Iterable[PairCounts]) -> float:
    """Sum of d over sum of max(n, m): in [0, 1]."""
    pairs = list(pairs)
    longest = sum(max(p.n, p.m) for p in pairs)
    return sum(p.d for p in pairs) / longest if longest else 0.0


def lcs_scores(pairs: Iterable[PairCounts]) -> tuple[float, float, float]:
    """Precision, recall and F1 over common subsequences, pooled; always in [0, 1]."""
    pairs = list(pairs)
    return edit.precision_recall_f1(
        sum(p.c for p in pairs), sum(p.n for p in pairs), sum(p.m for p in pairs)
    )


@dataclass(frozen=True, slots=True)
class PrototypeScores:
    """The prototype's formulas over edit distance; recall or precision may be negative."""

    accuracy: float
    precision: float
    recall: float
    f1: float


def prototype_scores(pairs: Sequence[PairCounts]) -> PrototypeScores:
    """Return 1-d/max(n,m), 1-d/m, 1-d/n and their harmonic mean over pooled counts.

    Kept to compare with older reports only (compat): select nothing by it.
    """
    n, m, d = (sum(getattr(p, name) for p in pairs) for name in "nmd")
    accuracy = 1 - d / max(n, m, 1)
    precision, recall = 1 - d / max(m, 1), 1 - d / max(n, 1)
    both = precision + recall
    f1 = 2 * precision * recall / both if both else 0.0
    return PrototypeScores(accuracy, precision, recall, f1)
