"""Does a text match an archived document? Signatures find candidates, the stored text decides.

Signatures alone cannot decide (see the measured curves in the report): a few wrong
characters change them, and unrelated pages share them. So they screen: documents of which
at least `match_share` of the compared windows match are candidates, those `candidates` of
them that are nearest in length are rebuilt from the archive, and one is accepted when its
text differs from the query by at most `max_ned`. (A page of one or two windows shares its
signatures with so many others that the share does not rank them; length does.)

Positives are altered copies and real
readings of archived pages, negatives are other archived documents, pages that are not
archived, and (for the question "unaltered?") the windows of perturbed copies whose bytes did
change.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from rapidfuzz.distance import Levenshtein

from manifold_ocr.compression.archive import Document, Manifold, rebuild
from manifold_ocr.compression.signatures import Codec, Windows, encode, window_starts
from manifold_ocr.metrics.bootstrap import Interval, wilson_interval

Integers = NDArray[np.int64]
MARKS = 1 << 25  # bytes of marks that a long query may hold at once
FEW_LOOKUPS = 20_000  # key look-ups up to which postings are followed one by one


def gate_threshold(hazards: Sequence[float], percentile: float) -> float:
    """Return the sorted hazard at index min(floor(u * percentile / 100), u - 1)."""
    ordered = sorted(hazards)
    return ordered[min(int(len(ordered) * percentile / 100), len(ordered) - 1)]


@dataclass(frozen=True, slots=True)
class Scores:
    """Per document: windows of the query compared with it, and how many of them matched."""

    compared: Integers
    matched: Integers

    @property
    def shares(self) -> NDArray[np.float64]:
        """Matched over compared windows; 0 where none was compared."""
        return self.matched / np.maximum(self.compared, 1)


class SignatureIndex:
    """Hazard-gated membership of windows in many documents at once.

    A document's gate is the percentile of the hazards of its signatures. Windows above it,
    on both sides and judged alike by the stability that the signature keeps, are not
    compared. With `tolerance` 0 a window matches a signature that equals its own; above 0
    one whose stability and entropy lie within that many quantization steps.
    """

    def __init__(
        self,
        documents: Sequence[Document],
        config: Codec,
        *,
        percentile: float = 100.0,
        tolerance: int = 0,
    ) -> None:
        self.ids = [document.id for document in documents]
        self.config, self.tolerance = config, tolerance
        self.scale = 10**config.precision
        self.gates = np.array([_gate(d, percentile, self.scale) for d in documents], np.int64)
        codes = [np.array([e.code for e in d.entries], np.uint64) for d in documents]
        sizes = [len(item) for item in codes]
        keys = self._keys(np.concatenate([*codes, np.zeros(0, np.uint64)]))
        owners = np.repeat(np.arange(len(documents)), sizes)
        open_gate = self._stability(keys) >= self.gates[owners]
        pairs = np.unique(np.stack([keys[open_gate], owners[open_gate]]), axis=1)
        self.owners = pairs[1]
        self.keys, self.begins = np.unique(pairs[0], return_index=True)
        self.ends = np.append(self.begins[1:], len(self.owners))

    def scores(self, windows: Windows) -> Scores:
        """Compare all windows of one query text with all documents."""
        keys, counts = np.unique(self._keys(windows.codes), return_counts=True)
        by_stability = np.bincount(
            self._stability(keys), weights=counts, minlength=self.scale + 1
        ).astype(np.int64)
        at_least = np.cumsum(by_stability[::-1])[::-1]
        compared = np.append(at_least, 0)[np.minimum(self.gates, self.scale + 1)]
        if len(keys) * (2 * self.tolerance + 1) ** 2 > FEW_LOOKUPS:
            return Scores(compared, self._match_many(keys, counts))
        matched = np.zeros(len(self.ids), np.int64)
        rows, owners = self._postings(keys)
        open_gate = self._stability(keys)[rows] >= self.gates[owners]
        np.add.at(matched, owners[open_gate], counts[rows[open_gate]])
        return Scores(compared, matched)

    def _match_many(self, keys: Integers, counts: Integers) -> Integers:
        """Match a long query: mark which of its keys each document reaches, then count them."""
        matched = np.zeros(len(self.ids), np.int64)
        column = np.full((self.scale + 1) ** 2, -1, np.int32)
        column[keys] = np.arange(len(keys))
        order = np.argsort(self.owners, kind="stable")
        own = np.repeat(self.keys, self.ends - self.begins)[order]
        owners = self.owners[order]
        step = max(1, MARKS // len(keys))
        for first in range(0, len(self.ids), step):
            last = min(len(self.ids), first + step)
            begin, end = np.searchsorted(owners, (first, last))
            marks = np.zeros((last - first, len(keys)), np.bool_)
            self._mark(marks, own[begin:end], owners[begin:end], first, column)
            matched[first:last] = marks @ counts
        return matched

    def _mark(
        self,
        marks: NDArray[np.bool_],
        own: Integers,
        owners: Integers,
        first: int,
        column: NDArray[np.int32],
    ) -> None:
        """Set marks[document - first, place of key] for all keys within the tolerance."""
        side = self.scale + 1
        stability, entropy = own // side, own % side
        reach = range(-self.tolerance, self.tolerance + 1)
        for ds in reach:
            s = stability + ds
            rows = np.flatnonzero((s >= self.gates[owners]) & (s >= 0) & (s < side))
            for de in reach:
                e = entropy[rows] + de
                inside = np.flatnonzero((e >= 0) & (e < side))
                places = column[s[rows[inside]] * side + e[inside]]
                found = np.flatnonzero(places >= 0)
                marks[owners[rows[inside[found]]] - first, places[found]] = True

    def _postings(self, keys: Integers) -> tuple[Integers, Integers]:
        """Return (row of `keys`, document) pairs, each pair once."""
        reach, side = np.arange(-self.tolerance, self.tolerance + 1), self.scale + 1
        entropy = keys[:, None] % side + reach
        near, step = np.nonzero((entropy >= 0) & (entropy < side))
        around = (keys[near] + reach[step])[:, None] + reach * side
        places, owners = self._exact_postings(around.ravel())
        rows: Integers = near[places // len(reach)]
        if self.tolerance:
            rows, owners = np.unique(np.stack([rows, owners]), axis=1)
        return rows, owners

    def _exact_postings(self, keys: Integers) -> tuple[Integers, Integers]:
        if not len(self.keys):
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        places = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        rows = np.flatnonzero(self.keys[places] == keys)
        begins, ends = self.begins[places[rows]], self.ends[places[rows]]
        sizes = ends - begins
        offsets = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        return np.repeat(rows, sizes), self.owners[np.repeat(begins, sizes) + offsets]

    def _keys(self, codes: NDArray[np.uint64]) -> Integers:
        """Return stability and entropy as one number; coherence is 1 - entropy and adds nothing."""
        width = self.config.field_bits
        mask = np.uint64((1 << width) - 1)
        stability = (codes >> np.uint64(width) & mask).astype(np.int64)
        keys: Integers = stability * (self.scale + 1) + (codes & mask).astype(np.int64)
        return keys

    def _stability(self, keys: Integers) -> Integers:
        stability: Integers = keys // (self.scale + 1)
        return stability


def _gate(document: Document, percentile: float, scale: int) -> int:
    """Return the least stability, in quantization steps, that passes the hazard gate."""
    if not document.entries:
        return scale + 1
    if percentile >= 100:
        return 0
    threshold = gate_threshold([entry.hazard for entry in document.entries], percentile)
    return round((1 - threshold) * scale)


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
        """Return the normalized edit distance to an archived text, 1.0 beyond the limit."""
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


def undetected_changes(pairs: Iterable[tuple[bytes, bytes]], config: Codec) -> Rate:
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
