"""The leak gate: training pages that validation, test or a benchmark knows already.

Only evaluation pages are indexed; training pages stream past the index one by one, and so
do validation pages, which are compared with those of test and benchmarks alone. A pair is
a leak by its bytes, by its look (perceptual hashes within `image_distance`) or by its text (long
texts that are one text with scattered errors). Small images, such as single lines, look
alike when they say the same in one typeface: for these the text must be equal as well.

Splits, duplicates and leaks are judged per image: lines of one page share one
image file, and its page text is long enough to be compared.
"""

import unicodedata
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import orjson
from datasketch import MinHash
from rapidfuzz.distance import Levenshtein

from manifold_ocr.config import LeakageConfig
from manifold_ocr.data.dedup import (
    LEAK_EXACT,
    LEAK_IMAGE,
    LEAK_TEXT,
    VAL_EXACT,
    VAL_IMAGE,
    VAL_TEXT,
)
from manifold_ocr.data.image_index import BYTES, HashIndex
from manifold_ocr.data.rows import TEST, TRAIN, VAL
from manifold_ocr.resources import progress

LEAST_SIMILARITY = 0.3  # estimated Jaccard similarity of candidates: 7 % typos leave 0.42
LENGTH_SLACK = 0.1  # how much white space may change a text's length
CANDIDATES = 8  # texts compared closely for one training page
SMALL_SIDE = 96  # pixels: a line, not a page
FEW_BITS = 48  # a nearly blank page says too little by its look

SHINGLE = 5  # characters
PERMUTATIONS = 64
WINDOW = 32  # characters whose errors are looked at together
BAD_WINDOW = 0.4  # share of errors from which a window counts as other text
_MIX = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9))

UNIT = np.dtype(
    [
        ("image", "<u8"),
        ("split", "S5"),
        ("phash", "<u8", BYTES // 8),
        ("width", "<u4"),
        ("height", "<u4"),
        ("signature", "<u4", PERMUTATIONS),
        ("characters", "<u4"),
        ("offset", "<u8"),
        ("length", "<u4"),
    ]
)

Found = dict[tuple[str, int], tuple[int, str]]


@dataclass(frozen=True)
class LeakReport:
    """`found` maps (split, image key) of a leaking image to (verdict code, name of its twin).

    The image is one of train, or one of validation whose twin is in test.
    """

    found: Found = field(default_factory=dict)
    index_pages: int = 0
    uncovered_pages: int = 0
    train_pages: int = 0
    val_pages: int = 0


@dataclass(frozen=True)
class _Table:
    """The units of one part."""

    units: np.ndarray
    texts: Path

    def content(self, number: int) -> tuple[str, str]:
        """Return (image name, folded text) of a unit."""
        unit = self.units[number]
        with open(self.texts, "rb") as file:
            file.seek(int(unit["offset"]))
            name, text = orjson.loads(file.read(int(unit["length"])))
        return str(name), fold(str(text))


def _open(table: Path) -> _Table:
    return _Table(np.load(table, mmap_mode="r"), table.with_suffix("").with_suffix(".texts"))


def find_leaks(tables: list[Path], config: LeakageConfig, workers: int = 1) -> LeakReport:
    """Return the training images that repeat an evaluation page, wholly or nearly.

    Validation images that repeat a page of test are found as well.
    """
    counts = Counter[str]()
    for table in map(_open, tables):
        counts += _counts(table)
    report = LeakReport(train_pages=counts[TRAIN], val_pages=counts[VAL])
    pairs = counts[TRAIN] * counts[VAL] + (counts[TRAIN] + counts[VAL]) * counts[TEST]
    if not config.enabled or not pairs:
        return report
    tasks = [(tables, tables[i::workers], config) for i in range(workers)]
    found: Found = {}
    if workers == 1:
        found = _check(tasks[0])
    else:
        with ProcessPoolExecutor(workers) as pool:
            for share in pool.map(_check, tasks):
                found |= share
    evaluation = counts[VAL] + counts[TEST]
    uncovered = max(0, evaluation - config.max_index)
    return replace(
        report, found=found, index_pages=evaluation - uncovered, uncovered_pages=uncovered
    )


def _counts(table: _Table) -> Counter[str]:
    """Return how many units there are of each split."""
    names, counts = np.unique(table.units["split"], return_counts=True)
    return Counter({name.decode(): int(n) for name, n in zip(names, counts, strict=True)})


def _check(task: tuple[list[Path], list[Path], LeakageConfig]) -> Found:
    """Compare the training and validation units of some tables with the index of all."""
    everything, own, config = task
    places = [
        (table, int(number))
        for table in map(_open, everything)
        for number in np.flatnonzero(table.units["split"] != TRAIN.encode())
    ]
    places.sort(key=lambda place: int(place[0].units[place[1]]["image"]))
    index = _Index(places[: config.max_index], config)
    asked = [
        (table, np.flatnonzero(table.units["split"] != TEST.encode())) for table in map(_open, own)
    ]
    total = sum(len(numbers) for _, numbers in asked)
    units = ((table, int(number)) for table, numbers in asked for number in numbers)
    found: Found = {}
    for table, number in progress(units, "leak check", total, unit="page"):
        if verdict := index.verdict(table, number):
            unit = table.units[number]
            found[unit["split"].decode(), int(unit["image"])] = verdict
    return found


class _Index:
    def __init__(self, places: list[tuple[_Table, int]], config: LeakageConfig) -> None:
        self._places = places
        self._config = config
        units = [table.units[number] for table, number in places]
        self._test = np.array([unit["split"] == TEST.encode() for unit in units], dtype=bool)
        self._all = np.ones(len(units), dtype=bool)
        self._images = np.array([unit["image"] for unit in units], dtype=np.uint64)  # sorted
        self._looks = HashIndex(np.array([unit["phash"] for unit in units]))
        lengths = np.array([int(unit["characters"]) for unit in units])
        self._text_rows = np.flatnonzero(lengths >= config.min_text_length)
        self._lengths = lengths[self._text_rows]
        signatures = [units[row]["signature"].astype(np.uint8) for row in self._text_rows]
        self._signatures = np.ascontiguousarray(np.array(signatures).T)  # low bytes, by hash
        self._content = lru_cache(maxsize=8192)(self._read)

    def verdict(self, table: _Table, number: int) -> tuple[int, str] | None:
        """Return (code, twin) if the unit repeats an evaluation page, wholly or nearly.

        A unit of validation is compared with pages of test only.
        """
        validation = bool(table.units[number]["split"] == VAL.encode())
        known = self._test if validation else self._all
        if twin := self._by_hash(table, number, known):
            return (VAL_EXACT if validation else LEAK_EXACT), twin
        if twin := self._by_look(table, number, known):
            return (VAL_IMAGE if validation else LEAK_IMAGE), twin
        if twin := self._by_text(table, number, known):
            return (VAL_TEXT if validation else LEAK_TEXT), twin
        return None

    def _by_hash(self, table: _Table, number: int, known: np.ndarray) -> str:
        image = table.units[number]["image"]
        first = np.searchsorted(self._images, image, "left")
        last = np.searchsorted(self._images, image, "right")
        rows = first + np.flatnonzero(known[first:last])
        return self._content(int(rows[0]))[0] if len(rows) else ""

    def _by_look(self, table: _Table, number: int, known: np.ndarray) -> str:
        unit = table.units[number]
        bits = int(np.bitwise_count(unit["phash"]).sum())
        telling = min(unit["width"], unit["height"]) >= SMALL_SIDE and bits >= FEW_BITS
        for _, row in self._looks.near(unit["phash"], self._config.image_distance):
            if not known[row]:
                continue
            name, text = self._content(row)
            if telling or (text and table.content(number)[1] == text):
                return name
        return ""

    def _by_text(self, table: _Table, number: int, known: np.ndarray) -> str:
        """Compare with the texts of the most similar signatures, if their lengths are close."""
        unit = table.units[number]
        length = int(unit["characters"])
        if length < self._config.min_text_length or not len(self._text_rows):
            return ""
        same = self._signatures == unit["signature"].astype(np.uint8)[:, None]
        equal = same.view(np.uint8).sum(axis=0, dtype=np.uint8)
        longest = np.maximum(self._lengths, length)
        slack = LENGTH_SLACK + 1 - self._config.text_similarity
        close = np.abs(self._lengths - length) <= slack * longest
        close &= known[self._text_rows]
        ranked = np.flatnonzero(close & (equal >= LEAST_SIMILARITY * PERMUTATIONS))
        ranked = ranked[np.lexsort((ranked, -equal[ranked].astype(int)))][:CANDIDATES]
        text = table.content(number)[1] if len(ranked) else ""
        for place in ranked:
            name, other = self._content(int(self._text_rows[place]))
            if same_text(other, text, self._config.text_similarity):
                return name
        return ""

    def _read(self, row: int) -> tuple[str, str]:
        table, number = self._places[row]
        return table.content(number)


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
    made = _empty().copy()
    made.update_batch((hashed >> np.uint64(32)).tolist())
    values: np.ndarray = made.hashvalues.astype("<u4")
    return values


@lru_cache(maxsize=1)
def _empty() -> MinHash:
    return MinHash(num_perm=PERMUTATIONS, scheme="affine32", hashfunc=int)


def same_text(first: str, second: str, similarity: float) -> bool:
    """Say whether two folded texts are one text with scattered errors.

    The normalized edit similarity must reach `similarity`, and the errors must be spread as
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
