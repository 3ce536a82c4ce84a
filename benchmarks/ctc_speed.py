"""CTC on a CPU: the loss against torch's own, reading against onnxruntime and RapidOCR.

    PYTHONPATH=src python benchmarks/ctc_speed.py
    PYTHONPATH=src python benchmarks/ctc_speed.py --whole
    PYTHONPATH=src python benchmarks/ctc_speed.py --device cuda

Random lines; needs data/base/pp-ocrv6-small (`dvc repro download_base`) and 2 cores. With
`--whole` on a CPU, or `--device cuda`: steps of the whole recognizer, as it is trained with
`train.freeze` none and early, beside the plain recipe (one padded batch, float32, log_softmax and
ctc_loss of torch).
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

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
WINDOW = 4096  # lines that are sorted by width before they are cut into batches, as in training


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


def training_speed(base: Path, batch: int) -> None:
    """Lines per second of whole training steps on a GPU, ours and the plain recipe's."""
    from manifold_ocr.models.ctc.rows import collate_lines

    random = np.random.default_rng(0)
    rows = []
    for width in sorted(8 * random.integers(8, 90, WINDOW)):
        text = random.integers(1, 200, max(2, width // 24)).tolist()
        rows.append((random.integers(0, 256, (48, width, 3), dtype=np.uint8), text))
    chosen = [rows[at : at + batch] for at in range(0, WINDOW, WINDOW // 16)]
    ready = [collate_lines(part) for part in chosen]
    rates = {
        "ours, freeze none": step_rate(base, "none", 0, ready, batch),
        "ours, freeze early": step_rate(base, "early", 0, ready, batch),
        "ours, LoRA of all pointwise layers": step_rate(base, "none", 8, ready, batch),
        "plain, padded, float32": plain_rate(base, chosen),
    }
    started = time.perf_counter()
    for part in chosen:
        collate_lines(part)
    made = batch * len(chosen) / (time.perf_counter() - started)
    for name, rate in rates.items():
        print(f"training, {batch} lines a step, {name}: {rate:.0f} lines/s", flush=True)
    print(f"training, batches made: {made:.0f} lines/s per process", flush=True)


def whole_on_cpu(base: Path, kept: int = 4572) -> None:
    """Lines per second of steps of the whole recognizer on a CPU, 16 lines each.

    Ours computes as many classes as the default corpus has likely ones (see `ctc.likely`).
    """
    from manifold_ocr.models.ctc.rows import collate_lines
    from manifold_ocr.models.device import keep_freed_memory

    random = np.random.default_rng(0)
    chosen = []
    for width in (120, 240, 368, 480, 640):
        widths = width + random.integers(-4, 5, LINES)
        text = random.integers(1, 200, width // 24).tolist()
        chosen.append([(random.integers(0, 256, (48, int(w), 3), dtype=np.uint8), text)
                       for w in widths])  # fmt: skip
    plain = plain_rate(base, chosen)
    keep_freed_memory()
    ready = [collate_lines(part, np.arange(kept)) for part in chosen]
    for name, half in (("bfloat16", True), ("float32", False)):
        ours = step_rate(base, "none", 0, ready, LINES, half=half)
        print(f"training on a CPU, whole recognizer, {name}: {ours:.1f} lines/s, "
              f"plain, padded, float32: {plain:.1f}, {ours / plain:.2f}x", flush=True)  # fmt: skip


def step_rate(
    base: Path, freeze: str, rank: int, ready: list[Any], batch: int, half: bool | None = None
) -> float:
    """Lines per second of our steps, on a GPU in bfloat16."""
    from manifold_ocr.config import LoraConfig, TrainConfig
    from manifold_ocr.models.base import RunSpec
    from manifold_ocr.models.ctc.train import CtcTraining
    from manifold_ocr.models.device import moved

    spec = RunSpec(
        model=ModelConfig(id="pp-ocrv6-small", vocabulary="base"), lora=LoraConfig(rank=rank),
        train=TrainConfig(freeze=freeze), base=base, image_root=Path(),
    )  # fmt: skip
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    half = device.type == "cuda" if half is None else half
    model = CtcTraining(spec).build().to(device).train()
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, fused=True)

    def steps() -> None:
        for lines in ready:
            inputs = {name: moved(value, device) for name, value in lines.items()}
            with torch.autocast(device.type, torch.bfloat16, enabled=half):
                loss = model(**inputs)["loss"]
            loss.backward()
            torch.nn.utils.clip_grad_norm_(trained, 1.0)
            optimizer.step()
            optimizer.zero_grad()
        if device.type == "cuda":
            torch.cuda.synchronize()

    return batch * len(ready) / seconds(steps, 3)


def cached_training_speed(base: Path) -> None:
    """Lines per second of steps on a CPU from cached features: the head, the last stage too."""
    from manifold_ocr.models.ctc.rows import collate_lines

    random = np.random.default_rng(0)
    widths = np.sort(random.integers(8, 90, 8 * LINES))
    for freeze, channels, columns in (("backbone", 384, 1), ("early", 192 * 6, 2)):
        rows = []
        for frames in widths.tolist():
            features = random.standard_normal((channels, columns * frames)).astype(np.float16)
            rows.append((features, random.integers(1, 200, max(2, frames // 3)).tolist()))
        ready = [collate_lines(rows[at : at + LINES]) for at in range(0, len(rows), LINES)]
        for rank in (8, 0):
            rate = step_rate(base, freeze, rank, ready, LINES)
            print(f"training, freeze {freeze}, LoRA rank {rank}: {rate:.0f} lines/s", flush=True)


def plain_rate(base: Path, chosen: list[Any]) -> float:
    """Lines per second of the recipe that everyone writes first."""
    from manifold_ocr.models.ctc.torch_parts import head_logits, load_recognizer

    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = load_recognizer(base).to(device)
    optimizer = torch.optim.AdamW(model.parameters())

    def steps() -> None:
        for part in chosen:
            widest = max(pixels.shape[1] for pixels, _ in part)
            batch = torch.zeros(len(part), 3, 48, widest)
            for place, (pixels, _) in enumerate(part):
                line = torch.from_numpy(pixels).permute(2, 0, 1) / 127.5 - 1
                batch[place, :, :, : pixels.shape[1]] = line
            features = model.model(batch.to(device)).last_hidden_state
            logits = torch.log_softmax(head_logits(model, features), -1).transpose(0, 1)
            texts = torch.cat([torch.tensor(text) for _, text in part])
            lengths = torch.tensor([len(text) for _, text in part])
            frames = torch.full((len(part),), logits.shape[0])
            torch.nn.functional.ctc_loss(logits, texts.to(device), frames, lengths).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
        if device == "cuda":
            torch.cuda.synchronize()

    return sum(map(len, chosen)) / seconds(steps, 3)


def main() -> None:
    """Measure on the chosen device."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--base", type=Path, default=BASE)
    parser.add_argument("--batch", type=int, nargs="*", default=[64, 128])
    parser.add_argument("--whole", action="store_true", help="on a CPU: whole recognizer alone")
    args = parser.parse_args()
    if args.device == "cuda":
        for batch in args.batch:
            training_speed(args.base, batch)
        return
    torch.set_num_threads(ctc.worker_count())
    if args.whole:
        whole_on_cpu(args.base)
        return
    loss_speed()
    cached_training_speed(args.base)
    reading_speed()


if __name__ == "__main__":
    main()
