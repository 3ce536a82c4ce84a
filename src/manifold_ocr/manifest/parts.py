"""One part of one corpus, from raw rows to sorted runs: the work that processes share out.

The number of parts is fixed, so the result is the same for any number of processes.
"""

import gc
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

import xxhash

from manifold_ocr.corpora.base import Corpus, RawRow
from manifold_ocr.corpora.probes import with_needles
from manifold_ocr.corpora.registry import SelectedCorpus
from manifold_ocr.manifest.config import ManifestConfig
from manifold_ocr.manifest.image_cache import ImageCache
from manifold_ocr.manifest.lengths import LengthCheck, length_check
from manifold_ocr.manifest.rows import BuiltRow, RowBuilder
from manifold_ocr.manifest.runs import Group, Run, write_run
from manifold_ocr.manifest.shingles import SignatureCache
from manifold_ocr.manifest.splits import TRAIN, Splitter
from manifold_ocr.manifest.units import UnitWriter
from manifold_ocr.records import Rejection

PARTS = 8
RUN_ROWS = 50_000  # rows held in memory before they are sorted and written
MAX_DIMENSION = 2**32 - 1


@runtime_checkable
class PartitionedCorpus(Protocol):
    """A corpus that can read a share of its rows without reading the others."""

    def part_rows(
        self, root: Path, options: object, part: int, parts: int
    ) -> Iterator[RawRow | Rejection]:
        """Stream the rows of share `part` of `parts`; the shares are disjoint and complete."""
        ...


@dataclass(frozen=True)
class PartTask:
    """What a worker needs to know; it is pickled, so it holds no open file."""

    corpus: SelectedCorpus
    splitter: Splitter
    config: ManifestConfig
    max_target_length: int
    raw_root: Path
    cache_path: Path
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
    cache = ImageCache(task.cache_path, task.started_ns)
    signatures = SignatureCache(task.cache_path.with_name("signatures.sqlite"))
    try:
        worker = _Worker(task, cache, signatures)
        rows = part_rows(task.corpus, task.raw_root / task.corpus.name, task.part)
        if "needle" in task.config.include_tasks:
            rows = with_needles(rows)
        gc.disable()  # rows hold no cycles, and walking a run of them again and again is slow
        for raw in rows:
            worker.take(raw)
        return worker.finish()
    finally:
        gc.enable()
        cache.close()
        signatures.close()


def part_rows(corpus: SelectedCorpus, root: Path, part: int) -> Iterator[RawRow | Rejection]:
    """Stream one of `PARTS` shares; a corpus that cannot be divided is the first share."""
    adapter: Corpus = corpus.adapter
    if isinstance(adapter, PartitionedCorpus):
        return adapter.part_rows(root, corpus.options, part, PARTS)
    return iter(()) if part else adapter.rows(root, corpus.options)


class _Worker:
    def __init__(self, task: PartTask, cache: ImageCache, signatures: SignatureCache) -> None:
        config = task.config
        self._task = task
        self._config = config
        self._languages = config.languages
        self._subsets = frozenset(config.include_subsets)
        self._tasks = frozenset(config.include_tasks)
        self._granularities = frozenset(config.include_granularities)
        self._builder = RowBuilder(
            corpus=task.corpus.name,
            role=task.corpus.role,
            licence=task.corpus.licence,
            splitter=task.splitter,
            raw_root=task.raw_root,
            cache=cache,
            max_pixels=config.max_pixels,
            box_tolerance=config.box_tolerance,
        )
        self._too_long: LengthCheck = length_check(config.length_unit, task.max_target_length)
        self._name = f"{task.corpus.name}-{task.part:02d}"
        self._units = UnitWriter(task.scratch, self._name, config.leakage, signatures)
        self._rows: dict[str, list[tuple[bytes, bytes, tuple[int, ...]]]] = {}
        self._groups: dict[tuple[str, str, str, str, str], int] = {}
        self._corpus_seed = xxhash.xxh3_64_intdigest(task.corpus.name.encode())
        self._result = PartResult()

    def take(self, raw: RawRow | Rejection) -> None:
        if isinstance(raw, Rejection):
            self._result.rejections.append(raw)
            return
        dropped = self._filter(raw)
        if dropped:
            self._result.filtered[dropped] += 1
            if self._task.splitter.split(raw.document, raw.split) == TRAIN:
                return  # evaluation rows go on: training must not see their pages either way
        row = self._builder.build(raw)
        if isinstance(row, Rejection):
            if not dropped:
                self._result.rejections.append(row)
            return
        self._units.add(row, raw)
        if dropped:
            return
        rows = self._rows.setdefault(row.split, [])
        rows.append((row.id.encode(), row.line, self._keys(row, raw)))
        if len(rows) >= RUN_ROWS:
            self._flush(row.split)

    def finish(self) -> PartResult:
        for split in sorted(self._rows):
            self._flush(split)
        self._result.units = self._units.finish()
        return self._result

    def _filter(self, raw: RawRow) -> str:
        if raw.task not in self._tasks:
            return "task"
        if raw.granularity not in self._granularities:
            return "granularity"
        if self._languages and raw.language not in self._languages:
            return "language"
        if self._subsets and not (
            raw.subset in self._subsets
            or f"{self._task.corpus.name}.{raw.subset}" in self._subsets
            or not self._subsets.isdisjoint(raw.tags)
        ):
            return "subset"
        return ""

    def _keys(self, row: BuiltRow, raw: RawRow) -> tuple[int, ...]:
        group = (raw.subset, raw.language, raw.license, raw.granularity, raw.task)
        text = raw.text.strip()
        width, height = row.size
        return (
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

    def _named_groups(self) -> tuple[Group, ...]:
        corpus = self._task.corpus
        return tuple(
            Group(
                corpus.name,
                subset,
                language,
                corpus.licence if licence == "unknown" else licence,
                granularity,
                task,
            )
            for subset, language, licence, granularity, task in self._groups
        )

    def _flush(self, split: str) -> None:
        rows = self._rows[split]
        if not rows:
            return
        name = f"{self._name}-{split}-{len(self._result.runs):03d}"
        run = write_run(self._task.scratch, name, split, rows, self._named_groups())
        self._result.runs.append(run)
        self._rows[split] = []
