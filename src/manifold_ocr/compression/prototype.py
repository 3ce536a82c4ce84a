"""The older report's verification figures, computed as it did (compat), to compare with.

Recall is 1 by construction there: the queries are the indexed windows. The honest figures
are in `verification`.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from manifold_ocr.codec import CodecConfig, encode
from manifold_ocr.compression.manifold import Document


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
