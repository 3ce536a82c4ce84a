"""The leak gate: training pages that validation, test or a benchmark knows already.

Only evaluation pages are indexed; training pages stream past the index one by one. A pair
is a leak by its look (descriptors within `image_distance`) or by its text (long texts that
are one text with scattered errors). Small images, such as single lines, look alike when
they say the same in one typeface: for these the text must be equal as well.
"""

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
import orjson

from manifold_ocr.manifest.config import LeakageConfig
from manifold_ocr.manifest.descriptor import DescriptorIndex
from manifold_ocr.manifest.shingles import PERMUTATIONS, fold, same_text
from manifold_ocr.manifest.splits import TRAIN
from manifold_ocr.manifest.verdicts import LEAK_IMAGE, LEAK_TEXT
from manifold_ocr.progress import progress

LEAST_SIMILARITY = 0.3  # estimated Jaccard similarity of candidates: 7 % typos leave 0.42
LENGTH_SLACK = 0.1  # how much white space may change a text's length
CANDIDATES = 8  # texts compared closely for one training page
SMALL_SIDE = 96  # pixels: a line, not a page
FEW_BITS = 48  # a nearly blank page says too little by its look


@dataclass(frozen=True)
class LeakReport:
    """`near` maps the key of a leaking training image to (verdict code, name of its twin)."""

    near: dict[int, tuple[int, str]] = field(default_factory=dict)
    index_pages: int = 0
    uncovered_pages: int = 0
    train_pages: int = 0


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


def find_near_duplicates(tables: list[Path], config: LeakageConfig, workers: int = 1) -> LeakReport:
    """Return the training images that nearly repeat an evaluation page (exact ones excepted)."""
    counts = [_counts(_open(table)) for table in tables]
    train, evaluation = (sum(column) for column in zip(*counts, strict=True)) if counts else (0, 0)
    if not config.enabled or not evaluation or not train:
        return LeakReport(train_pages=train)
    tasks = [(tables, tables[i::workers], config) for i in range(workers)]
    near: dict[int, tuple[int, str]] = {}
    if workers == 1:
        near = _check(tasks[0])
    else:
        with ProcessPoolExecutor(workers) as pool:
            for found in pool.map(_check, tasks):
                near |= found
    uncovered = max(0, evaluation - config.max_index)
    return LeakReport(near, evaluation - uncovered, uncovered, train)


def _counts(table: _Table) -> tuple[int, int]:
    """Return how many units are of training and of evaluation."""
    train = int((table.units["split"] == TRAIN.encode()).sum())
    return train, len(table.units) - train


def _check(task: tuple[list[Path], list[Path], LeakageConfig]) -> dict[int, tuple[int, str]]:
    """Compare the training units of some tables with the evaluation units of all."""
    everything, own, config = task
    places = [
        (table, int(number))
        for table in map(_open, everything)
        for number in np.flatnonzero(table.units["split"] != TRAIN.encode())
    ]
    places.sort(key=lambda place: int(place[0].units[place[1]]["image"]))
    index = _Index(places[: config.max_index], config)
    tables = [_open(table) for table in own]
    total = sum(_counts(table)[0] for table in tables)
    near = {}
    for table, number in progress(_training(tables), "leak check", total, unit="page"):
        if verdict := index.verdict(table, number):
            near[int(table.units[number]["image"])] = verdict
    return near


def _training(parts: list[_Table]) -> Iterator[tuple[_Table, int]]:
    for table in parts:
        for number in np.flatnonzero(table.units["split"] == TRAIN.encode()):
            yield table, int(number)


class _Index:
    def __init__(self, places: list[tuple[_Table, int]], config: LeakageConfig) -> None:
        self._places = places
        self._config = config
        units = [table.units[number] for table, number in places]
        self._keys = {int(unit["image"]) for unit in units}
        self._looks = DescriptorIndex(np.array([unit["descriptor"] for unit in units]))
        lengths = np.array([int(unit["characters"]) for unit in units])
        self._text_rows = np.flatnonzero(lengths >= config.min_text_length)
        self._lengths = lengths[self._text_rows]
        signatures = [units[row]["signature"].astype(np.uint8) for row in self._text_rows]
        self._signatures = np.ascontiguousarray(np.array(signatures).T)  # low bytes, by hash
        self._content = lru_cache(maxsize=8192)(self._read)

    def verdict(self, table: _Table, number: int) -> tuple[int, str] | None:
        """Return (code, twin) if the training unit repeats an evaluation page nearly."""
        unit = table.units[number]
        if int(unit["image"]) in self._keys:
            return None  # an exact copy: the verdicts find it by its hash
        twin = self._by_look(table, number)
        if twin:
            return LEAK_IMAGE, twin
        twin = self._by_text(table, number)
        return (LEAK_TEXT, twin) if twin else None

    def _by_look(self, table: _Table, number: int) -> str:
        unit = table.units[number]
        bits = int(np.bitwise_count(unit["descriptor"]).sum())
        telling = min(unit["width"], unit["height"]) >= SMALL_SIDE and bits >= FEW_BITS
        for _, row in self._looks.near(unit["descriptor"], self._config.image_distance):
            name, text = self._content(row)
            if telling or (text and table.content(number)[1] == text):
                return name
        return ""

    def _by_text(self, table: _Table, number: int) -> str:
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
        ranked = np.flatnonzero(close & (equal >= LEAST_SIMILARITY * PERMUTATIONS))
        ranked = ranked[np.lexsort((ranked, -equal[ranked].astype(int)))][:CANDIDATES]
        text = table.content(number)[1] if len(ranked) else ""
        for place in ranked:
            name, known = self._content(int(self._text_rows[place]))
            if same_text(known, text, self._config.text_similarity):
                return name
        return ""

    def _read(self, row: int) -> tuple[str, str]:
        table, number = self._places[row]
        return table.content(number)
