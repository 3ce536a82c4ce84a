"""One part of one corpus, from raw rows to sorted runs: the work that processes share out.

The number of parts is fixed, so the result is the same for any number of processes.

It is kept between builds as bytes, so that an unchanged stretch costs a look-up: a JSON
header, then the blobs that it measures, compressed with a checksum.

Each entry is written whole or not at all, and its value carries a checksum; two builds at
once write equal values. What was not used for longest goes first when the file grows.

A line whose checksum ends in zeros asks for a border, which is drawn where the next image
begins: rows of one image are never divided. Lines that come, go or change move only the
borders beside them (content-defined chunking, as in Muthitacharoen et al., LBFS, 2001).
"""

import gc
import hashlib
import sqlite3
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol, runtime_checkable

import numpy as np
import orjson
import xxhash
import zstandard

from manifold_ocr.config import ManifestConfig
from manifold_ocr.data.corpus import Corpus, Stretch
from manifold_ocr.data.dedup import SignatureCache
from manifold_ocr.data.image_index import ImageCache, ImageFacts
from manifold_ocr.data.leakage import UNIT, UnitCollector
from manifold_ocr.data.registry import SelectedCorpus
from manifold_ocr.data.rows import TRAIN, BuiltRow, LengthCheck, RowBuilder, Splitter, length_check
from manifold_ocr.data.sorted_runs import KEYS, Group, Run, pack_key, write_run
from manifold_ocr.files import CHUNK
from manifold_ocr.records import RawRow, Rejection
from manifold_ocr.synthetic.needle import with_needles

GroupKey = tuple[str, str, str, str, str]  # subset, language, licence, granularity, task


@dataclass
class Collected:
    """The outcome of one stretch.

    `rows` are `id NUL JSON` without line end, by split, with one packed `KEYS` record each
    in `keys`; a record's group is a place in `groups`. `units` are packed `UNIT` records
    whose offsets point into `texts`. `images` are those that were looked up, in order.
    """

    rows: dict[str, list[bytes]] = field(default_factory=dict)
    keys: dict[str, bytes] = field(default_factory=dict)
    groups: list[GroupKey] = field(default_factory=list)
    units: bytes = b""
    texts: bytes = b""
    rejections: list[Rejection] = field(default_factory=list)
    filtered: Counter[str] = field(default_factory=Counter)
    images: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Stored:
    """A stretch as it was kept, and what must still hold for it to be used again."""

    header: dict[str, Any]
    blobs: memoryview

    @property
    def images(self) -> list[str]:
        """Return the images whose facts the outcome depends on."""
        images: list[str] = self.header["images"]
        return images

    def holds(self, facts: str, first_line: int) -> bool:
        """Say whether the images are as they were, and rejections still name their lines."""
        moved = self.header["rejections"] and self.header["first_line"] != first_line
        return self.header["facts"] == facts and not moved

    def collected(self) -> Collected:
        """Return the outcome."""
        header, blobs, position = self.header, self.blobs, 0

        def take(size: int) -> bytes:
            nonlocal position
            position += size
            return bytes(blobs[position - size : position])

        found = Collected(
            groups=[tuple(group) for group in header["groups"]],
            rejections=[Rejection(**row) for row in header["rejections"]],
            filtered=Counter(header["filtered"]),
            images=header["images"],
        )
        for split, rows, size in header["splits"]:
            found.rows[split] = take(size).split(b"\n")
            found.keys[split] = take(rows * KEYS.itemsize)
        found.units = take(header["units"] * UNIT.itemsize)
        found.texts = take(header["texts"])
        return found


def facts_digest(facts: Iterable[ImageFacts]) -> str:
    """Return one hash over all that is known of some images."""
    digest = xxhash.xxh3_128()
    for known in facts:
        digest.update(f"{known.width} {known.height} {known.problem}\0".encode())
        digest.update(known.sha256 + known.descriptor)
    return digest.hexdigest()


def pack(found: Collected, facts: str, first_line: int) -> bytes:
    """Return the bytes that `unpack` reads."""
    splits = {split: b"\n".join(rows) for split, rows in found.rows.items()}
    header = {
        "images": found.images,
        "facts": facts,
        "first_line": first_line,
        "groups": found.groups,
        "rejections": found.rejections,
        "filtered": found.filtered,
        "splits": [[name, len(found.rows[name]), len(blob)] for name, blob in splits.items()],
        "units": len(found.units) // UNIT.itemsize,
        "texts": len(found.texts),
    }
    parts = [orjson.dumps(header), b"\n"]
    for name, blob in splits.items():
        parts += [blob, found.keys[name]]
    compressor = zstandard.ZstdCompressor(level=1, write_checksum=True)
    return compressor.compress(b"".join([*parts, found.units, found.texts]))


def unpack(value: bytes) -> Stored | None:
    """Return a stored stretch, or None where its bytes are damaged."""
    try:
        content = zstandard.ZstdDecompressor().decompress(value)
    except zstandard.ZstdError:
        return None
    header, _, _ = content.partition(b"\n")
    return Stored(orjson.loads(header), memoryview(content)[len(header) + 1 :])


RUN_ROWS = 50_000  # rows held in memory before they are sorted and written


@dataclass
class PartResult:
    """What a worker wrote and counted."""

    runs: list[Run] = field(default_factory=list)
    units: list[Path] = field(default_factory=list)
    rejections: list[Rejection] = field(default_factory=list)
    filtered: Counter[str] = field(default_factory=Counter)


class PartWriter:
    """Gathers outcomes in order and writes them below `folder`."""

    def __init__(self, folder: Path, corpus: SelectedCorpus, part: int, units: bool) -> None:
        self._folder = folder
        self._corpus = corpus
        self._name = f"{corpus.name}-{part:02d}"
        self._rows: dict[str, list[bytes]] = {}
        self._keys: dict[str, list[np.ndarray]] = {}
        self._groups: dict[GroupKey, int] = {}
        self._units: list[np.ndarray] = [np.zeros(0, dtype=UNIT)]
        self._texts = open(folder / f"{self._name}.texts", "wb") if units else None  # noqa: SIM115
        self._result = PartResult()

    def add(self, found: Collected) -> None:
        """Take the outcome of the next stretch."""
        self._result.rejections += found.rejections
        self._result.filtered.update(found.filtered)
        numbers = [self._groups.setdefault(group, len(self._groups)) for group in found.groups]
        for split, rows in found.rows.items():
            keys = np.frombuffer(found.keys[split], dtype=KEYS).copy()
            keys["group"] = np.array(numbers, dtype=np.uint32)[keys["group"]]
            self._keys.setdefault(split, []).append(keys)
            self._rows.setdefault(split, []).extend(rows)
            if len(self._rows[split]) >= RUN_ROWS:
                self._flush(split)
        if self._texts and found.units:
            units = np.frombuffer(found.units, dtype=UNIT).copy()
            units["offset"] += self._texts.tell()
            self._units.append(units)
            self._texts.write(found.texts)

    def finish(self) -> PartResult:
        """Write what is pending; return what was written and counted."""
        for split in sorted(self._rows):
            self._flush(split)
        if self._texts:
            self._texts.close()
            table = self._folder / f"{self._name}.units.npy"
            np.save(table, np.concatenate(self._units))
            self._result.units = [table]
        return self._result

    def _flush(self, split: str) -> None:
        rows, keys = self._rows.pop(split), self._keys.pop(split)
        name = f"{self._name}-{split}-{len(self._result.runs):03d}"
        groups = tuple(map(self._named, self._groups))
        run = write_run(self._folder, name, split, rows, np.concatenate(keys), groups)
        self._result.runs.append(run)

    def _named(self, group: GroupKey) -> Group:
        subset, language, licence, granularity, task = group
        if licence == "unknown":
            licence = self._corpus.licence
        return Group(self._corpus.name, subset, language, licence, granularity, task)


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


LIMIT = 2 << 30  # bytes of all values: about 30 million rows
_PENDING = 4 << 20  # bytes written in one transaction
_SCHEMA = """
CREATE TABLE IF NOT EXISTS stretches (
    key BLOB NOT NULL UNIQUE, used_ns INTEGER NOT NULL, value BLOB NOT NULL
)
"""


class StretchCache:
    """Values by key; `now_ns`, the start of the build, is when they count as used."""

    def __init__(self, path: Path, now_ns: int) -> None:
        self._now_ns = now_ns
        self._connection = sqlite3.connect(path, timeout=60.0)
        self._connection.execute("PRAGMA auto_vacuum=FULL")  # what is dropped leaves the disk
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=OFF")  # a lost cache costs time only
        self._connection.execute(_SCHEMA)
        self._fresh: list[tuple[bytes, bytes]] = []
        self._pending = 0
        self._used: list[bytes] = []

    def get(self, key: bytes) -> bytes | None:
        """Return the value kept under `key`."""
        row = self._connection.execute(
            "SELECT value FROM stretches WHERE key = ?", (key,)
        ).fetchone()
        if row is None:
            return None
        self._used.append(key)
        return bytes(row[0])

    def put(self, key: bytes, value: bytes) -> None:
        """Keep `value` under `key`, in place of an older one."""
        self._fresh.append((key, value))
        self._pending += len(value)
        if self._pending >= _PENDING:
            self._write()

    def evict(self, limit: int = LIMIT) -> None:
        """Drop the values used longest ago until the rest takes at most `limit` bytes."""
        self._write()
        total = 0
        doomed = []
        query = "SELECT rowid, length(value) FROM stretches ORDER BY used_ns DESC, rowid DESC"
        for rowid, size in self._connection.execute(query):
            total += size
            if total > limit:
                doomed.append((rowid,))
        self._connection.executemany("DELETE FROM stretches WHERE rowid = ?", doomed)
        self._connection.commit()

    def close(self) -> None:
        """Write what is pending and close."""
        self._write()
        self._connection.close()

    def _write(self) -> None:
        self._connection.executemany(
            "INSERT OR REPLACE INTO stretches VALUES (?, ?, ?)",
            ((key, self._now_ns, value) for key, value in self._fresh),
        )
        self._connection.executemany(
            "UPDATE stretches SET used_ns = ? WHERE key = ?",
            ((self._now_ns, key) for key in self._used),
        )
        self._connection.commit()
        self._fresh, self._used, self._pending = [], [], 0


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


MEAN_LINES = 128  # short: one changed row costs its whole stretch
MOST_LINES = 4096
ImageOf = Callable[[bytes], str]


class LineStretch(NamedTuple):
    """Consecutive lines with their ends; `first` is the number of the first in its file."""

    first: int
    lines: list[bytes]


def line_stretches(path: Path, part: int, parts: int, image_of: ImageOf) -> Iterator[LineStretch]:
    """Yield the stretches of share `part` of `parts`; the shares are disjoint and complete.

    `image_of` names the image that a line shows, or gives an empty string where none is
    known; such lines stay with those before them.
    """
    size = path.stat().st_size
    with open(path, "rb") as file:
        start = _seam(file, size * part // parts, image_of)
        stop = size if part + 1 == parts else _seam(file, size * (part + 1) // parts, image_of)
        first = 1 + _count_lines(file, start)
        file.seek(start)
        yield from _cut(file, stop - start, first, image_of)


def _cut(file: BinaryIO, length: int, first: int, image_of: ImageOf) -> Iterator[LineStretch]:
    lines: list[bytes] = []
    border = ""  # the image after which a border was asked for
    while length > 0:
        line = file.readline()
        length -= len(line)
        if border and image_of(line) not in ("", border):
            yield LineStretch(first, lines)
            first, lines, border = first + len(lines), [], ""
        lines.append(line)
        if not border and (zlib.crc32(line) % MEAN_LINES == 0 or len(lines) >= MOST_LINES):
            border = image_of(line)
    if lines:
        yield LineStretch(first, lines)


def _seam(file: BinaryIO, position: int, image_of: ImageOf) -> int:
    """Return where the first image begins that starts after the line across `position`."""
    if position == 0:
        return 0
    file.seek(position - 1)
    position += len(file.readline()) - 1
    shown = ""
    while line := file.readline():
        image = image_of(line)
        if shown and image not in ("", shown):
            break
        shown = shown or image
        position += len(line)
    return position


def _count_lines(file: BinaryIO, stop: int) -> int:
    file.seek(0)
    count = position = 0
    while position < stop and (chunk := file.read(min(CHUNK, stop - position))):
        count += chunk.count(b"\n")
        position += len(chunk)
    return count
