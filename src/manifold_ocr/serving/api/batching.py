"""One model for many requests: lines that wait at the same time are read in one call."""

import queue
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from PIL import Image

from manifold_ocr.models.base import ImageSource, OcrModel, Recognition, opened


@dataclass(frozen=True, slots=True)
class _Request:
    images: list[Image.Image]
    answer: "Future[list[Recognition]]"


class SharedModel:
    """A recognizer that any thread may use; one thread of its own calls the model.

    `most` bounds the lines of one call, `wait` is how many seconds the first request waits
    for company. The protocol promises the same text whatever an image's neighbors, so
    batching changes no answer.
    """

    def __init__(self, model: OcrModel, most: int = 256, wait: float = 0.003) -> None:
        self.family, self.name = model.family, model.name
        self.calls = self.lines = 0
        self._model, self._most, self._wait = model, most, wait
        self._queue: queue.SimpleQueue[_Request | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="recognizer", daemon=True)
        self._thread.start()

    def recognize(
        self, images: Iterable[ImageSource], prompts: Sequence[str] | None = None
    ) -> Iterator[Recognition]:
        """Yield one result per image, in order."""
        request = _Request([opened(image) for image in images], Future())
        if not request.images:
            return
        self._queue.put(request)
        yield from request.answer.result()

    def vision_tokens(self, size: tuple[int, int]) -> int:
        """Return what the model says."""
        return self._model.vision_tokens(size)

    def close(self) -> None:
        """Stop once what was asked has been answered."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (first := self._queue.get()) is not None:
            batch, last = self._gather(first)
            self._read(batch)
            if last:
                return

    def _gather(self, first: _Request) -> tuple[list[_Request], bool]:
        batch, count = [first], len(first.images)
        until = time.monotonic() + self._wait
        while count < self._most:
            try:
                request = self._queue.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                break
            if request is None:
                return batch, True
            batch.append(request)
            count += len(request.images)
        return batch, False

    def _read(self, batch: list[_Request]) -> None:
        self.calls += 1
        self.lines += sum(len(request.images) for request in batch)
        try:
            results = list(self._model.recognize(i for r in batch for i in r.images))
        except Exception as error:
            if len(batch) == 1:
                batch[0].answer.set_exception(error)
                return
            for request in batch:  # one image must not cost the others their answer
                self._read([request])
            return
        for request in batch:
            size = len(request.images)
            request.answer.set_result(results[:size])
            results = results[size:]
