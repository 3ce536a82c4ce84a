"""How much of a text survives, under the older and the sound formulas; copies with errors.

The prototype's formulas (`prototype_scores`, `membership`, `gated`) are kept to compare with
older reports only: recall is 1 by construction where the queries are the indexed windows. The
honest figures are in `verify`.
"""

import hashlib
import random
import string
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from manifold_ocr.compression.archive import Document
from manifold_ocr.compression.signatures import Codec, encode
from manifold_ocr.compression.verify import gate_threshold
from manifold_ocr.metrics import edit
from manifold_ocr.metrics.tokens import MetricTokenizer


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


def gated(
    texts: Sequence[bytes], documents: Sequence[Document], config: Codec, percentile: float
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


# What readers of print confuse; each is replaced by one of the others in its group.
LOOKALIKES = (
    "0OoQD",
    "1lI|i!",
    "5S$s",
    "8B&",
    "2Zz",
    "6bG",
    "9gq",
    "cea",
    "vuy",
    "nhr",
    ".,'`",
    ";:",
)
PAIRS = (("rn", "m"), ("cl", "d"), ("vv", "w"), ("ii", "u"), ("m", "rn"), ("d", "cl"), ("w", "vv"))
SUBSTITUTE, DELETE, INSERT = 0.6, 0.2, 0.2  # shares of the errors
PRINTABLE = string.ascii_letters + string.digits + string.punctuation + " \n"


def generator(seed: int, *names: str) -> random.Random:
    """Return a random generator for a named purpose, the same on every machine."""
    digest = hashlib.sha256("\0".join([str(seed), *names]).encode("utf-8")).digest()
    return random.Random(digest)


def perturb(text: str, rate: float, seed: int, name: str = "") -> str:
    """Return a copy with about `rate` character errors, of the kinds that OCR makes.

    Substitutions prefer look-alikes and pairs such as rn/m, otherwise a character of the
    text itself; deletions and insertions include lost and invented spaces.
    """
    rng = generator(seed, "perturb", name, str(rate))
    confusions = {char: group.replace(char, "") for group in LOOKALIKES for char in group}
    pairs = dict(PAIRS)
    alphabet = sorted(set(text)) or [" "]
    out: list[str] = []
    position = 0
    while position < len(text):
        char, kind = text[position], rng.random()
        pair = text[position : position + 2]
        if rng.random() >= rate:
            out.append(char)
        elif kind < SUBSTITUTE and pair in pairs and len(pair) == 2:
            out.append(pairs[pair])
            position += 1
        elif kind < SUBSTITUTE:
            out.append(_other(char, confusions.get(char) or pairs.get(char), alphabet, rng))
        elif kind < SUBSTITUTE + INSERT:
            out.append(char + (" " if rng.random() < 0.3 else rng.choice(alphabet)))
        position += 1
    return "".join(out)


def random_text(length: int, seed: int, name: str = "") -> str:
    """Return `length` characters of uniformly random printable ASCII: text without meaning."""
    rng = generator(seed, "random", name)
    return "".join(rng.choices(PRINTABLE, k=length))


def shuffled_text(text: str, seed: int, name: str = "") -> str:
    """Return the same words in random order: the same letters, no sentence.

    A text without spaces is shuffled by characters.
    """
    rng = generator(seed, "shuffle", name)
    words: Sequence[str] = text.split() if len(text.split()) > len(text) / 40 else list(text)
    between = " " if not isinstance(words, list) or any(len(word) > 1 for word in words) else ""
    return between.join(rng.sample(words, len(words)))


def _other(char: str, similar: str | None, alphabet: Sequence[str], rng: random.Random) -> str:
    if similar is None:
        return rng.choice(alphabet)
    return similar if similar in ("rn", "cl", "vv") else rng.choice(similar)
