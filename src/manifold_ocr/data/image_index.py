"""What is known about image files: hash, size, perceptual hash; kept between runs.

A file is known by its path below data/raw, its size and its modification time. An entry
whose file changed within two seconds of being hashed is not believed (a later write in the
same clock tick could hide), and each run hashes one hit in a hundred again.

A difference hash (Krawetz, 2013; as in the ImageHash library) on a 33 x 32 grid, with a
dead zone so that blank paper gives no bits. Pillow averages in integers, so equal pixels
give equal bits on every machine. Measured by benchmarks/leakage.py: copies (JPEG, resize,
1-pixel crop) differ by at most 0.10, other pages of one template by at least 0.17.
"""

import hashlib
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from manifold_ocr.data.formats import is_image, walk_files
from manifold_ocr.errors import UserError
from manifold_ocr.files import sha256_file
from manifold_ocr.images import open_image
from manifold_ocr.resources import progress

SETTLE_NS = 2_000_000_000
_SCHEMA = """
CREATE TABLE IF NOT EXISTS images (
    path TEXT PRIMARY KEY, size INTEGER, mtime_ns INTEGER, hashed_ns INTEGER,
    sha256 BLOB, width INTEGER, height INTEGER, phash BLOB, problem TEXT
) WITHOUT ROWID
"""


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """Contents of one image file; `problem` (reason code and detail) where it is unusable."""

    sha256: bytes
    width: int
    height: int
    phash: bytes
    problem: str = ""


@dataclass(frozen=True, slots=True)
class FileState:
    """What the file system says about a file."""

    size: int
    mtime_ns: int

    @classmethod
    def of(cls, path: Path | str) -> "FileState":
        """Read size and modification time."""
        status = os.stat(path)  # noqa: PTH116 (called for every image)
        return cls(status.st_size, status.st_mtime_ns)


class ImageCache:
    """The facts of image files; opened by each process on its own.

    Entries hashed at or after `trusted_ns` (the start of this run) are believed as they are.
    """

    def __init__(self, path: Path, trusted_ns: int = 2**63 - 1) -> None:
        self._trusted_ns = trusted_ns
        path.parent.mkdir(parents=True, exist_ok=True)
        self._connection = sqlite3.connect(path, timeout=60.0)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=OFF")  # a lost cache costs time only
        self._connection.execute(_SCHEMA)

    def close(self) -> None:
        """Commit and close."""
        self._connection.commit()
        self._connection.close()

    def get(self, name: str, state: FileState) -> ImageFacts | None:
        """Return the facts of the file `name`, or None where they are unknown or stale."""
        row = self._connection.execute(
            "SELECT size, mtime_ns, hashed_ns, sha256, width, height, phash, problem "
            "FROM images WHERE path = ?",
            (name,),
        ).fetchone()
        if row is None or (row[0], row[1]) != (state.size, state.mtime_ns):
            return None
        if row[1] + SETTLE_NS > row[2] and row[2] < self._trusted_ns:
            return None
        return ImageFacts(*row[3:])

    def put(self, entries: Iterable[tuple[str, FileState, ImageFacts]]) -> None:
        """Store facts and commit."""
        now = time.time_ns()
        self._connection.executemany(
            "INSERT OR REPLACE INTO images VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                (
                    name,
                    s.size,
                    s.mtime_ns,
                    now,
                    f.sha256,
                    f.width,
                    f.height,
                    f.phash,
                    f.problem,
                )
                for name, s, f in entries
            ),
        )
        self._connection.commit()

    def forget(self, prefix: str) -> None:
        """Drop all entries whose path starts with `prefix`."""
        self._connection.execute(
            "DELETE FROM images WHERE path >= ? AND path < ?", (prefix, prefix + "\U0010ffff")
        )
        self._connection.commit()

    def names(self, prefix: str) -> Iterator[str]:
        """Yield the known paths that start with `prefix`, in order."""
        query = "SELECT path FROM images WHERE path >= ? AND path < ? ORDER BY path"
        for (name,) in self._connection.execute(query, (prefix, prefix + "\U0010ffff")):
            yield name


GRID = 32
BYTES = GRID * GRID // 8
DEAD_ZONE = 2  # gray levels
PREFIX = 4  # words compared first: other pages mostly differ enough in these


def perceptual_hash(image: Image.Image) -> bytes:
    """Return the 128-byte perceptual hash of an RGB or gray image."""
    small = image.convert("L").resize((GRID + 1, GRID), Image.Resampling.BILINEAR)
    grid = np.asarray(small, dtype=np.int16)
    return np.packbits(grid[:, 1:] - grid[:, :-1] > DEAD_ZONE).tobytes()


def _differing(rows: np.ndarray, phash: np.ndarray) -> np.ndarray:
    counts: np.ndarray = np.bitwise_count(rows ^ phash).sum(axis=1, dtype=np.uint16)
    return counts


class HashIndex:
    """Hashes of evaluation pages, searched exhaustively in order of their bit counts."""

    def __init__(self, hashes: np.ndarray) -> None:
        self._bits = np.bitwise_count(hashes).sum(axis=1, dtype=np.int64)
        self._order = np.argsort(self._bits, kind="stable")
        self._bits = self._bits[self._order]
        self._hashes = np.ascontiguousarray(hashes[self._order])
        self._prefixes = np.ascontiguousarray(self._hashes[:, :PREFIX].T)

    def near(self, phash: np.ndarray, limit: float) -> list[tuple[float, int]]:
        """Return (distance, row) of index rows within `limit`, nearest first.

        The distance is the number of differing bits over the sum of both bit counts (1 -
        Dice coefficient), in [0, 1]; it cannot be small unless the counts are close.
        """
        own = int(np.bitwise_count(phash).sum())
        widest = (1 + limit) / (1 - limit)
        low = np.searchsorted(self._bits, own / widest, "left")
        high = np.searchsorted(self._bits, own * widest, "right")
        if not own or low == high:
            return []
        total = self._bits[low:high] + own
        first = np.bitwise_count(self._prefixes[:, low:high] ^ phash[:PREFIX, None])
        first = first.sum(axis=0, dtype=np.uint16)
        rows = low + np.flatnonzero(first <= limit * total)  # a part cannot differ in more
        differing = _differing(self._hashes[rows], phash)
        distance = differing / (self._bits[rows] + own)
        hits = np.flatnonzero(distance <= limit)
        found = [(float(distance[i]), int(self._order[rows[i]])) for i in hits]
        return sorted(found)


BATCH = 64
RECHECK = 100  # one cache hit in this many is hashed again


@dataclass(frozen=True)
class CacheReport:
    """How many images were known, looked at anew, and hashed again as a check."""

    known: int
    fresh: int
    rechecked: int


def frame_name(image: str, frame: int) -> str:
    """Return the name under which page `frame` (from 0) of a file is known."""
    return f"{image}@{frame}" if frame else image


def look_at(path: Path, frame: int = 0) -> ImageFacts:
    """Return the facts of a page of an image file; one that cannot be used carries its problem.

    The hash of a later page is that of the file's hash and the frame's number.
    """
    try:
        digest = hashlib.sha256(path.read_bytes()).digest()
        if frame:
            digest = hashlib.sha256(digest + f"@{frame}".encode()).digest()
        image = open_image(path, frame)
    except FileNotFoundError:
        return ImageFacts(b"", 0, 0, b"", "missing_image: no such file")
    except (UserError, OSError) as error:
        reason = "unreadable_image"
        if path.is_file() and path.stat().st_size == 0:
            reason = "empty_image"
        detail = str(error).replace(f"{path}: ", "").replace(str(path), path.name)
        return ImageFacts(b"", 0, 0, b"", f"{reason}: {detail}")
    return ImageFacts(digest, image.width, image.height, perceptual_hash(image))


def prepare_images(
    raw_root: Path, corpora: Iterable[str], cache_path: Path, started_ns: int, workers: int
) -> CacheReport:
    """Bring the cache up to date with all image files of the named corpora.

    Only images that are new or whose size or time changed are read, by `workers` processes.
    """
    cache = ImageCache(cache_path, started_ns)
    known = fresh = rechecked = 0
    try:
        for corpus in corpora:
            scan = _scan(raw_root, corpus, cache)
            if scan is None:  # the disk disagrees with the cache: trust nothing of it
                cache.forget(f"{corpus}/")
                scan = _scan(raw_root, corpus, cache)
            missing, hits, checks = scan or ([], 0, 0)
            _read_images(raw_root, missing, cache, workers, corpus)
            known, fresh, rechecked = known + hits, fresh + len(missing), rechecked + checks
    finally:
        cache.close()
    return CacheReport(known, fresh, rechecked)


def _scan(raw_root: Path, corpus: str, cache: ImageCache) -> tuple[list[str], int, int] | None:
    """Return (images to read, hits, hits hashed again); None where a hit proved wrong."""
    missing: list[str] = []
    hits = checks = 0
    for name in walk_files(raw_root / corpus):
        if not is_image(name):
            continue
        name = f"{corpus}/{name}"
        facts = cache.get(name, FileState.of(raw_root / name))
        if facts is None:
            missing.append(name)
            continue
        hits += 1
        if hits % RECHECK == 0 and facts.sha256:
            checks += 1
            if sha256_file(raw_root / name) != facts.sha256.hex():
                return None
    return missing, hits, checks


def _read_images(
    raw_root: Path, names: list[str], cache: ImageCache, workers: int, corpus: str
) -> None:
    if not names:
        return
    tasks = [(str(raw_root), names[i : i + BATCH]) for i in range(0, len(names), BATCH)]
    if workers == 1 or len(tasks) == 1:
        results: Iterable[list[tuple[str, FileState, ImageFacts]]] = map(_read_batch, tasks)
        _store(results, len(tasks), cache, corpus)
        return
    with ProcessPoolExecutor(workers) as pool:
        _store(pool.map(_read_batch, tasks), len(tasks), cache, corpus)


def _store(
    results: Iterable[list[tuple[str, FileState, ImageFacts]]],
    total: int,
    cache: ImageCache,
    corpus: str,
) -> None:
    for entries in progress(results, f"look at {corpus} (x{BATCH})", total=total, unit="batch"):
        cache.put(entries)


def _read_batch(task: tuple[str, list[str]]) -> list[tuple[str, FileState, ImageFacts]]:
    root, names = task
    entries = []
    for name in names:
        path = Path(root) / name
        state = FileState.of(path)
        entries.append((name, state, look_at(path)))
    return entries
