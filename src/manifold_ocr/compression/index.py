"""Which archived documents hold a window's signature: an inverted index over manifolds.

Recall is 1 by construction there: the queries are the indexed windows. The honest figures
are in `verification`.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from manifold_ocr.compression.manifold import Document
from manifold_ocr.compression.signatures import Windows, encode
from manifold_ocr.config import CodecConfig


@dataclass(frozen=True, slots=True)
class PrototypeVerification:
    """Counts over windows (or unique signatures, see the functions)."""

    positives: int
    true_positive: int
    negatives: int
    false_positive: int

    @property
    def precision(self) -> float:
        """TP / (TP + FP)."""
        accepted = self.true_positive + self.false_positive
        return self.true_positive / accepted if accepted else 0.0

    @property
    def recall(self) -> float:
        """TP / positives: 1 by construction without a gate."""
        return self.true_positive / self.positives if self.positives else 0.0

    @property
    def false_positive_rate(self) -> float:
        """FP / negatives."""
        return self.false_positive / self.negatives if self.negatives else 0.0

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        both = self.precision + self.recall
        return 2 * self.precision * self.recall / both if both else 0.0


def membership(documents: Sequence[Document]) -> list[PrototypeVerification]:
    """Per document: own windows are all accepted, other documents' windows by membership."""
    windows_by_code: Counter[int] = Counter()
    for document in documents:
        for entry in document.entries:
            windows_by_code[entry.code] += entry.count
    everything = windows_by_code.total()
    results = []
    for document in documents:
        own = document.windows
        hits = sum(windows_by_code[entry.code] - entry.count for entry in document.entries)
        results.append(PrototypeVerification(own, own, everything - own, hits))
    return results


def gate_threshold(hazards: Sequence[float], percentile: float) -> float:
    """Return the sorted hazard at index min(floor(u * percentile / 100), u - 1)."""
    ordered = sorted(hazards)
    return ordered[min(int(len(ordered) * percentile / 100), len(ordered) - 1)]


def gated(
    texts: Sequence[bytes], documents: Sequence[Document], config: CodecConfig, percentile: float
) -> PrototypeVerification:
    """Pool the hazard-gated counts over documents.

    Units differ as in the original: positives are windows with their own hazard, negatives
    are unique signatures of other documents with their mean hazard.
    """
    positives = accepted = negatives = wrong = 0
    for text, document in zip(texts, documents, strict=True):
        if not document.entries:
            continue
        threshold = gate_threshold([entry.hazard for entry in document.entries], percentile)
        windows, own = encode(text, config), document.codes
        positives += len(windows.codes)
        accepted += int(np.count_nonzero(windows.hazards <= threshold))
        for other in documents:
            if other.id == document.id:
                continue
            negatives += len(other.entries)
            wrong += sum(entry.code in own and entry.hazard <= threshold for entry in other.entries)
    return PrototypeVerification(positives, accepted, negatives, wrong)


def pooled(items: Sequence[PrototypeVerification]) -> PrototypeVerification:
    """Return the sum of counts."""
    return PrototypeVerification(
        sum(item.positives for item in items),
        sum(item.true_positive for item in items),
        sum(item.negatives for item in items),
        sum(item.false_positive for item in items),
    )


Integers = NDArray[np.int64]
MARKS = 1 << 25  # bytes of marks that a long query may hold at once
FEW_LOOKUPS = 20_000  # key look-ups up to which postings are followed one by one


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
    one whose stability and entropy lie within that many quantisation steps.
    """

    def __init__(
        self,
        documents: Sequence[Document],
        config: CodecConfig,
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
        reach = range(-self.tolerance, self.tolerance + 1)
        entropy = keys % (self.scale + 1)
        found = []
        for de in reach:
            inside = np.flatnonzero((entropy + de >= 0) & (entropy + de <= self.scale))
            for ds in reach:
                rows, owners = self._exact_postings(keys[inside] + ds * (self.scale + 1) + de)
                found.append((inside[rows], owners))
        rows = np.concatenate([item[0] for item in found])
        owners = np.concatenate([item[1] for item in found])
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
    """Return the least stability, in quantisation steps, that passes the hazard gate."""
    if not document.entries:
        return scale + 1
    if percentile >= 100:
        return 0
    threshold = gate_threshold([entry.hazard for entry in document.entries], percentile)
    return round((1 - threshold) * scale)
