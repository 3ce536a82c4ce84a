"""Judge rows against each other: duplicates, conflicts, copies across splits, size limits.

Everything here works on the key records of all runs at once (about 50 bytes a row), never
on the rows themselves.
"""

import sqlite3
import unicodedata
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
import xxhash
from datasketch import MinHash
from rapidfuzz.distance import Levenshtein

from manifold_ocr.config import ManifestConfig
from manifold_ocr.data.rows import SPLITS, TEST, TRAIN, VAL
from manifold_ocr.data.sorted_runs import Run

KEEP, DUPLICATE, CONFLICT, OVER_LIMIT = range(4)
LEAK_EXACT, LEAK_IMAGE, LEAK_TEXT = range(4, 7)  # rows of train
VAL_EXACT, VAL_IMAGE, VAL_TEXT = range(7, 10)  # rows of validation
REASONS = {
    DUPLICATE: ("duplicate", "same image, box and text as another row of the split"),
    CONFLICT: ("conflicting_label", "same image and box as another row, other text"),
    LEAK_EXACT: ("leak_exact", "its image is in the validation or test split too"),
    LEAK_IMAGE: ("leak_image", "its image is nearly one of validation or test"),
    LEAK_TEXT: ("leak_text", "its text is nearly that of a page of validation or test"),
    VAL_EXACT: ("leak_exact", "its image is in the test split too"),
    VAL_IMAGE: ("leak_image", "its image is nearly one of the test split"),
    VAL_TEXT: ("leak_text", "its text is nearly that of a page of the test split"),
}
CODES = max(REASONS) + 1
LEAKS = (LEAK_EXACT, LEAK_IMAGE, LEAK_TEXT)
VAL_LEAKS = (VAL_EXACT, VAL_IMAGE, VAL_TEXT)
LEAKING = frozenset(LEAKS + VAL_LEAKS)


@dataclass
class Verdicts:
    """A code a row, for each run, and where a leaking image was found again."""

    codes: list[np.ndarray]
    found_in: dict[tuple[str, int], str] = field(default_factory=dict)

    def counts(self, runs: list[Run], split: str) -> dict[int, int]:
        """Return how many rows of a split got each code."""
        totals = np.zeros(CODES, dtype=np.int64)
        for run, codes in zip(runs, self.codes, strict=True):
            if run.split == split:
                totals += np.bincount(codes, minlength=CODES)
        return {code: int(total) for code, total in enumerate(totals) if total}


def judge(
    runs: list[Run], config: ManifestConfig, leaks: dict[tuple[str, int], tuple[int, str]]
) -> Verdicts:
    """Return the verdict of every row.

    `leaks` maps (split, image key) of an image of train or validation to the code and name of
    its twin in a split that must not know it. Copies among the rows themselves are found here,
    so they never pass, however small the leak index is or whether there is one.
    The order of the checks decides what a row with several faults is counted under: copies
    across splits first, then duplicates within a split, then the size limits.
    """
    keys = [run.keys() for run in runs]
    verdicts = Verdicts([np.zeros(len(k), dtype=np.uint8) for k in keys])
    images = {split: _images(runs, keys, split) for split in SPLITS}
    evaluation = np.union1d(images[VAL], images[TEST])
    for run, key, codes in zip(runs, keys, verdicts.codes, strict=True):
        if run.split == TEST:
            continue
        leaking = np.array([image for split, image in leaks if split == run.split], dtype=np.uint64)
        for image in np.unique(key["image"][np.isin(key["image"], leaking)]):
            codes[key["image"] == image] = leaks[run.split, int(image)][0]
        if run.split == VAL:
            codes[np.isin(key["image"], images[TEST])] = VAL_EXACT
        else:
            codes[np.isin(key["image"], evaluation)] = LEAK_EXACT
    verdicts.found_in = {place: name for place, (_, name) in leaks.items()}
    for split in SPLITS:
        _mark_duplicates(runs, keys, verdicts.codes, split)
    for split, limit in _limits(config).items():
        _mark_over_limit(runs, keys, verdicts.codes, split, limit)
    return verdicts


def _limits(config: ManifestConfig) -> dict[str, int]:
    return {
        TRAIN: config.max_train_samples,
        VAL: config.max_val_samples,
        TEST: config.max_test_samples,
    }


def _images(runs: list[Run], keys: list[np.ndarray], split: str) -> np.ndarray:
    chosen = [k["image"] for run, k in zip(runs, keys, strict=True) if run.split == split]
    return np.unique(np.concatenate(chosen)) if chosen else np.zeros(0, dtype=np.uint64)


def _mark_duplicates(
    runs: list[Run], keys: list[np.ndarray], codes: list[np.ndarray], split: str
) -> None:
    """Keep the first row (in the fixed random order) of those that show the same thing."""
    numbers = [i for i, run in enumerate(runs) if run.split == split]
    if not numbers:
        return
    shown = np.concatenate([np.where(codes[i] == KEEP, keys[i]["input"], 0) for i in numbers])
    order = np.lexsort((np.concatenate([keys[i]["order"] for i in numbers]), shown))
    text = np.concatenate([keys[i]["text"] for i in numbers])
    again = np.zeros(len(shown), dtype=np.uint8)
    ordered = shown[order]
    repeats = np.flatnonzero((ordered[1:] == ordered[:-1]) & (ordered[1:] != 0)) + 1
    for place in repeats:
        row, first = order[place], order[np.searchsorted(ordered, ordered[place])]
        again[row] = DUPLICATE if text[row] == text[first] else CONFLICT
    start = 0
    for i in numbers:
        part = again[start : start + len(codes[i])]
        codes[i][part != KEEP] = part[part != KEEP]
        start += len(codes[i])


def _mark_over_limit(
    runs: list[Run], keys: list[np.ndarray], codes: list[np.ndarray], split: str, limit: int
) -> None:
    """Keep the `limit` rows that come first in the fixed random order."""
    numbers = [i for i, run in enumerate(runs) if run.split == split]
    if limit <= 0 or not numbers:
        return
    order = np.concatenate([keys[i]["order"][codes[i] == KEEP] for i in numbers])
    if len(order) <= limit:
        return
    last = np.partition(order, limit - 1)[limit - 1]
    for i in numbers:
        codes[i][(codes[i] == KEEP) & (keys[i]["order"] > last)] = OVER_LIMIT


SHINGLE = 5  # characters
PERMUTATIONS = 64
WINDOW = 32  # characters whose errors are looked at together
BAD_WINDOW = 0.4  # share of errors from which a window counts as other text
_MIX = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9))


def fold(text: str) -> str:
    """Return the text's letters, digits and signs: NFKC, case-folded, without white space."""
    return "".join(unicodedata.normalize("NFKC", text).casefold().split())


def signature(folded: str) -> np.ndarray:
    """Return the MinHash signature (Broder, 1997) of a text's character 5-grams."""
    points = np.frombuffer(folded.encode("utf-32-le", "replace"), dtype="<u4").astype(np.uint64)
    count = max(1, len(points) - SHINGLE + 1)
    hashed = np.zeros(count, dtype=np.uint64)
    for offset in range(min(SHINGLE, len(points))):
        hashed = hashed * _MIX[0] + points[offset : offset + count]
    hashed ^= hashed >> np.uint64(29)
    hashed *= _MIX[1]
    values: np.ndarray = minhash((hashed >> np.uint64(32)).tolist()).hashvalues.astype("<u4")
    return values


@lru_cache(maxsize=1)
def _empty() -> MinHash:
    return MinHash(num_perm=PERMUTATIONS, scheme="affine32", hashfunc=int)


def minhash(hashes: list[int]) -> MinHash:
    """Return the MinHash of 32-bit hashes."""
    made = _empty().copy()
    made.update_batch(hashes)
    return made


def as_minhash(values: np.ndarray) -> MinHash:
    """Return the MinHash object of a stored signature."""
    made = _empty().copy()
    made.hashvalues = np.array(values, dtype=made.hashvalues.dtype)
    return made


def same_text(first: str, second: str, similarity: float) -> bool:
    """Say whether two folded texts are one text with scattered errors.

    The normalised edit similarity must reach `similarity`, and the errors must be spread as
    typos are. Two forms of one template, filled in differently, are told from a copy by
    windows of other text (over one in twenty) or by digits (dates, numbers, amounts) that
    differ at more than twice the rate of the letters.
    """
    if not first or not second:
        return first == second
    if Levenshtein.normalized_similarity(first, second, score_cutoff=similarity) < similarity:
        return False
    places = [min(edit.src_pos, len(first) - 1) for edit in Levenshtein.editops(first, second)]
    windows = np.bincount(np.array(places, dtype=int) // WINDOW, minlength=len(first) // WINDOW + 1)
    if float((windows > BAD_WINDOW * WINDOW).mean()) > 0.05:
        return False
    digits = np.array([character.isdigit() for character in first])
    wrong_digits = int(digits[places].sum()) if places else 0
    letter_rate = (len(places) - wrong_digits) / max(1, int((~digits).sum()))
    return wrong_digits <= (2 * letter_rate + 0.05) * int(digits.sum()) + 2


class SignatureCache:
    """Signatures of texts seen before, in an SQLite file shared by processes."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, timeout=60.0)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=OFF")
        self._connection.execute(
            "CREATE TABLE IF NOT EXISTS signatures (text BLOB PRIMARY KEY, value BLOB) "
            "WITHOUT ROWID"
        )
        self._fresh: list[tuple[bytes, bytes]] = []

    def get(self, text: str) -> np.ndarray:
        """Return the signature of `text`, computed where it is unknown."""
        key = xxhash.xxh3_128_digest(text.encode("utf-8", "replace"))
        row = self._connection.execute(
            "SELECT value FROM signatures WHERE text = ?", (key,)
        ).fetchone()
        if row:
            return np.frombuffer(row[0], dtype="<u4")
        value = signature(fold(text))
        self._fresh.append((key, value.tobytes()))
        return value

    def close(self) -> None:
        """Store what was computed."""
        self._connection.executemany("INSERT OR IGNORE INTO signatures VALUES (?, ?)", self._fresh)
        self._connection.commit()
        self._connection.close()
