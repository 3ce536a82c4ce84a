"""The leak gate: training pages that validation, test or a benchmark knows already.

Only evaluation pages are indexed; training pages stream past the index one by one, and so
do validation pages, which are compared with those of test and benchmarks alone. A pair is
a leak by its bytes, by its look (descriptors within `image_distance`) or by its text (long
texts that are one text with scattered errors). Small images, such as single lines, look
alike when they say the same in one typeface: for these the text must be equal as well.

Splits, duplicates and leaks are judged an image at a time: lines of one page share one
image file, and its page text is long enough to be compared.
"""

from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import orjson

from manifold_ocr.config import LeakageConfig
from manifold_ocr.data.dedup import (
    LEAK_EXACT,
    LEAK_IMAGE,
    LEAK_TEXT,
    PERMUTATIONS,
    VAL_EXACT,
    VAL_IMAGE,
    VAL_TEXT,
    SignatureCache,
    fold,
    same_text,
)
from manifold_ocr.data.image_index import BYTES, DescriptorIndex
from manifold_ocr.data.rows import TEST, TRAIN, VAL, BuiltRow
from manifold_ocr.records import RawRow
from manifold_ocr.resources import progress

LEAST_SIMILARITY = 0.3  # estimated Jaccard similarity of candidates: 7 % typos leave 0.42
LENGTH_SLACK = 0.1  # how much white space may change a text's length
CANDIDATES = 8  # texts compared closely for one training page
SMALL_SIDE = 96  # pixels: a line, not a page
FEW_BITS = 48  # a nearly blank page says too little by its look

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
        self._looks = DescriptorIndex(np.array([unit["descriptor"] for unit in units]))
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
        bits = int(np.bitwise_count(unit["descriptor"]).sum())
        telling = min(unit["width"], unit["height"]) >= SMALL_SIDE and bits >= FEW_BITS
        for _, row in self._looks.near(unit["descriptor"], self._config.image_distance):
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


UNIT = np.dtype(
    [
        ("image", "<u8"),
        ("split", "S5"),
        ("descriptor", "<u8", BYTES // 8),
        ("width", "<u4"),
        ("height", "<u4"),
        ("signature", "<u4", PERMUTATIONS),
        ("characters", "<u4"),
        ("offset", "<u8"),
        ("length", "<u4"),
    ]
)

_NO_SIGNATURE = np.zeros(PERMUTATIONS, dtype="<u4")


class UnitCollector:
    """Collects the text of consecutive rows of one image; packs a record an image."""

    def __init__(self, config: LeakageConfig, signatures: SignatureCache) -> None:
        self._signatures = signatures
        self._enabled = config.enabled
        self._shortest = config.min_text_length
        self._texts: list[bytes] = []
        self._records: list[tuple[object, ...]] = []
        self._offset = 0
        self._last: BuiltRow | None = None
        self._lines: list[str] = []
        self._page = ""

    def add(self, row: BuiltRow, raw: RawRow) -> None:
        """Take one row; only transcriptions say what an image shows."""
        if not self._enabled:
            return
        if self._last is None or (row.image, row.split) != (self._last.image, self._last.split):
            self._flush()
            self._last = row
        if raw.task != "transcribe":
            return
        if raw.granularity == "page":
            self._page = self._page or raw.text
        else:
            self._lines.append(raw.text)

    def finish(self) -> tuple[bytes, bytes]:
        """Return the packed `UNIT` records, and the texts into which their offsets point."""
        self._flush()
        return np.array(self._records, dtype=UNIT).tobytes(), b"".join(self._texts)

    def _flush(self) -> None:
        if self._last is None:
            return
        row, text = self._last, self._page or "\n".join(self._lines)
        line = orjson.dumps([row.image, text])
        self._texts.append(line)
        self._records.append(
            (
                int.from_bytes(row.facts.sha256[:8], "big"),
                row.split.encode(),
                np.frombuffer(row.facts.descriptor, dtype="<u8"),
                row.facts.width,
                row.facts.height,
                self._signatures.get(text) if len(text) >= self._shortest else _NO_SIGNATURE,
                len(text),
                self._offset,
                len(line),
            )
        )
        self._offset += len(line)
        self._lines, self._page, self._last = [], "", None
