"""Prepare images on threads while the model reads the batch before: decode, resize, patchify.

PIL and numpy release the interpreter lock in their loops, so threads suffice.
"""

import os
import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

from PIL import Image

Item = TypeVar("Item")
Prepared = TypeVar("Prepared")
LOOKAHEAD = 2  # batches in preparation


def opened(item: Image.Image | Callable[[], Image.Image]) -> Image.Image:
    """Return the image, or what the callable opens: then opening is done on the threads too."""
    return item() if callable(item) else item


def prepared_batches(
    items: Iterable[Item], prepare: Callable[[Item], Prepared], batch_size: int
) -> Iterator[list[Prepared]]:
    """Yield lists of at most `batch_size` prepared items, in order, made ahead of use.

    `items` is iterated by one background thread. An error of `items` or `prepare` is raised
    here, after the batches before it.
    """
    threads = min(8, os.cpu_count() or 1)
    waiting: queue.Queue[list[Future[Prepared]] | BaseException | None] = queue.Queue(LOOKAHEAD)
    stop = threading.Event()
    with ThreadPoolExecutor(threads) as pool:

        def put(entry: list[Future[Prepared]] | BaseException | None) -> None:
            while not stop.is_set():
                try:
                    return waiting.put(entry, timeout=0.1)
                except queue.Full:
                    continue

        def read() -> None:
            source = iter(items)
            try:
                while batch := list(islice(source, batch_size)):
                    put([pool.submit(prepare, item) for item in batch])
                    if stop.is_set():
                        return
                put(None)
            except BaseException as error:  # handed to the consumer
                put(error)

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        try:
            while (entry := waiting.get()) is not None:
                if isinstance(entry, BaseException):
                    raise entry
                yield [future.result() for future in entry]
        finally:
            stop.set()
            reader.join()
