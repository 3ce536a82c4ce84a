"""A small character language model of the user's own texts: interpolated Kneser-Ney (torch-free).

Counts of character n-grams, discounted by a constant per order and interpolated with the next
lower order, whose counts are of distinct left neighbors (Kneser and Ney 1995; Chen and Goodman
1998, section 2.7). Grams that begin a line keep their plain counts, as in SRILM and KenLM.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from manifold_ocr.errors import UserError
from manifold_ocr.models.adapter_files import load_tensors

FILE = "language_model.safetensors"  # beside the adapter's weights
ORDER = 6  # characters of the longest gram
START, END = "\x02", "\x03"
KEPT = 200_000  # probabilities that are kept
UNSEEN = 1e-5  # share of a character that no text holds: one of about 100,000


class CharacterModel:
    """Probabilities of the next character after the last `order - 1` ones."""

    def __init__(self, grams: Sequence[dict[str, int]]) -> None:
        """`grams[n - 1]` holds the n-grams with their counts (see `adjusted_counts`)."""
        self.order = len(grams)
        self.grams = grams
        self._cached = lru_cache(maxsize=KEPT)(self._probability)
        self._discounts = [_discount(counts) for counts in grams]
        self._totals: list[dict[str, int]] = []
        self._kinds: list[dict[str, int]] = []
        for counts in grams:
            totals: dict[str, int] = defaultdict(int)
            kinds: dict[str, int] = defaultdict(int)
            for gram, count in counts.items():
                totals[gram[:-1]] += count
                kinds[gram[:-1]] += 1
            self._totals.append(dict(totals))
            self._kinds.append(dict(kinds))

    def log_probability(self, context: str, character: str) -> float:
        """Return log P(character | context), natural; `context` may be longer than needed."""
        gram = context[max(0, len(context) - self.order + 1) :] + character
        return math.log(self._cached(gram))

    def _probability(self, gram: str) -> float:
        if not gram[:-1]:
            return self._level(gram, UNSEEN)
        return self._level(gram, self._probability(gram[1:]))

    def _level(self, gram: str, lower: float) -> float:
        level, context = len(gram) - 1, gram[:-1]
        total = self._totals[level].get(context)
        if not total:
            return lower
        discount = self._discounts[level]
        own = max(self.grams[level].get(gram, 0) - discount, 0.0)
        return (own + discount * self._kinds[level][context] * lower) / total

    def save(self, folder: Path) -> None:
        """Write the grams as code points (N, n) and their counts (N,), sorted."""
        from safetensors.numpy import save_file

        tensors = {}
        for n, counts in enumerate(self.grams, 1):
            ordered = sorted(counts)
            points = np.array([[ord(c) for c in gram] for gram in ordered], np.uint32)
            tensors[f"grams.{n}"] = points.reshape(len(ordered), n)
            tensors[f"counts.{n}"] = np.array([counts[gram] for gram in ordered], np.uint32)
        save_file(tensors, folder / FILE)


def load_language_model(folder: Path) -> CharacterModel:
    """Return the model that `save` wrote into an adapter's folder.

    Raises:
        UserError: missing or damaged.
    """
    tensors = load_tensors(folder / FILE)
    try:
        grams = []
        for n in range(1, len(tensors) // 2 + 1):
            texts = ["".join(map(chr, points)) for points in tensors[f"grams.{n}"].tolist()]
            grams.append(dict(zip(texts, tensors[f"counts.{n}"].tolist(), strict=True)))
        return CharacterModel(grams)
    except (KeyError, ValueError) as error:
        raise UserError(f"{folder / FILE}: is damaged ({error}); train the adapter again") from None


def language_model(texts: Iterable[str], order: int = ORDER) -> CharacterModel:
    """Return the model of lines of text; a line that occurs again counts once."""
    return CharacterModel(adjusted_counts(dict.fromkeys(texts), order))


def adjusted_counts(texts: Iterable[str], order: int) -> list[dict[str, int]]:
    """Return the counts of 1- to `order`-grams.

    They are plain at the highest order and at the start of a line, below that the number of
    distinct characters seen before the gram.
    """
    plain: Counter[str] = Counter()
    begins: list[Counter[str]] = [Counter() for _ in range(order)]
    for text in texts:
        line = f"{START}{text}{END}"
        for start in range(len(line) - 1):
            end = start + order
            if end <= len(line):
                plain[line[start:end]] += 1
        for n in range(2, min(order, len(line) + 1)):
            begins[n - 1][line[:n]] += 1
    grams: list[dict[str, int]] = [{} for _ in range(order)]
    grams[order - 1] = dict(plain)
    for n in range(order - 1, 0, -1):
        left: Counter[str] = Counter(gram[1:] for gram in grams[n])
        grams[n - 1] = dict(left + begins[n - 1])
    return grams


def _discount(counts: dict[str, int]) -> float:
    """Return n1 / (n1 + 2 n2), the discount of one order (Ney et al. 1994)."""
    once = sum(count == 1 for count in counts.values())
    twice = sum(count == 2 for count in counts.values())
    return once / (once + 2 * twice) if once else 0.5
