"""Count the kept rows of each split under every attribute: metrics, card and plots."""

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from manifold_ocr.data.dedup import KEEP, Verdicts
from manifold_ocr.data.rows import SPLITS
from manifold_ocr.data.sorted_runs import Group, Run

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
