"""Does a text match an archived document? Recall and false positives on queries never indexed.

What is decided, and how, stands in `verifier`. Positives are altered copies and real
readings of archived pages, negatives are other archived documents, pages that are not
archived, and (for the question "unaltered?") the windows of perturbed copies whose bytes did
change.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from manifold_ocr.codec import CodecConfig, encode, window_starts
from manifold_ocr.compression.index import Scores
from manifold_ocr.compression.verifier import Verifier
from manifold_ocr.text.stats import Interval, wilson_interval

BINS = 1000  # score steps of a ROC curve


@dataclass(frozen=True, slots=True)
class Rate:
    """A measured proportion with its 95 % Wilson interval."""

    successes: int
    trials: int

    @property
    def value(self) -> float | None:
        """Successes over trials, None without a trial."""
        return self.successes / self.trials if self.trials else None

    @property
    def interval(self) -> Interval:
        """The interval; [0, 1] without a trial."""
        return wilson_interval(self.successes, self.trials)

    def __add__(self, other: "Rate") -> "Rate":
        return Rate(self.successes + other.successes, self.trials + other.trials)


@dataclass(frozen=True, slots=True)
class QuerySet:
    """Outcome of one kind of query.

    `windows` counts compared windows that matched, `decisions` the texts called "same
    document"; `histogram` counts scores in steps of 1/BINS, for the ROC curve.
    """

    name: str
    positive: bool
    windows: Rate = Rate(0, 0)
    decisions: Rate = Rate(0, 0)
    histogram: tuple[int, ...] = field(default=(), repr=False)


def score_own(name: str, queries: Iterable[tuple[int, bytes]], verifier: Verifier) -> QuerySet:
    """Score queries against their own document, given by its place in the archive: positives."""
    tally = _Tally()
    for place, data in queries:
        scores = verifier.scores(data)
        own = np.arange(len(scores.compared)) == place
        tally.add(scores, verifier.accepted(data, scores), own)
    return tally.result(name, positive=True)


def score_foreign(
    name: str, queries: Iterable[tuple[int | None, bytes]], verifier: Verifier
) -> QuerySet:
    """Score queries against every document but their own (None: they have none): negatives."""
    tally = _Tally()
    for place, data in queries:
        scores = verifier.scores(data)
        others = np.arange(len(scores.compared)) != (-1 if place is None else place)
        tally.add(scores, verifier.accepted(data, scores), others)
    return tally.result(name, positive=False)


def undetected_changes(pairs: Iterable[tuple[bytes, bytes]], config: CodecConfig) -> Rate:
    """Return how many changed windows a signature fails to notice.

    Windows of (original, altered) are compared place by place while both have one; a
    window counts where its bytes differ, and as undetected where its signature does not.
    """
    unnoticed = changed = 0
    for original, altered in pairs:
        first, second = encode(original, config), encode(altered, config)
        size = min(len(original), config.window)
        if size != min(len(altered), config.window):
            continue
        starts = zip(
            window_starts(len(original), config), window_starts(len(altered), config), strict=False
        )
        for i, (a, b) in enumerate(starts):
            if original[a : a + size] != altered[b : b + size]:
                changed += 1
                unnoticed += int(first.codes[i] == second.codes[i])
    return Rate(unnoticed, changed)


@dataclass(frozen=True, slots=True)
class Roc:
    """True and false positive rates at each score threshold, from strict to lax."""

    thresholds: tuple[float, ...]
    true_positive_rates: tuple[float, ...]
    false_positive_rates: tuple[float, ...]

    @property
    def area(self) -> float:
        """Area under the curve by the trapezoid rule: 0.5 is guessing, 1 is perfect."""
        x, y = (0.0, *self.false_positive_rates), (0.0, *self.true_positive_rates)
        return sum((x[i + 1] - x[i]) * (y[i + 1] + y[i]) / 2 for i in range(len(x) - 1))


def roc(positives: Sequence[QuerySet], negatives: Sequence[QuerySet]) -> Roc | None:
    """Return the curve over pooled query sets; None where either side is empty."""
    good = np.sum([np.array(item.histogram) for item in positives], axis=0)
    bad = np.sum([np.array(item.histogram) for item in negatives], axis=0)
    if not np.sum(good) or not np.sum(bad):
        return None
    true = np.cumsum(good[::-1]) / good.sum()
    false = np.cumsum(bad[::-1]) / bad.sum()
    thresholds = np.arange(BINS, -1, -1) / BINS
    return Roc(tuple(thresholds.tolist()), tuple(true.tolist()), tuple(false.tolist()))


def precision(positives: Rate, negatives: Rate) -> float | None:
    """TP / (TP + FP) at the prevalence of these query sets."""
    accepted = positives.successes + negatives.successes
    return positives.successes / accepted if accepted else None


class _Tally:
    """Sums the outcome of many comparisons in bounded memory."""

    def __init__(self) -> None:
        self.windows, self.decisions = Rate(0, 0), Rate(0, 0)
        self.histogram = np.zeros(BINS + 1, np.int64)

    def add(self, scores: Scores, accepted: NDArray[np.bool_], chosen: NDArray[np.bool_]) -> None:
        shares = scores.shares[chosen]
        self.windows += Rate(int(scores.matched[chosen].sum()), int(scores.compared[chosen].sum()))
        self.decisions += Rate(int(accepted[chosen].sum()), len(shares))
        self.histogram += np.bincount((shares * BINS).astype(np.int64), minlength=BINS + 1)

    def result(self, name: str, *, positive: bool) -> QuerySet:
        return QuerySet(
            name, positive, self.windows, self.decisions, tuple(self.histogram.tolist())
        )
