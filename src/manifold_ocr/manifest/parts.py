"""One part of one corpus, from raw rows to sorted runs: the work that processes share out.

The number of parts is fixed, so the result is the same for any number of processes.
"""

import gc
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from manifold_ocr.corpora.base import Corpus, RawRow, Stretch
from manifold_ocr.corpora.probes import with_needles
from manifold_ocr.corpora.registry import SelectedCorpus
from manifold_ocr.manifest.collected import Collected, facts_digest, pack, unpack
from manifold_ocr.manifest.config import ManifestConfig
from manifold_ocr.manifest.image_cache import ImageCache
from manifold_ocr.manifest.lengths import length_check
from manifold_ocr.manifest.part_writer import PartResult, PartWriter
from manifold_ocr.manifest.rows import RowBuilder
from manifold_ocr.manifest.shingles import SignatureCache
from manifold_ocr.manifest.splits import Splitter
from manifold_ocr.manifest.stretch_cache import StretchCache
from manifold_ocr.manifest.stretch_rows import StretchBuilder, by_whole_images
from manifold_ocr.records import Rejection

PARTS = 8


@runtime_checkable
class PartitionedCorpus(Protocol):
    """A corpus that can read a share of its rows without reading the others."""

    def part_rows(
        self, root: Path, options: object, part: int, parts: int
    ) -> Iterator[RawRow | Rejection]:
        """Stream the rows of share `part` of `parts`; the shares are disjoint and complete."""
        ...


@runtime_checkable
class StretchedCorpus(Protocol):
    """A corpus that can say which rows are as they were without reading them."""

    def stretches(self, root: Path, options: object, part: int, parts: int) -> Iterator[Stretch]:
        """Stream the stretches of share `part` of `parts`; disjoint and complete."""
        ...


@dataclass(frozen=True)
class PartTask:
    """What a worker needs to know; it is pickled, so it holds no open file.

    `settings` is a hash of everything but the corpus's own files that decides its rows.
    """

    corpus: SelectedCorpus
    splitter: Splitter
    config: ManifestConfig
    max_target_length: int
    raw_root: Path
    cache_folder: Path
    started_ns: int
    scratch: Path
    part: int
    settings: bytes = b""


def work(task: PartTask) -> PartResult:
    """Read, filter, build and write one part."""
    images = ImageCache(task.cache_folder / "images.sqlite", task.started_ns)
    signatures = SignatureCache(task.cache_folder / "signatures.sqlite")
    known = StretchCache(task.cache_folder / "stretches.sqlite", task.started_ns)
    try:
        gc.disable()  # rows hold no cycles, and walking a run of them again and again is slow
        writer = PartWriter(task.scratch, task.corpus, task.part, task.config.leakage.enabled)
        worker = _Worker(task, images, signatures, known)
        for stretch in stretches(task):
            writer.add(worker.outcome(stretch))
        return writer.finish()
    finally:
        gc.enable()
        images.close()
        signatures.close()
        known.close()


def stretches(task: PartTask) -> Iterator[Stretch]:
    """Stream one of `PARTS` shares; a corpus that cannot be divided is the first share."""
    adapter: Corpus = task.corpus.adapter
    root, options = task.raw_root / task.corpus.name, task.corpus.options
    needles = "needle" in task.config.include_tasks
    if isinstance(adapter, StretchedCorpus):
        for stretch in adapter.stretches(root, options, task.part, PARTS):
            rows = with_needles(stretch.rows) if needles else stretch.rows
            yield Stretch(rows, stretch.key, stretch.first_line)
        return
    if isinstance(adapter, PartitionedCorpus):
        rows = adapter.part_rows(root, options, task.part, PARTS)
    else:
        rows = iter(()) if task.part else adapter.rows(root, options)
    for batch in by_whole_images(with_needles(rows) if needles else rows):
        yield Stretch(iter(batch))


class _Worker:
    """Looks stretches up, and builds those that are new or whose images changed."""

    def __init__(
        self,
        task: PartTask,
        images: ImageCache,
        signatures: SignatureCache,
        known: StretchCache,
    ) -> None:
        config = task.config
        self._settings = task.settings
        self._known = known
        self._rows = RowBuilder(
            corpus=task.corpus.name,
            role=task.corpus.role,
            licence=task.corpus.licence,
            splitter=task.splitter,
            raw_root=task.raw_root,
            cache=images,
            max_pixels=config.max_pixels,
            box_tolerance=config.box_tolerance,
        )
        too_long = length_check(config.length_unit, task.max_target_length)
        self._builder = StretchBuilder(
            task.corpus, config, task.splitter, self._rows, too_long, signatures
        )

    def outcome(self, stretch: Stretch) -> Collected:
        """Return the outcome of a stretch, from the cache where it still holds."""
        if not stretch.key:
            return self._builder.collect(stretch.rows)
        key = hashlib.sha256(self._settings + stretch.key).digest()
        value = self._known.get(key)
        stored = unpack(value) if value else None
        if stored and stored.holds(self._facts(stored.images), stretch.first_line):
            return stored.collected()
        found = self._builder.collect(stretch.rows)
        self._known.put(key, pack(found, self._facts(found.images), stretch.first_line))
        return found

    def _facts(self, images: list[str]) -> str:
        return facts_digest(map(self._rows.facts, images))
