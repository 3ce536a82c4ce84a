"""Jobs in SQLite: they survive a restart, and each ends exactly once."""

import fcntl
import json
import sqlite3
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from manifold_ocr.errors import UserError

State = Literal["queued", "running", "done", "failed", "cancelled"]
ENDED = ("done", "failed", "cancelled")
MOST_ATTEMPTS = 3  # a job that was running at this many ends of the server is given up

SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY, owner TEXT NOT NULL, state TEXT NOT NULL, durable INTEGER NOT NULL,
    request TEXT NOT NULL, created REAL NOT NULL, finished REAL,
    attempts INTEGER NOT NULL DEFAULT 0,
    pages INTEGER, pages_done INTEGER NOT NULL DEFAULT 0, result TEXT, error TEXT, status INTEGER
);
CREATE INDEX IF NOT EXISTS by_state ON jobs (state, created);
"""


@dataclass(frozen=True, kw_only=True)
class Job:
    """A document to read: what was asked, how far it is, what came of it.

    `status` is the HTTP status that a failure has where somebody waits for it.
    """

    id: str
    owner: str
    state: State
    durable: bool
    request: dict[str, Any] = field(default_factory=dict)
    created: float = 0.0
    finished: float | None = None
    attempts: int = 0
    pages: int | None = None
    pages_done: int = 0
    result: dict[str, Any] | None = None
    error: str | None = None
    status: int | None = None


class JobStore:
    """The jobs of one server, in `folder`/jobs.sqlite, their documents beside it."""

    def __init__(self, folder: Path) -> None:
        """Open or create the store.

        Raises:
            UserError: another server uses the folder (the two would take each other's jobs), or
                it cannot be written.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._held = open(folder / ".lock", "w", encoding="utf-8")  # noqa: SIM115
        except OSError as error:
            reason = error.strerror or error
            raise UserError(f"{folder}: {reason}; choose a --data that can be written") from error
        try:
            fcntl.flock(self._held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._held.close()
            raise UserError(f"{folder}: another server uses it; choose another --data") from error
        self.folder = folder
        self._lock = threading.RLock()
        self._base = sqlite3.connect(folder / "jobs.sqlite", check_same_thread=False)
        self._base.row_factory = sqlite3.Row
        self._base.execute("PRAGMA journal_mode=WAL")
        self._base.execute("PRAGMA synchronous=NORMAL")  # with WAL: safe against kills
        self._base.executescript(SCHEMA)

    def document(self, job_id: str) -> Path:
        """Return where the document of a job is kept."""
        return self.folder / f"{job_id}.document"

    def recover(self) -> list[Job]:
        """After a restart: return the jobs to run, oldest first.

        Jobs that somebody waited for are gone with the connection. A job that was running
        when the server ended is tried again, `MOST_ATTEMPTS` times in all.
        """
        with self._change() as base:
            gone = "('queued', 'running') AND durable = 0"
            base.execute(f"UPDATE jobs SET state = 'cancelled' WHERE state IN {gone}")  # noqa: S608
            base.execute(
                "UPDATE jobs SET state = 'failed', finished = ?, status = 500, "
                "error = 'the server ended while reading it, each time it was tried' "
                "WHERE state = 'running' AND attempts >= ?",
                (time.time(), MOST_ATTEMPTS),
            )
            base.execute("UPDATE jobs SET state = 'queued', pages_done = 0 WHERE state = 'running'")
        for job in self._select("state IN ('done', 'failed', 'cancelled') AND durable = 0"):
            self.delete(job.id)
        known = {self.document(job.id) for job in self._select("1 = 1")}
        for path in set(self.folder.glob("*.document*")) - known:
            path.unlink(missing_ok=True)
        return self._select("state = 'queued'")

    def add(self, owner: str, request: dict[str, Any], *, durable: bool, job_id: str = "") -> Job:
        """Add a job whose document is in place."""
        job_id = job_id or new_id()
        with self._change() as base:
            base.execute(
                "INSERT INTO jobs (id, owner, state, durable, request, created) "
                "VALUES (?, ?, 'queued', ?, ?, ?)",
                (job_id, owner, int(durable), json.dumps(request), time.time()),
            )
        found = self.get(job_id)
        assert found is not None
        return found

    def get(self, job_id: str) -> Job | None:
        """Return a job, or None."""
        found = self._select("id = ?", job_id)
        return found[0] if found else None

    def start(self, job_id: str) -> Job | None:
        """Mark a queued job as running; None where it is no longer queued."""
        with self._change() as base:
            done = base.execute(
                "UPDATE jobs SET state = 'running', attempts = attempts + 1 "
                "WHERE id = ? AND state = 'queued'",
                (job_id,),
            )
            return self.get(job_id) if done.rowcount else None

    def progress(self, job_id: str, pages: int, done: int) -> bool:
        """Note pages read; return whether the job still runs (it may have been canceled)."""
        with self._change() as base:
            changed = base.execute(
                "UPDATE jobs SET pages = ?, pages_done = ? WHERE id = ? AND state = 'running'",
                (pages, done, job_id),
            )
            return changed.rowcount > 0

    def finish(self, job_id: str, result: dict[str, Any]) -> bool:
        """End a running job; False where it had ended already: nothing is changed then."""
        return self._end(job_id, "done", "running", result=json.dumps(result, ensure_ascii=False))

    def fail(self, job_id: str, error: str, status: int) -> bool:
        """End a running job with a reason."""
        return self._end(job_id, "failed", "running", error=error, status=status)

    def withdraw(self, job_id: str) -> bool:
        """End a job that still waits; False where it has begun or ended."""
        return self._end(job_id, "cancelled", "queued")

    def cancel(self, job_id: str) -> bool:
        """End a job that has not ended."""
        with self._lock:
            return self.withdraw(job_id) or self._end(job_id, "cancelled", "running")

    def delete(self, job_id: str) -> None:
        """Forget a job and its document."""
        with self._change() as base:
            base.execute("DELETE FROM jobs WHERE id = ?", (job_id,))
        self.document(job_id).unlink(missing_ok=True)

    def purge(self, older_than: float) -> int:
        """Delete jobs that ended more than `older_than` seconds ago; return how many."""
        old = self._select("finished < ?", time.time() - older_than)
        for job in old:
            self.delete(job.id)
        return len(old)

    def waiting(self) -> int:
        """Return how many jobs are queued."""
        with self._lock:
            row = self._base.execute("SELECT COUNT(*) FROM jobs WHERE state = 'queued'").fetchone()
            return int(row[0])

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._base.close()
        self._held.close()

    def _end(
        self,
        job_id: str,
        state: State,
        before: State,
        *,
        result: str | None = None,
        error: str | None = None,
        status: int | None = None,
    ) -> bool:
        with self._change() as base:
            done = base.execute(
                "UPDATE jobs SET state = ?, finished = ?, result = ?, error = ?, status = ? "
                "WHERE id = ? AND state = ?",
                (state, time.time(), result, error, status, job_id, before),
            )
            return done.rowcount > 0

    @contextmanager
    def _change(self) -> Iterator[sqlite3.Connection]:
        with self._lock, self._base:
            yield self._base

    def _select(self, condition: str, *values: Any) -> list[Job]:
        query = f"SELECT * FROM jobs WHERE {condition} ORDER BY created, rowid"  # noqa: S608
        with self._lock:
            rows = [dict(row) for row in self._base.execute(query, values)]
        return [_job(row) for row in rows]


def new_id() -> str:
    """Return an id that nobody can guess."""
    return uuid.uuid4().hex


def _job(row: dict[str, Any]) -> Job:
    row["durable"] = bool(row["durable"])
    row["request"] = json.loads(row["request"])
    row["result"] = json.loads(row["result"]) if row["result"] else None
    return Job(**row)
