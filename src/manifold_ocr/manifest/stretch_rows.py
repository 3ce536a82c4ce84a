"""From the raw rows of one stretch to its outcome: filtered, built, keyed, counted."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import xxhash

from manifold_ocr.corpora.base import RawRow
from manifold_ocr.corpora.registry import SelectedCorpus
from manifold_ocr.manifest.collected import Collected, GroupKey
from manifold_ocr.manifest.config import ManifestConfig
from manifold_ocr.manifest.lengths import LengthCheck
from manifold_ocr.manifest.rows import BuiltRow, RowBuilder
from manifold_ocr.manifest.runs import pack_key
from manifold_ocr.manifest.shingles import SignatureCache
from manifold_ocr.manifest.splits import TRAIN, Splitter
from manifold_ocr.manifest.units import UnitCollector
from manifold_ocr.records import Rejection

MAX_DIMENSION = 2**32 - 1
CUT_ROWS = 4096


def by_whole_images(
    rows: Iterable[RawRow | Rejection],
) -> Iterator[list[RawRow | Rejection]]:
    """Group rows into lists of about `CUT_ROWS`, cut only where the image changes."""
    batch: list[RawRow | Rejection] = []
    shown = ""
    for row in rows:
        if isinstance(row, RawRow):
            if len(batch) >= CUT_ROWS and shown not in ("", row.image):
                yield batch
                batch = []
            shown = row.image
        batch.append(row)
    if batch:
        yield batch


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


class StretchBuilder:
    """Turns the raw rows of one corpus into outcomes, a stretch at a time."""

    def __init__(
        self,
        corpus: SelectedCorpus,
        config: ManifestConfig,
        splitter: Splitter,
        builder: RowBuilder,
        too_long: LengthCheck,
        signatures: SignatureCache,
    ) -> None:
        self._config = config
        self._splitter = splitter
        self._builder = builder
        self._too_long = too_long
        self._signatures = signatures
        self._corpus_seed = xxhash.xxh3_64_intdigest(corpus.name.encode())
        self._filter = _Filter(
            corpus.name,
            frozenset(config.include_tasks),
            frozenset(config.include_granularities),
            config.languages,
            frozenset(config.include_subsets),
        )

    def collect(self, rows: Iterable[RawRow | Rejection]) -> Collected:
        """Return the outcome of a stretch."""
        found = Collected()
        units = UnitCollector(self._config.leakage, self._signatures)
        groups: dict[GroupKey, int] = {}
        keys: dict[str, list[bytes]] = {}
        images: dict[str, None] = {}
        for raw in rows:
            if isinstance(raw, Rejection):
                found.rejections.append(raw)
                continue
            row = self._take(raw, found, units, images)
            if row is not None:
                found.rows.setdefault(row.split, []).append(b"%b\0%b" % (row.id.encode(), row.line))
                keys.setdefault(row.split, []).append(self._key(row, raw, groups))
        found.keys = {split: b"".join(packed) for split, packed in keys.items()}
        found.groups = list(groups)
        found.images = list(images)
        found.units, found.texts = units.finish()
        return found

    def _take(
        self, raw: RawRow, found: Collected, units: UnitCollector, images: dict[str, None]
    ) -> BuiltRow | None:
        """Return the finished row if it is wanted; count or list it otherwise."""
        dropped = self._filter.drops(raw)
        if dropped:
            found.filtered[dropped] += 1
            if self._splitter.split(raw.document, raw.split) == TRAIN:
                return None  # evaluation rows go on: training must not see their pages either way
        images[raw.image] = None
        row = self._builder.build(raw)
        if isinstance(row, Rejection):
            if not dropped:
                found.rejections.append(row)
            return None
        units.add(row, raw)
        return None if dropped else row

    def _key(self, row: BuiltRow, raw: RawRow, groups: dict[GroupKey, int]) -> bytes:
        group = (raw.subset, raw.language, raw.license, raw.granularity, raw.task)
        text = raw.text.strip()
        width, height = row.size
        return pack_key(
            row.input_key,
            row.text_key,
            int.from_bytes(row.facts.sha256[:8], "big"),
            xxhash.xxh3_64_intdigest(raw.document.encode(), self._corpus_seed),
            row.order_key,
            groups.setdefault(group, len(groups)),
            len(text),
            min(width, MAX_DIMENSION),
            min(height, MAX_DIMENSION),
            self._too_long(text),
        )
