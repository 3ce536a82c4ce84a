"""Does a text match an archived document? Signatures find candidates, the stored text decides.

Signatures alone cannot decide (see the measured curves in the report): a few wrong
characters change them, and unrelated pages share them. So they screen: documents of which
at least `match_share` of the compared windows match are candidates, those `candidates` of
them that are nearest in length are rebuilt from the archive, and one is accepted when its
text differs from the query by at most `max_ned`. (A page of one or two windows shares its
signatures with so many others that the share does not rank them; length does.)

What is decided, and how, stands in `verifier`. Positives are altered copies and real
readings of archived pages, negatives are other archived documents, pages that are not
archived, and (for the question "unaltered?") the windows of perturbed copies whose bytes did
change.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from rapidfuzz.distance import Levenshtein

from manifold_ocr.compression.index import Scores, SignatureIndex
from manifold_ocr.compression.manifold import Manifold, rebuild
from manifold_ocr.compression.signatures import encode, window_starts
from manifold_ocr.config import CodecConfig
from manifold_ocr.metrics.bootstrap import Interval, wilson_interval


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifierSettings:
    """How a match is decided; `max_ned` None decides by signatures alone."""

    percentile: float = 100.0
    tolerance: int = 8
    match_share: float = 0.3
    max_ned: float | None = 0.2
    candidates: int = 200


@dataclass(frozen=True, slots=True)
class Candidate:
    """An archived document that a query may be: its score and the distance of the texts."""

    id: str
    compared: int
    matched: int
    ned: float | None
    accepted: bool

    @property
    def share(self) -> float:
        """Share of compared windows that matched."""
        return self.matched / self.compared if self.compared else 0.0


class Verifier:
    """An archive ready to be asked. Building it indexes every document once."""

    def __init__(self, manifold: Manifold, settings: VerifierSettings) -> None:
        self.manifold, self.settings = manifold, settings
        self.index = SignatureIndex(
            manifold.documents,
            manifold.config,
            percentile=settings.percentile,
            tolerance=settings.tolerance,
        )
        self._lengths = np.array([d.length for d in manifold.documents], np.int64)
        self._texts: dict[int, str] = {}

    def scores(self, data: bytes) -> Scores:
        """Return matched and compared windows of a query against every document."""
        return self.index.scores(encode(data, self.manifold.config))

    def accepted(self, data: bytes, scores: Scores) -> NDArray[np.bool_]:
        """Return which documents the query is called the same as."""
        places = self._screened(scores, len(data))
        result = np.zeros(len(self.index.ids), np.bool_)
        if self.settings.max_ned is None:
            result[places] = True
            return result
        text = data.decode("utf-8", "replace")
        for place in places[: self.settings.candidates].tolist():
            result[place] = self._ned(text, place) <= self.settings.max_ned
        return result

    def check(self, data: bytes) -> list[Candidate]:
        """Return the candidates of a query, best first; empty if no document is alike."""
        scores, text = self.scores(data), data.decode("utf-8", "replace")
        found = []
        for place in self._screened(scores, len(data))[: self.settings.candidates].tolist():
            decodable = self.manifold.documents[place].order is not None
            ned = self._ned(text, place) if decodable else None
            limit = self.settings.max_ned
            accepted = limit is None or (ned is not None and ned <= limit)
            compared, matched = int(scores.compared[place]), int(scores.matched[place])
            found.append(Candidate(self.index.ids[place], compared, matched, ned, accepted))
        return sorted(found, key=lambda c: (not c.accepted, c.ned or 0.0, -c.share, c.id))

    def _screened(self, scores: Scores, length: int) -> NDArray[np.int64]:
        """Return the documents that pass the screen, nearest in length first, then by share."""
        shares = scores.shares
        passed = np.flatnonzero((shares >= self.settings.match_share) & (scores.compared > 0))
        return passed[np.lexsort((-shares[passed], np.abs(self._lengths[passed] - length)))]

    def _ned(self, text: str, place: int) -> float:
        """Return the normalised edit distance to an archived text, 1.0 beyond the limit."""
        if place not in self._texts:
            document = self.manifold.documents[place]
            self._texts[place] = rebuild(document, self.manifold.config).decode("utf-8", "replace")
        return Levenshtein.normalized_distance(
            text, self._texts[place], score_cutoff=self.settings.max_ned
        )


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
