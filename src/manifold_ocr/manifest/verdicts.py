"""Judge rows against each other: duplicates, conflicts, copies across splits, size limits.

Everything here works on the key records of all runs at once (about 50 bytes a row), never
on the rows themselves.
"""

from dataclasses import dataclass, field

import numpy as np

from manifold_ocr.manifest.config import ManifestConfig
from manifold_ocr.manifest.runs import Run
from manifold_ocr.manifest.splits import SPLITS, TEST, TRAIN, VAL

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
