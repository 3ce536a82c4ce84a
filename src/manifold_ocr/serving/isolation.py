"""Run what opens strangers' files in processes of their own, with bounds on memory and time.

A crash, a hang or an exhausted memory ends that process and becomes an error of the one
document. PDFium is not safe in threads either; here each process has its own.
"""

import multiprocessing
import resource
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from manifold_ocr.errors import UserError
from manifold_ocr.serving.documents import (
    Bounds,
    OpenedPage,
    TooLargeError,
    open_document,
    pages_of,
)

MEMORY_BYTES = 4 << 30  # of address space: a page of 100 million pixels takes 0.9 GiB
REUSED = 200  # documents after which a process is replaced
Work = Callable[..., Iterator[Any]]


class DocumentTimeoutError(UserError):
    """A document took longer than it may."""


class _Opener:
    """A process that runs one piece of work after another."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["manifold_ocr.serving.documents"])
        self.pipe, theirs = context.Pipe()
        self.process: BaseProcess = context.Process(target=_serve, args=(theirs,), daemon=True)
        self.process.start()
        theirs.close()
        self.uses = 0

    def end(self) -> None:
        self.pipe.close()
        self.process.kill()
        self.process.join()


class Isolation:
    """A few processes, started when needed and used again after work that ended well."""

    def __init__(self) -> None:
        """Start nothing yet."""
        self._idle: list[_Opener] = []
        self._lock = threading.Lock()
        self._closed = False

    def run(self, work: Work, *arguments: Any, seconds: float) -> Iterator[Any]:
        """Yield what the generator function `work` yields in another process.

        `seconds` bounds the time to each next value. Leaving the iteration early ends the
        process.

        Raises:
            DocumentTimeoutError: no value came in time.
            UserError: raised by `work`, or the process ended without one.
        """
        opener, ended = self._take(), False
        try:
            opener.pipe.send((work, arguments))
            while True:
                if not opener.pipe.poll(seconds):
                    raise DocumentTimeoutError(
                        f"the document took over {seconds:g} s; it was given up"
                    )
                kind, value = opener.pipe.recv()
                ended = kind != "value"
                if kind == "end":
                    return
                if kind == "error":
                    raise value
                yield value
        except (EOFError, BrokenPipeError, ConnectionResetError) as error:
            raise UserError(
                "the document ended the process that opened it (damaged, or too much memory)"
            ) from error
        finally:
            self._give_back(opener, ended)

    def pages(
        self, path: Path, pages: str, dpi: int, bounds: Bounds, *, seconds: float = 30.0
    ) -> tuple[int, Iterator[OpenedPage]]:
        """Return how many pages a file has and an iterator over the chosen ones.

        Raises:
            UserError: as `documents.open_document`; the iterator raises as `run`.
        """
        values = self.run(_pages, path, pages, dpi, bounds, seconds=seconds)
        return next(values), values

    def close(self) -> None:
        """End the idle processes; those at work end with their work."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for opener in idle:
            opener.end()

    def _take(self) -> _Opener:
        with self._lock:
            if self._idle:
                return self._idle.pop()
        return _Opener()

    def _give_back(self, opener: _Opener, ended: bool) -> None:
        opener.uses += 1
        with self._lock:
            if ended and not self._closed and opener.uses < REUSED:
                self._idle.append(opener)
                return
        opener.end()


def _serve(pipe: Connection) -> None:
    with suppress(ValueError, OSError):  # a lower hard limit stays
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    with suppress(EOFError, BrokenPipeError, ConnectionResetError, KeyboardInterrupt):
        while True:
            work, arguments = pipe.recv()
            _run(pipe, work, arguments)


def _run(pipe: Connection, work: Work, arguments: tuple[Any, ...]) -> None:
    try:
        for value in work(*arguments):
            pipe.send(("value", value))
        pipe.send(("end", None))
    except UserError as error:
        pipe.send(("error", error))
    except MemoryError:
        pipe.send(("error", TooLargeError("the document needs more memory than it may use")))
    except (BrokenPipeError, ConnectionResetError):
        raise
    except Exception as error:  # of a decoder: the document's fault, not the server's
        reason = f"the document cannot be opened ({type(error).__name__}: {error})"
        pipe.send(("error", UserError(reason)))


def _pages(path: Path, pages: str, dpi: int, bounds: Bounds) -> Iterator[Any]:
    with open_document(path, bounds) as document:
        yield len(document)
        yield from pages_of(document, pages, dpi, bounds=bounds)
