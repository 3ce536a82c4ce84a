"""Prepare images on threads while the model reads the batch before: decode, resize, patchify.

PIL and numpy release the interpreter lock in their loops, so threads suffice.
"""

import os
import queue
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from types import FrameType
from typing import Any, TypeVar

from torch.utils.data import DataLoader, Dataset

Item = TypeVar("Item")
Prepared = TypeVar("Prepared")
Joined = TypeVar("Joined")
LOOKAHEAD = 2  # batches in preparation
SECONDS_TO_SAVE = 60  # that a worker lives on after SIGTERM


def prepared_batches(
    items: Iterable[Item],
    prepare: Callable[[Item], Prepared],
    batch_size: int,
    join: Callable[[list[Prepared]], Joined],
) -> Iterator[Joined]:
    """Yield `join` of lists of at most `batch_size` prepared items, in order, ahead of use.

    `items` is iterated, and `join` run, by one background thread. An error of any of the
    three is raised here, after the batches before it.
    """
    waiting: queue.Queue[Joined | _Failure | None] = queue.Queue(1)
    stop = threading.Event()

    def put(entry: Joined | _Failure | None) -> None:
        while not stop.is_set():
            try:
                return waiting.put(entry, timeout=0.1)
            except queue.Full:
                continue

    def read() -> None:
        source = iter(items)
        started: deque[list[Future[Prepared]]] = deque()
        try:
            with ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as pool:
                while not stop.is_set():
                    while len(started) < LOOKAHEAD:
                        batch = list(islice(source, batch_size))
                        if not batch:
                            break
                        started.append([pool.submit(prepare, item) for item in batch])
                    if not started:
                        break
                    put(join([future.result() for future in started.popleft()]))
            put(None)
        except BaseException as error:  # handed to the consumer
            put(_Failure(error))

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        while (entry := waiting.get()) is not None:
            if isinstance(entry, _Failure):
                raise entry.error
            yield entry
    finally:
        stop.set()
        reader.join()


@dataclass(frozen=True)
class _Failure:
    error: BaseException


@dataclass(frozen=True)
class PreparedItems(Dataset[Prepared]):
    """Items that worker processes prepare; everything must be picklable or forked."""

    items: Sequence[Any]
    prepare: Callable[[Any], Prepared]

    def __len__(self) -> int:
        """Return the number of items."""
        return len(self.items)

    def __getitem__(self, index: int) -> Prepared:
        """Prepare one item."""
        return self.prepare(self.items[index])


def leave_signals_to_main(worker: int) -> None:
    """Let a loader's process outlast a signal to the whole group, while the main one saves.

    Ctrl-C in a terminal and the end of a cluster's job reach every process. Ctrl-C is the main
    one's to handle; after SIGTERM this one lives on for a while, and is then ended by SIGALRM.
    `worker` is its number, as DataLoader's worker_init_fn is given it.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, _end_later)


def _end_later(number: int, frame: FrameType | None) -> None:
    signal.alarm(SECONDS_TO_SAVE)


def batches_from_processes(
    items: Sequence[Any],
    prepare: Callable[[Any], Prepared],
    batch_size: int,
    join: Callable[[list[Prepared]], Any],
    workers: int,
) -> Iterator[Any]:
    """Yield joined batches in order, prepared by `workers` processes and pinned.

    Decoding PNG holds the interpreter lock, so threads cannot feed a fast GPU.
    """
    loader = DataLoader(
        PreparedItems(items, prepare),
        batch_size=batch_size,
        collate_fn=join,
        num_workers=workers,
        pin_memory=True,
        prefetch_factor=2,
        worker_init_fn=leave_signals_to_main,
    )
    yield from loader
