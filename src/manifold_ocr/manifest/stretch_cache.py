"""Outcomes of stretches, kept between builds: an SQLite file shared by processes.

Each entry is written whole or not at all, and its value carries a checksum; two builds at
once write equal values. What was not used for longest goes first when the file grows.
"""

import sqlite3
from pathlib import Path

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
