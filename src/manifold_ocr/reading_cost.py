"""What reading costs one system: rows a second, peak memory and GPU energy, where measurable.

A recogniser that keeps features of images between runs is timed on some rows without them:
whichever system reads second would seem many times as fast otherwise.
"""

import sys
import threading
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

from manifold_ocr.images import load_sample
from manifold_ocr.inference import Reading, predict
from manifold_ocr.models.base import OcrModel, SampleReader
from manifold_ocr.records import Sample
from manifold_ocr.training.gpu_monitor import GpuMonitor

PROBE_ROWS = 64
STATM = Path("/proc/self/statm")  # the second number: resident pages
PAGE_GIB = 4096 / 2**30


class CostMeter:
    """Measure seconds, peak memory and GPU energy of what runs inside the context.

    Memory is the GPU's, as PyTorch reserved it, where the GPU was used; otherwise this
    process's resident memory, sampled every `interval` seconds. Energy is NVML's mean power
    times the time, of a GPU that was used. What cannot be measured is absent.
    """

    def __init__(self, interval: float = 0.02) -> None:
        self.seconds = 0.0
        self.values: dict[str, float] = {}
        self._interval = interval
        self._resident = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._gpu = GpuMonitor()

    def __enter__(self) -> "CostMeter":
        """Start measuring."""
        if cuda := _cuda():
            cuda.reset_peak_memory_stats()
        self._gpu.__enter__()
        self._thread.start()
        self._start = time.monotonic()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop, and keep what was measured."""
        self.seconds = time.monotonic() - self._start
        self._stop.set()
        self._thread.join()
        self._gpu.__exit__(kind, error, trace)
        cuda = _cuda()
        if cuda and cuda.max_memory_allocated():
            self.values["peak_gpu_memory_gib"] = cuda.max_memory_reserved() / 2**30
            self.values |= self._gpu.summary()
        elif self._resident:
            self.values["peak_memory_gib"] = self._resident

    def _sample(self) -> None:
        while STATM.is_file():
            pages = int(STATM.read_text(encoding="ascii").split()[1])
            self._resident = max(self._resident, pages * PAGE_GIB)
            if self._stop.wait(self._interval):
                return


def predict_and_measure(
    model: OcrModel, samples: Sequence[Sample], image_root: Path, fingerprint: str, name: str
) -> tuple[Reading, dict[str, float]]:
    """Return `inference.predict`'s reading and what it cost; no cost where nothing was read.

    The cost holds `rows` (that were measured), `rows_per_second`, `peak_memory_gib` or
    `peak_gpu_memory_gib`, and with a GPU `gpu_watts`, `gpu_watt_hours`, `gpu_busy_percent`.
    """
    with CostMeter() as meter:
        reading = predict(model, samples, image_root, fingerprint, name)
    rows, seconds = reading.fresh, reading.seconds
    if rows and isinstance(model, SampleReader):
        chosen = samples[:: max(1, len(samples) // PROBE_ROWS)][:PROBE_ROWS]
        with CostMeter() as meter:
            rows = sum(
                1 for _ in model.recognise(partial(load_sample, s, image_root) for s in chosen)
            )
        seconds = meter.seconds
    if not rows or not seconds:
        return reading, {}
    return reading, {"rows": rows, "rows_per_second": rows / seconds, **meter.values}


def _cuda() -> Any | None:
    """Return torch.cuda where this process uses a GPU; never imports torch."""
    torch = sys.modules.get("torch")
    return torch.cuda if torch is not None and torch.cuda.is_initialized() else None
