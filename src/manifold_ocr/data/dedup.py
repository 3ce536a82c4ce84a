"""Rows as sorted runs on disk, the verdict on each, and the counts of what is kept.

Verdicts: duplicates, conflicts, copies across splits, size limits. Everything here works on
the key records of all runs at once (about 50 bytes per row), never on the rows themselves,
so a million rows pass through bounded memory.

A run holds one split of one part, sorted by id: `rows` (id, NUL, JSON, newline) and
`keys.npy`, one fixed-size record per row in the same order.
"""

import heapq
import struct
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from manifold_ocr.config import ManifestConfig
from manifold_ocr.data.rows import SPLITS, TEST, TRAIN, VAL

KEYS = np.dtype(
    [
        ("input", "<u8"),
        ("text", "<u8"),
        ("image", "<u8"),
        ("document", "<u8"),
        ("order", "<u8"),
        ("group", "<u4"),
        ("chars", "<u4"),
        ("width", "<u4"),
        ("height", "<u4"),
        ("over", "u1"),
    ]
)
_KEY = struct.Struct("<5Q4IB")  # KEYS, field by field: packing is faster than numpy's tuples


class Group(NamedTuple):
    """The attributes under which rows are counted in metrics and on the dataset card."""

    corpus: str
    subset: str
    language: str
    license: str
    granularity: str
    task: str


@dataclass(frozen=True)
class Run:
    """One sorted run; `groups` maps a key record's `group` to what it counts under."""

    split: str
    rows: Path
    keys_file: Path
    groups: tuple[Group, ...]

    def keys(self) -> np.ndarray:
        """Return the key records, one per row, in row order."""
        keys: np.ndarray = np.load(self.keys_file, mmap_mode="r")
        return keys


def pack_key(*fields: int) -> bytes:
    """Return one `KEYS` record."""
    return _KEY.pack(*fields)


def write_run(
    folder: Path,
    name: str,
    split: str,
    rows: list[bytes],
    keys: np.ndarray,
    groups: tuple[Group, ...],
) -> Run:
    """Sort rows (`id NUL JSON`) by id, their key records with them; write them as one run."""
    order = sorted(range(len(rows)), key=rows.__getitem__)
    run = Run(split, folder / f"{name}.rows", folder / f"{name}.npy", groups)
    with open(run.rows, "wb") as file:
        file.writelines(b"%b\n" % rows[place] for place in order)
    np.save(run.keys_file, keys[order])
    return run


def merge(runs: list[Run]) -> Iterator[tuple[bytes, int, int]]:
    """Yield (JSON, number of the run, place in the run) of all rows by id (bytewise)."""
    for line, run, index in heapq.merge(*(_stream(run, i) for i, run in enumerate(runs))):
        yield line.split(b"\0", 1)[1], run, index


def _stream(run: Run, number: int) -> Iterator[tuple[bytes, int, int]]:
    with open(run.rows, "rb") as file:
        for index, line in enumerate(file):
            yield line, number, index


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
    """A code per row, for each run, and where a leaking image was found again."""

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


LENGTH_EDGES = np.array([0, 5, 10, 20, 40, 60, 80, 120, 200, 400, 800, 1600, 3200, 2**32])
HEIGHT_EDGES = np.array([0, 12, 16, 24, 32, 48, 64, 96, 128, 256, 512, 1024, 2048, 4096, 2**32])


@dataclass
class SplitCounts:
    """Totals of one split."""

    rows: int = 0
    documents: int = 0
    images: int = 0
    characters: int = 0
    too_long: int = 0
    by_group: Counter[Group] = field(default_factory=Counter)
    characters_by_group: Counter[Group] = field(default_factory=Counter)
    too_long_by_group: Counter[Group] = field(default_factory=Counter)
    lengths: np.ndarray = field(default_factory=lambda: np.zeros(len(LENGTH_EDGES) - 1, int))
    heights: np.ndarray = field(default_factory=lambda: np.zeros(len(HEIGHT_EDGES) - 1, int))

    def by(self, attribute: str) -> dict[str, int]:
        """Return rows per value of a group attribute, sorted by value."""
        totals: Counter[str] = Counter()
        for group, count in self.by_group.items():
            totals[getattr(group, attribute)] += count
        return dict(sorted(totals.items()))


def count_splits(runs: list[Run], verdicts: Verdicts) -> dict[str, SplitCounts]:
    """Return the counts of train, val and test."""
    return {split: _count(runs, verdicts, split) for split in SPLITS}


def _count(runs: list[Run], verdicts: Verdicts, split: str) -> SplitCounts:
    counts = SplitCounts()
    documents, images = [], []
    for run, codes in zip(runs, verdicts.codes, strict=True):
        if run.split != split:
            continue
        keys = run.keys()[codes == KEEP]
        size = len(run.groups)
        for totals, weights in (
            (counts.by_group, None),
            (counts.characters_by_group, keys["chars"]),
            (counts.too_long_by_group, keys["over"]),
        ):
            for number, value in enumerate(np.bincount(keys["group"], weights, minlength=size)):
                if value:
                    totals[run.groups[number]] += int(value)
        counts.lengths += np.histogram(keys["chars"], LENGTH_EDGES)[0]
        counts.heights += np.histogram(keys["height"], HEIGHT_EDGES)[0]
        documents.append(np.unique(keys["document"]))
        images.append(np.unique(keys["image"]))
    counts.rows = counts.by_group.total()
    counts.characters = counts.characters_by_group.total()
    counts.too_long = counts.too_long_by_group.total()
    counts.documents = _distinct(documents)
    counts.images = _distinct(images)
    return counts


def _distinct(parts: list[np.ndarray]) -> int:
    return len(np.unique(np.concatenate(parts))) if parts else 0
