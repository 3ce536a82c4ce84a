"""The formulas of the prototype that this project replaces, for comparison with its reports.

They are edit-distance ratios under the names of detection metrics: precision is negative
when d > m, recall when d > n, the larger of the two always equals accuracy, and F1 may
exceed both or explode when they cancel. They are printed as `compat_*`, flagged when
negative, and nothing is selected by them.
"""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

from manifold_ocr.metrics import edit


@dataclass(frozen=True, slots=True)
class CompatMetrics:
    """The prototype's metrics of one pair or of a corpus (totals)."""

    distance: int
    reference_length: int
    prediction_length: int
    accuracy: float
    precision: float
    recall: float
    f1: float

    @property
    def normalized_edit_distance(self) -> float:
        """Return d/max(n, m, 1)."""
        return self.distance / max(self.reference_length, self.prediction_length, 1)

    @property
    def ill_defined(self) -> bool:
        """Whether precision or recall is negative, so that F1 means nothing."""
        return self.precision < 0 or self.recall < 0


def compat_metrics(d: int, n: int, m: int) -> CompatMetrics:
    """1-d/max(n,m,1), 1-d/max(m,1), 1-d/max(n,1), their harmonic mean."""
    precision, recall = 1 - d / max(m, 1), 1 - d / max(n, 1)
    total = precision + recall
    return CompatMetrics(
        distance=d,
        reference_length=n,
        prediction_length=m,
        accuracy=1 - d / max(n, m, 1),
        precision=precision,
        recall=recall,
        f1=0.0 if total == 0 else 2 * precision * recall / total,
    )


def compat_pair(reference: Sequence[Hashable], prediction: Sequence[Hashable]) -> CompatMetrics:
    """Score one pair of strings (raw code points) or token lists."""
    return compat_metrics(edit.distance(reference, prediction), len(reference), len(prediction))


def compat_corpus(
    pairs: Iterable[tuple[Sequence[Hashable], Sequence[Hashable]]],
) -> CompatMetrics:
    """Apply the formulas to the totals of a corpus.

    The pooled maximum max(sum n, sum m) is never above the sum of maxima, so this accuracy
    is neither micro nor macro and never above micro 1 - NED.
    """
    d = n = m = 0
    for reference, prediction in pairs:
        d += edit.distance(reference, prediction)
        n += len(reference)
        m += len(prediction)
    return compat_metrics(d, n, m)
