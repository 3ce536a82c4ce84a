"""What is known about image files, kept between runs: an SQLite file keyed by identity.

A file is known by its path below data/raw, its size and its modification time. An entry
whose file changed within two seconds of being hashed is not believed (a later write in the
same clock tick could hide), and each run hashes one hit in a hundred again.
"""

import os
import sqlite3
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

SETTLE_NS = 2_000_000_000
_SCHEMA = """
CREATE TABLE IF NOT EXISTS facts (
    path TEXT PRIMARY KEY, size INTEGER, mtime_ns INTEGER, hashed_ns INTEGER,
    sha256 BLOB, width INTEGER, height INTEGER, descriptor BLOB, problem TEXT
) WITHOUT ROWID
"""


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """Contents of one image file; `problem` (reason code and detail) where it is unusable."""

    sha256: bytes
    width: int
    height: int
    descriptor: bytes
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
            "SELECT size, mtime_ns, hashed_ns, sha256, width, height, descriptor, problem "
            "FROM facts WHERE path = ?",
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
            "INSERT OR REPLACE INTO facts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                (
                    name,
                    s.size,
                    s.mtime_ns,
                    now,
                    f.sha256,
                    f.width,
                    f.height,
                    f.descriptor,
                    f.problem,
                )
                for name, s, f in entries
            ),
        )
        self._connection.commit()

    def forget(self, prefix: str) -> None:
        """Drop all entries whose path starts with `prefix`."""
        self._connection.execute(
            "DELETE FROM facts WHERE path >= ? AND path < ?", (prefix, prefix + "\U0010ffff")
        )
        self._connection.commit()

    def names(self, prefix: str) -> Iterator[str]:
        """Yield the known paths that start with `prefix`, in order."""
        query = "SELECT path FROM facts WHERE path >= ? AND path < ? ORDER BY path"
        for (name,) in self._connection.execute(query, (prefix, prefix + "\U0010ffff")):
            yield name
