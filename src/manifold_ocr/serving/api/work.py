"""The threads that read jobs, and the bounded queue before them."""

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from manifold_ocr.errors import UserError
from manifold_ocr.reading.page import Mode
from manifold_ocr.serving.api.jobs import Job, JobStore
from manifold_ocr.serving.documents import Bounds, OpenedPage, Reader, TooLargeError, page_state
from manifold_ocr.serving.isolation import DocumentTimeoutError, Isolation

LOG = logging.getLogger("manifold_ocr.serving")


@dataclass(frozen=True, kw_only=True)
class ServerSettings:
    """What a server allows and where it keeps its jobs.

    `queue` bounds the jobs that wait, `queue_seconds` how long a request waits there before it
    is refused, `job_seconds` the time of one job, `keep_seconds` how long an ended job and its
    document are kept. `archive` is what /api/verify compares with,
    `metrics` the folder that /api/metrics reads.
    """

    data: Path
    keys: Path | None = None
    archive: Path | None = None
    metrics: Path = Path("metrics")
    workers: int = 2
    queue: int = 64
    queue_seconds: float = 120.0
    job_seconds: float = 300.0
    grace_seconds: float = 20.0
    keep_seconds: float = 3600.0
    bounds: Bounds = field(
        default_factory=lambda: Bounds(bytes=32 << 20, pages=200, pixels=50_000_000)
    )


class BusyError(Exception):
    """The queue is full; `seconds` is when to ask again."""

    def __init__(self, seconds: int) -> None:
        """Say when the queue is expected to have room."""
        super().__init__(f"the queue is full; ask again in {seconds} s")
        self.seconds = seconds


class Workers:
    """Read queued jobs, `settings.workers` at a time."""

    def __init__(self, store: JobStore, reader: Reader, settings: ServerSettings) -> None:
        self.store, self.reader, self.settings = store, reader, settings
        self.isolation = Isolation()
        self.pages_read = 0
        self.seconds_per_job = 2.0  # a running mean, for Retry-After
        self.running = 0
        self.draining = False
        self._queue: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._lock, self._adding = threading.Lock(), threading.Lock()
        self._waiting: dict[str, list[Callable[[], None]]] = {}
        self._threads = [
            threading.Thread(target=self._run, name=f"reader-{n}", daemon=True)
            for n in range(settings.workers)
        ]

    def take_up(self) -> int:
        """Queue what a former server left; return how many jobs that is.

        To be called before the first request: what this server was asked is not left over.
        """
        left = self.store.recover()
        for job in left:
            self._queue.put(job.id)
        return len(left)

    def start(self) -> None:
        """Begin to read."""
        for thread in self._threads:
            thread.start()

    def check_room(self) -> None:
        """Raise `BusyError` where the queue is full."""
        waiting = self.store.waiting()
        if waiting >= self.settings.queue:
            raise BusyError(self.seconds_until_room(waiting))

    def seconds_until_room(self, waiting: int) -> int:
        """Return in how many seconds that many jobs will have ended, from 1 to 600."""
        seconds = self.seconds_per_job * waiting / self.settings.workers
        return max(1, min(600, round(seconds)))

    @contextmanager
    def room(self) -> Iterator[None]:
        """Hold others back while a job is added; raise `BusyError` where the queue is full."""
        with self._adding:
            self.check_room()
            yield

    def add(self, job: Job, ended: Callable[[], None] | None = None) -> None:
        """Queue a job of the store; `ended` is called once it has ended."""
        if ended is not None:
            with self._lock:
                self._waiting.setdefault(job.id, []).append(ended)
        self._queue.put(job.id)

    def tell_ended(self, job_id: str) -> None:
        """Call those who wait for a job."""
        with self._lock:
            callbacks = self._waiting.pop(job_id, [])
        for callback in callbacks:
            callback()

    def stop(self) -> None:
        """Let running jobs end, at most `grace_seconds`; the rest waits for the next start."""
        self.draining = True
        for _ in self._threads:
            self._queue.put(None)
        until = time.monotonic() + self.settings.grace_seconds
        # none has started where the model is still loading
        for thread in (thread for thread in self._threads if thread.ident is not None):
            thread.join(max(0.0, until - time.monotonic()))
        self.isolation.close()

    def _run(self) -> None:
        while (job_id := self._queue.get()) is not None:
            if self.draining:
                return
            job = self.store.start(job_id)
            if job is None:  # canceled, or it waited too long
                self.tell_ended(job_id)
                continue
            with self._lock:
                self.running += 1
            started = time.monotonic()
            try:
                self._work(job)
            finally:
                with self._lock:
                    self.running -= 1
                    taken = time.monotonic() - started
                    self.seconds_per_job += 0.1 * (taken - self.seconds_per_job)
                self.tell_ended(job_id)

    def _work(self, job: Job) -> None:
        """Read a job's pages and end it, whatever happens."""
        path = self.store.document(job.id)
        try:
            result = self._read(job, path)
            if result is not None:
                self.store.finish(job.id, result)
        except TooLargeError as error:
            self.store.fail(job.id, _without(path, error), 413)
        except DocumentTimeoutError as error:
            self.store.fail(job.id, _without(path, error), 504)
        except UserError as error:
            self.store.fail(job.id, _without(path, error), 422)
        except Exception as error:
            LOG.exception("job failed", extra={"facts": {"job": job.id}})
            self.store.fail(job.id, f"internal error ({type(error).__name__})", 500)

    def _read(self, job: Job, path: Path) -> dict[str, Any] | None:
        """Return the result, or None where the job was canceled."""
        until = time.monotonic() + self.settings.job_seconds
        asked = job.request
        bounds = self.settings.bounds
        count, pages = self.isolation.pages(path, asked["pages"], asked["dpi"], bounds)
        read: list[dict[str, Any]] = []
        if not self.store.progress(job.id, count, 0):
            return None
        for opened in pages:
            read.append(self._page(opened, asked["mode"], path))
            if not self.store.progress(job.id, count, len(read)):
                return None
            if time.monotonic() > until:
                seconds = self.settings.job_seconds
                raise DocumentTimeoutError(
                    f"gave up after {seconds:g} s and {len(read)} pages; ask for fewer pages"
                )
        if all("error" in page for page in read):
            raise UserError(read[0]["error"])
        return {"model": getattr(self.reader, "name", ""), "read": read}

    def _page(self, opened: OpenedPage, mode: Mode, path: Path) -> dict[str, Any]:
        if opened.image is None:
            return {"page": opened.number, "error": _without(path, opened.error)}
        try:
            page = self.reader.read(opened.image, mode)
        except UserError as error:
            return {"page": opened.number, "error": _without(path, error)}
        with self._lock:
            self.pages_read += 1
        return {"page": opened.number, **page_state(page)}


def _without(path: Path, message: object) -> str:
    """Return a message without where the server keeps the document."""
    return str(message).replace(str(path), "document").replace(path.name, "document")
