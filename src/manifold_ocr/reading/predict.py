"""Read samples with a model; each row is read once per model, image and code, then kept.

Under torchrun each process reads its share, and finds those of the others in the cache.

A recognizer that keeps features of images between runs is timed on some rows without them:
whichever system reads second would seem many times as fast otherwise.
"""

import json
import os
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

from manifold_ocr.code_hash import code_fingerprint, installed
from manifold_ocr.config import ModelConfig, Spaces
from manifold_ocr.errors import UserError
from manifold_ocr.files import cache_root, sha256_json, sha256_tree
from manifold_ocr.images import load_sample
from manifold_ocr.models.base import OcrModel, Recognition, SampleReader, prompts_of
from manifold_ocr.records import Prediction, Sample
from manifold_ocr.resources import GpuMonitor, gpu_present, progress

FLUSH_EVERY = 64
POLL_SECONDS = 0.5


@dataclass(frozen=True)
class Reading:
    """Predictions in the order of the samples, how many this process read, and its seconds.

    `gap_texts` are the same readings with spaces at wide gaps, where the model decodes frames.
    """

    predictions: list[Prediction]
    fresh: int
    seconds: float
    gap_texts: list[str | None] = field(default_factory=list)


LIBRARIES = ("torch", "transformers", "tokenizers", "peft", "onnxruntime", "bitsandbytes", "pillow")


def reading_fingerprint(
    model: ModelConfig,
    weights: Sequence[Path],
    max_new_tokens: int,
    modules: Sequence[str],
    spaces: Spaces = "model",
) -> str:
    """Return one SHA-256 over all that decides what a model reads in a picture.

    `weights` are the folders of base model and adapter, `modules` the code of the family,
    `spaces` is `decode.spaces`.
    How weights are held, how a picture is prepared (pixel budget, processor), where the model
    runs and the versions of the libraries count too.
    """
    processor = Path(model.processor_id)
    return sha256_json(
        {
            "weights": [sha256_tree(folder) for folder in weights],
            "processor": sha256_tree(processor)
            if model.processor_id and processor.is_dir()
            else model.processor_id,
            "precision": model.precision,
            "quantization": model.quantization,
            "max_pixels": model.max_pixels,
            "generation_max_length": max_new_tokens,
            "spaces": spaces,
            "gpu": gpu_present(),
            "versions": {name: installed(name) for name in LIBRARIES},
            "code": code_fingerprint(["manifold_ocr.reading.predict", *modules]),
        }
    )


def row_key(sample: Sample) -> str:
    """Return what a reading depends on besides the model: pixels, crop, task, question."""
    return sha256_json(
        [sample.image_sha256 or sample.image, sample.box, sample.max_pixels, sample.task,
         sample.question]
    )  # fmt: skip


def read_with(
    model: OcrModel, samples: Iterable[Sample], image_root: Path
) -> Iterator[Recognition]:
    """Yield a recognition a sample, in order, without any cache."""
    samples = list(samples)
    if isinstance(model, SampleReader):
        yield from model.recognize_samples(samples, image_root)
        return
    images = (partial(load_sample, sample, image_root) for sample in samples)  # opened ahead
    yield from model.recognize(images, prompts_of(model, samples))


def predict(
    model: OcrModel, samples: Sequence[Sample], image_root: Path, fingerprint: str, name: str
) -> Reading:
    """Return a prediction for every sample, reading only what the cache lacks.

    Results are appended to output/cache/predictions/<fingerprint>.jsonl while the model
    reads, so that an interrupted run goes on where it stopped. Of several processes each
    appends to a file of its own, and returns when all rows have been read.

    Raises:
        UserError: no samples, or an image that cannot be read (named with its row).
    """
    if not samples:
        raise UserError(f"{name}: nothing to read: the split has no rows; check manifest filters")
    folder = cache_root() / "predictions"
    rank, processes = process_share()
    store = folder / (f"{fingerprint}.rank{rank}.jsonl" if rank else f"{fingerprint}.jsonl")
    known = _load(folder, fingerprint)
    missing = [sample for sample in samples[rank::processes] if row_key(sample) not in known]
    started = time.monotonic()
    if missing:
        known.update(_read_missing(model, missing, image_root, store, name))
    seconds = time.monotonic() - started
    keys = [row_key(sample) for sample in samples]
    while not all(key in known for key in keys):
        time.sleep(POLL_SECONDS)
        known |= _load(folder, fingerprint)
    predictions = [
        Prediction(
            id=sample.id,
            text=found.text,
            confidence=found.confidence,
            vision_tokens=found.vision_tokens,
        )
        for sample, key in zip(samples, keys, strict=True)
        for found in [known[key]]
    ]
    return Reading(predictions, len(missing), seconds, [known[key].gap_text for key in keys])


def process_share() -> tuple[int, int]:
    """Return (number of this process, number of processes) as torchrun gives them, or (0, 1)."""
    return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))


def _load(folder: Path, fingerprint: str) -> dict[str, Recognition]:
    """Return what the stores of all processes hold; the first process's counts."""
    known: dict[str, Recognition] = {}
    for store in sorted(folder.glob(f"{fingerprint}.rank*.jsonl")):
        known |= _load_store(store)
    return known | _load_store(folder / f"{fingerprint}.jsonl")


def _load_store(store: Path) -> dict[str, Recognition]:
    """Return what a store holds; a last line cut short by a kill is ignored."""
    known: dict[str, Recognition] = {}
    if not store.exists():
        return known
    with open(store, encoding="utf-8") as file:
        for line in file:
            if not line.endswith("\n"):
                break
            value = json.loads(line)
            known[value["key"]] = Recognition(
                value["text"], value["confidence"], value["vision_tokens"], value.get("gap_text")
            )
    return known


def _read_missing(
    model: OcrModel, samples: list[Sample], image_root: Path, store: Path, name: str
) -> dict[str, Recognition]:
    found: dict[str, Recognition] = {}
    store.parent.mkdir(parents=True, exist_ok=True)
    _drop_partial_line(store)
    with open(store, "a", encoding="utf-8") as file:
        results = read_with(model, samples, image_root)
        paired = zip(samples, results, strict=True)
        for count, (sample, result) in enumerate(
            progress(paired, f"read with {name}", len(samples)), 1
        ):
            key = row_key(sample)
            found[key] = result
            row = {
                "key": key,
                "text": result.text,
                "confidence": result.confidence,
                "vision_tokens": result.vision_tokens,
            }
            if result.gap_text is not None:
                row["gap_text"] = result.gap_text
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            if count % FLUSH_EVERY == 0:
                file.flush()
    return found


def _drop_partial_line(store: Path) -> None:
    if not store.exists():
        return
    content = store.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        with open(store, "rb+") as file:
            file.truncate(whole)


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

    The cost holds `rows` (that were read), `timed_rows` (some of them, where features are kept
    between runs) and their `rows_per_second`, `peak_memory_gib` or `peak_gpu_memory_gib`, and
    with a GPU `gpu_watts`, `gpu_watt_hours`, `gpu_busy_percent`.
    """
    with CostMeter() as meter:
        reading = predict(model, samples, image_root, fingerprint, name)
    rows, seconds = reading.fresh, reading.seconds
    if rows and isinstance(model, SampleReader):
        chosen = samples[:: max(1, len(samples) // PROBE_ROWS)][:PROBE_ROWS]
        with CostMeter() as meter:
            rows = sum(
                1 for _ in model.recognize(partial(load_sample, s, image_root) for s in chosen)
            )
        seconds = meter.seconds
    if not rows or not seconds:
        return reading, {}
    return reading, {
        "rows": reading.fresh,
        "timed_rows": rows,
        "rows_per_second": rows / seconds,
        **meter.values,
    }


def _cuda() -> Any | None:
    """Return torch.cuda where this process uses a GPU; never imports torch."""
    torch = sys.modules.get("torch")
    return torch.cuda if torch is not None and torch.cuda.is_initialized() else None
