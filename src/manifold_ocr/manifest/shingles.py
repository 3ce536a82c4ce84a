"""Text fingerprints: character shingles, MinHash signatures, and a close look at two texts."""

import sqlite3
import unicodedata
from functools import lru_cache
from pathlib import Path

import numpy as np
import xxhash
from datasketch import MinHash
from rapidfuzz.distance import Levenshtein

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
