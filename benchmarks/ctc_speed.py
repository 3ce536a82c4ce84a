"""CTC on a CPU: the loss against torch's own, reading against onnxruntime and RapidOCR.

    PYTHONPATH=src python benchmarks/ctc_speed.py

Random lines; needs data/base/pp-ocrv6-small (`dvc repro download_base`) and 2 cores.
"""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from manifold_ocr.config import ModelConfig
from manifold_ocr.models.ctc import model as ctc
from manifold_ocr.models.ctc.decode import line_pixels
from manifold_ocr.models.ctc.import_ppocr import wheel_onnx
from manifold_ocr.models.ctc.loss import Workspace, ctc_head_loss, plain_ctc_loss
from manifold_ocr.models.ctc.rows import line_labels, targets_of
from manifold_ocr.reading.engines.rapidocr import RapidOcr

CLASSES, HIDDEN, RANK, LINES = 18710, 120, 8, 16
BASE = Path("data/base/pp-ocrv6-small")


def seconds(run: Callable[[], object], repeats: int = 5) -> float:
    """Best time of one call after a warm-up."""
    run()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


def loss_speed() -> None:
    """One forward and backward of the head's last layer and CTC, 16 lines of 20 to 60 frames."""
    generator = torch.Generator().manual_seed(0)
    frames = torch.randint(20, 60, (LINES,), generator=generator)
    texts = [torch.randint(1, 200, (int(f) // 3,), generator=generator).tolist() for f in frames]
    targets = targets_of(line_labels(texts), frames)
    hidden = torch.randn(int(frames.sum()), HIDDEN, generator=generator, requires_grad=True)
    weight, bias = torch.randn(CLASSES, HIDDEN, generator=generator), torch.zeros(CLASSES)
    down = torch.randn(RANK, HIDDEN, generator=generator, requires_grad=True)
    up = torch.randn(CLASSES, RANK, generator=generator, requires_grad=True)
    workspace = Workspace()

    def ours() -> None:
        ctc_head_loss(hidden, hidden @ down.t(), weight, up, bias, targets, workspace).backward()

    def plain() -> None:
        logits = hidden @ weight.t() + bias + (hidden @ down.t()) @ up.t()
        plain_ctc_loss(logits, targets).backward()

    a, b = seconds(ours), seconds(plain)
    print(
        f"loss, {len(hidden)} frames: ours {a * 1e3:.0f} ms, torch {b * 1e3:.0f} ms, {b / a:.1f}x"
    )


def reading_speed() -> None:
    """Lines a second of the same 64 lines, read in turns so that a busy machine slows all alike."""
    random = np.random.default_rng(0)
    widths = random.integers(100, 700, 64)
    lines = [Image.fromarray(random.integers(0, 256, (48, w, 3), dtype=np.uint8)) for w in widths]
    best = in_turns(
        {"ours": ours(lines), "onnxruntime": onnx_plain(lines), "RapidOCR": rapidocr(lines)}
    )
    rates = {name: len(lines) / value for name, value in best.items()}
    for name, rate in rates.items():
        print(f"reading, {name}: {rate:.1f} lines/s, ours is {rates['ours'] / rate:.2f}x as fast")


def ours(lines: list[Image.Image]) -> Callable[[], object]:
    """Read with the product: two lines at once, one thread each."""
    reader = ctc.load(ModelConfig(id="pp-ocrv6-small"), BASE, None, None)
    return lambda: list(reader.recognize(lines))


def onnx_plain(lines: list[Image.Image]) -> Callable[[], object]:
    """Read with the wheel's whole graph: line by line, all cores inside a line."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = ctc.worker_count()
    session = onnxruntime.InferenceSession(str(wheel_onnx()), options)
    return lambda: [session.run(None, {"x": line_pixels(line)})[0].argmax(-1) for line in lines]


def rapidocr(lines: list[Image.Image]) -> Callable[[], object]:
    """Read with RapidOCR's recognizer, as its wheel sets it up."""
    engine = RapidOcr("line", ctc.worker_count())
    return lambda: list(engine.recognize(lines))


def in_turns(runs: dict[str, Callable[[], object]], rounds: int = 7) -> dict[str, float]:
    """Return the best seconds of each run; all are called once to warm up, then in turns."""
    best = dict.fromkeys(runs, float("inf"))
    for turn in range(rounds + 1):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            if turn:
                best[name] = min(best[name], time.perf_counter() - start)
    return best


if __name__ == "__main__":
    torch.set_num_threads(ctc.worker_count())
    loss_speed()
    reading_speed()
