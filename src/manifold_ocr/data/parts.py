"""One part of one corpus, from raw rows to sorted runs: the work that processes share out.

The number of parts is fixed, so the result is the same for any number of processes.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import orjson
import xxhash

from manifold_ocr.config import LeakageConfig, ManifestConfig
from manifold_ocr.data.dedup import KEYS, Group, Run, pack_key, write_run
from manifold_ocr.data.fetch import common_options
from manifold_ocr.data.image_index import ImageCache
from manifold_ocr.data.leakage import PERMUTATIONS, UNIT, fold, signature
from manifold_ocr.data.registry import PartitionedCorpus, SelectedCorpus
from manifold_ocr.data.rows import TRAIN, BuiltRow, RowBuilder, Splitter, length_check
from manifold_ocr.records import PLANTED, RawRow, Rejection
from manifold_ocr.resources import collector_paused

PARTS = 8
RUN_ROWS = 50_000  # rows held in memory before they are sorted and written
MAX_DIMENSION = 2**32 - 1
_NO_SIGNATURE = np.zeros(PERMUTATIONS, dtype="<u4")


@dataclass(frozen=True)
class PartTask:
    """What a worker needs to know; it is pickled, so it holds no open file."""

    corpus: SelectedCorpus
    splitter: Splitter
    config: ManifestConfig
    max_target_length: int
    raw_root: Path
    cache_folder: Path
    started_ns: int
    scratch: Path
    part: int


@dataclass
class PartResult:
    """What a worker wrote and counted."""

    runs: list[Run] = field(default_factory=list)
    units: list[Path] = field(default_factory=list)
    rejections: list[Rejection] = field(default_factory=list)
    filtered: Counter[str] = field(default_factory=Counter)


def work(task: PartTask) -> PartResult:
    """Read, filter, build and write one part."""
    images = ImageCache(task.cache_folder / "images.sqlite", task.started_ns)
    try:
        with collector_paused():
            part = _Part(task, images)
            for raw in raw_rows(task):
                part.add(raw)
            return part.finish()
    finally:
        images.close()


def raw_rows(task: PartTask) -> Iterator[RawRow | Rejection]:
    """Stream one of `PARTS` shares; a corpus that cannot be divided is the first share."""
    adapter, options = task.corpus.adapter, task.corpus.options
    root = task.raw_root / task.corpus.name
    if isinstance(adapter, PartitionedCorpus):
        rows = adapter.part_rows(root, options, task.part, PARTS)
    else:
        rows = iter(()) if task.part else adapter.rows(root, options)
    return _with_needles(rows) if "needle" in task.config.include_tasks else rows


@dataclass(frozen=True)
class _Filter:
    """Which rows the settings ask for."""

    corpus: str
    tasks: frozenset[str]
    granularities: frozenset[str]
    languages: frozenset[str]
    subsets: frozenset[str]

    def drops(self, raw: RawRow) -> str:
        """Return what a row is dropped for, or an empty string."""
        if raw.task not in self.tasks:
            return "task"
        if raw.granularity not in self.granularities:
            return "granularity"
        if self.languages and raw.language not in self.languages:
            return "language"
        if self.subsets and not (
            raw.subset in self.subsets
            or f"{self.corpus}.{raw.subset}" in self.subsets
            or not self.subsets.isdisjoint(raw.tags)
        ):
            return "subset"
        return ""


class _Part:
    """Filters and builds rows; gathers them and writes sorted runs below the scratch folder."""

    def __init__(self, task: PartTask, images: ImageCache) -> None:
        config, corpus = task.config, task.corpus
        self._folder = task.scratch
        self._corpus = corpus
        self._name = f"{corpus.name}-{task.part:02d}"
        self._splitter = task.splitter
        self._builder = RowBuilder(
            corpus=corpus.name,
            role=corpus.role,
            license=corpus.license,
            splitter=task.splitter,
            raw_root=task.raw_root,
            cache=images,
            max_pixels=config.max_pixels,
            box_tolerance=config.box_tolerance,
            raw_boxes=common_options(corpus.name, corpus.options).raw_boxes,
        )
        self._too_long = length_check(config.length_unit, task.max_target_length)
        self._corpus_seed = xxhash.xxh3_64_intdigest(corpus.name.encode())
        self._filter = _Filter(
            corpus.name,
            frozenset(config.include_tasks),
            frozenset(config.include_granularities),
            config.languages,
            frozenset(config.include_subsets),
        )
        self._rows: dict[str, list[bytes]] = {}
        self._keys: dict[str, list[bytes]] = {}
        self._groups: dict[Group, int] = {}
        path = task.scratch / self._name
        self._units = UnitWriter(path, config.leakage) if config.leakage.enabled else None
        self._result = PartResult()

    def add(self, raw: RawRow | Rejection) -> None:
        """Take the next row: keep it if it is wanted; count or list it otherwise."""
        if isinstance(raw, Rejection):
            self._result.rejections.append(raw)
            return
        dropped = self._filter.drops(raw)
        if dropped:
            self._result.filtered[dropped] += 1
            if self._splitter.split(raw.document, raw.split) == TRAIN:
                return  # evaluation rows go on: training must not see their pages either way
        row = self._builder.build(raw)
        if isinstance(row, Rejection):
            if not dropped:
                self._result.rejections.append(row)
            return
        if self._units:
            self._units.add(row, raw)
        if not dropped:
            self._keep(row, raw)

    def finish(self) -> PartResult:
        """Write what is pending; return what was written and counted."""
        for split in sorted(self._rows):
            self._flush(split)
        if self._units:
            self._result.units = [self._units.finish()]
        return self._result

    def _keep(self, row: BuiltRow, raw: RawRow) -> None:
        rows = self._rows.setdefault(row.split, [])
        rows.append(b"%b\0%b" % (row.id.encode(), row.line))
        self._keys.setdefault(row.split, []).append(self._key(row, raw))
        if len(rows) >= RUN_ROWS:
            self._flush(row.split)

    def _flush(self, split: str) -> None:
        rows, keys = self._rows.pop(split), self._keys.pop(split)
        name = f"{self._name}-{split}-{len(self._result.runs):03d}"
        packed = np.frombuffer(b"".join(keys), dtype=KEYS)
        run = write_run(self._folder, name, split, rows, packed, tuple(self._groups))
        self._result.runs.append(run)

    def _key(self, row: BuiltRow, raw: RawRow) -> bytes:
        text = raw.text.strip()
        width, height = row.size
        license = self._corpus.license if raw.license == "unknown" else raw.license
        group = Group(
            self._corpus.name, raw.subset, raw.language, license, raw.granularity, raw.task
        )
        return pack_key(
            row.input_key,
            row.text_key,
            int.from_bytes(row.facts.sha256[:8], "big"),
            xxhash.xxh3_64_intdigest(raw.document.encode(), self._corpus_seed),
            row.order_key,
            self._groups.setdefault(group, len(self._groups)),
            len(text),
            min(width, MAX_DIMENSION),
            min(height, MAX_DIMENSION),
            self._too_long(text),
        )


class UnitWriter:
    """Collects the text of consecutive rows of one image; writes a `UNIT` record per image.

    `PATH.units.npy` holds the records, whose offsets point into `PATH.texts`.
    """

    def __init__(self, path: Path, config: LeakageConfig) -> None:
        self._path = path
        self._shortest = config.min_text_length
        self._texts = open(path.with_name(f"{path.name}.texts"), "wb")  # noqa: SIM115
        self._records: list[tuple[object, ...]] = []
        self._last: BuiltRow | None = None
        self._lines: list[str] = []
        self._page = ""

    def add(self, row: BuiltRow, raw: RawRow) -> None:
        """Take one row; only transcriptions say what an image shows."""
        if self._last is None or _shown(row) != _shown(self._last):
            self._flush()
            self._last = row
        if raw.task != "transcribe":
            return
        if raw.granularity == "page" and raw.box is None:
            self._page = self._page or raw.text
        else:
            self._lines.append(raw.text)

    def finish(self) -> Path:
        """Write the records; return their file."""
        self._flush()
        self._texts.close()
        table = self._path.with_name(f"{self._path.name}.units.npy")
        np.save(table, np.array(self._records, dtype=UNIT))
        return table

    def _flush(self) -> None:
        if self._last is None:
            return
        row, text = self._last, self._page or "\n".join(self._lines)
        line = orjson.dumps([row.image, text])
        self._records.append(
            (
                int.from_bytes(row.facts.sha256[:8], "big"),
                row.split.encode(),
                np.frombuffer(row.facts.phash, dtype="<u8"),
                row.facts.width,
                row.facts.height,
                signature(fold(text)) if len(text) >= self._shortest else _NO_SIGNATURE,
                len(text),
                self._texts.tell(),
                len(line),
            )
        )
        self._texts.write(line)
        self._lines, self._page, self._last = [], "", None


def _shown(row: BuiltRow) -> tuple[str, bytes, str]:
    return row.image, row.facts.sha256, row.split  # pages of one file have hashes of their own


SHORTEST = 16  # characters of a needle
FEWEST_LINES = 5  # a haystack has at least this many
CUE = 8  # characters that the question gives away


def _with_needles(rows: Iterator[RawRow | Rejection]) -> Iterator[RawRow | Rejection]:
    """Pass rows through; after the lines of a page, add its needle row where it has one."""
    page: list[RawRow] = []
    for row in rows:
        if isinstance(row, RawRow) and row.task == "transcribe" and row.granularity == "line":
            if page and (page[0].image, page[0].frame) != (row.image, row.frame):
                yield from needle_rows(page)
                page = []
            page.append(row)
        yield row
    yield from needle_rows(page)


def needle_rows(lines: Sequence[RawRow]) -> Iterator[RawRow]:
    """Yield the needle probe of one page's lines, if the page is a fair haystack.

    Made from rows that are there already, so it costs no labels: among a page's lines, one that
    is long enough and begins unlike all others is asked for by its first words. The choice is
    by hash of the page's name, so it never changes when other pages come or go; a line that was
    planted for this goes before all others. The target is the whole line; the question quotes
    its first characters, which no other line of the page begins with.
    """
    if len(lines) < FEWEST_LINES:
        return
    cues = [line.text.strip()[:CUE] for line in lines]
    fair = [
        line
        for line, cue in zip(lines, cues, strict=True)
        if len(line.text.strip()) >= SHORTEST and cues.count(cue) == 1
    ]
    if not fair:
        return
    fair = [line for line in fair if PLANTED in line.tags] or fair
    digest = hashlib.sha256(f"needle\0{lines[0].image}".encode()).digest()
    needle = fair[int.from_bytes(digest[:8], "big") % len(fair)]
    cue = needle.text.strip()[:CUE]
    yield RawRow(
        document=needle.document,
        image=needle.image,
        text=needle.text,
        source=needle.source,
        subset=needle.subset,
        tags=needle.tags,
        language=needle.language,
        split=needle.split,
        frame=needle.frame,
        granularity="page",
        task="needle",
        question=f"Transcribe the whole line that begins with {cue!r}.",
        license=needle.license,
    )
