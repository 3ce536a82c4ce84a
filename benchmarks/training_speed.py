"""Training speed of TrOCR-base shapes: the prototype's recipe, a plain loop, and ours.

    python benchmarks/training_speed.py --out speed.json

Same LoRA (rank 8 on the decoder's attention and feed-forward), the same images from disk and
the same 12 GiB cap for every row; random weights. Prints samples/s, peak memory, achieved
FLOP/s (counted by torch on one step) and the ratio to the other recipes.
"""

import argparse
import gc
import itertools
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader
from torch.utils.flop_counter import FlopCounterMode

import shapes
from manifold_ocr.config import LoraConfig
from manifold_ocr.models.adapter_files import encoder_decoder_scope
from manifold_ocr.models.encoder_decoder.fast_step import accelerate_encoder_decoder
from manifold_ocr.models.encoder_decoder.train import EncoderDecoderRows, collate_encoder_decoder
from manifold_ocr.models.generative import Labels
from manifold_ocr.models.images import ResizeInput
from manifold_ocr.models.kernels.cuda_graphs import padded_length
from manifold_ocr.models.lora import match_targets, wrap_for_training
from manifold_ocr.resources import GpuMonitor
from manifold_ocr.training.batches import StepSampler
from manifold_ocr.training.loader import CopyBeside

PEAK_FLOPS = 990e12  # dense bf16 of H100 and H200 by the datasheet
TOKENS = {"line": (6, 48), "page": (300, 512)}
HALF = (0.5, 0.5, 0.5)
# kind -> (batch, checkpointing) variants of our recipe that are tried
OURS = {"line": [(64, False), (96, False)], "page": [(16, False), (48, True)]}


def lora_model(size: str, device: str, dtype: torch.dtype, *, fast: bool) -> Any:
    """The model under test with a frozen encoder and LoRA in the decoder."""
    model = shapes.trocr(size, device, dtype)
    model.requires_grad_(False)
    targets, within = encoder_decoder_scope(freeze_backbone=True)
    settings = LoraConfig(rank=8, alpha=16, dropout=0.0)
    if fast:
        accelerate_encoder_decoder(model, list(HALF), list(HALF))
        return wrap_for_training(model, settings, targets, within).train()
    import peft

    layers = {name.rsplit(".", 1)[-1] for name, _ in model.named_modules()}
    names = match_targets(model, [name for name in targets if name in layers], within)
    config = peft.LoraConfig(r=8, lora_alpha=16, target_modules=names)
    return peft.get_peft_model(model, config).train()


def endless(loader: DataLoader) -> Iterator[dict[str, torch.Tensor]]:
    """Repeat a loader; its sampler reshuffles every round."""
    for epoch in itertools.count():
        loader.batch_sampler.set_epoch(epoch)
        yield from loader


def loader_for(
    data: EncoderDecoderRows, targets: list[list[int]], batch: int, workers: int
) -> DataLoader:
    """The product's loader: bucketed batches, decoded in workers, pinned and prefetched."""
    return DataLoader(
        data,
        batch_sampler=StepSampler([len(t) for t in targets], batch, 1, seed=1),
        collate_fn=collate_encoder_decoder,
        num_workers=workers,
        pin_memory=torch.cuda.is_available(),
        prefetch_factor=4 if workers else None,
        persistent_workers=workers > 0,
    )


def measure(
    step: Callable[[dict[str, torch.Tensor]], None],
    batches: Iterator[dict[str, torch.Tensor]],
    device: str,
    seconds: float,
    count: Callable[[dict[str, torch.Tensor]], float],
    warm_up: int = 4,
    lengths: tuple[int, int] | None = None,
) -> dict[str, float]:
    """Warm up, then time whole steps for about `seconds`; loader waits are counted apart."""
    batch = to_device(next(batches), device)
    flops_per_sample = count(batch) / len(batch["labels"])
    if lengths:  # captured before the clock starts, as a run meets each of them once
        sizes = {padded_length(size, 512) for size in range(*lengths)}
        for length in sorted(sizes, reverse=True):  # shorter ones find room in the longest's
            step(of_length(batch, length))
    for _ in range(warm_up):
        step(to_device(next(batches), device))
    synchronize(device)
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    seen = tokens = 0
    waited = 0.0
    beside = CopyBeside() if device == "cuda" else None
    with GpuMonitor() as monitor:
        start = time.perf_counter()
        while time.perf_counter() - start < seconds:
            before = time.perf_counter()
            batch = next(batches)
            batch = beside(batch) if beside else batch
            waited += time.perf_counter() - before
            step(batch)
            seen += len(batch["labels"])
            tokens += batch["labels"].numel()
        synchronize(device)
        elapsed = time.perf_counter() - start
    result = {
        "samples_per_s": seen / elapsed,
        "padded_tokens_per_s": tokens / elapsed,
        "loader_wait_percent": 100 * waited / elapsed,
        "tflops_per_sample": flops_per_sample / 1e12,
        "achieved_tflops_per_s": flops_per_sample * seen / elapsed / 1e12,
        "peak_share_percent": 100 * flops_per_sample * seen / elapsed / PEAK_FLOPS,
        **monitor.summary(),
    }
    if device == "cuda":
        result["peak_gib"] = torch.cuda.max_memory_allocated() / shapes.GIB
        result["reserved_gib"] = torch.cuda.max_memory_reserved() / shapes.GIB
    return result


def of_length(batch: dict[str, torch.Tensor], length: int) -> dict[str, torch.Tensor]:
    """The batch with labels of `length` tokens."""
    labels = torch.full((len(batch["labels"]), length), 7, device=batch["labels"].device)
    index = torch.arange(labels.numel(), device=labels.device)
    return {**batch, "labels": labels, "answer_index": index}


def to_device(batch: dict[str, torch.Tensor], device: str) -> dict[str, torch.Tensor]:
    """Copy a pinned batch without waiting."""
    return {key: value.to(device, non_blocking=True) for key, value in batch.items()}


def synchronize(device: str) -> None:
    """Wait for the GPU."""
    if device == "cuda":
        torch.cuda.synchronize()


def trainable(model: Any) -> list[torch.nn.Parameter]:
    """The parameters that the optimizer changes."""
    return [p for p in model.parameters() if p.requires_grad]


def ours(args: argparse.Namespace, kind: str, batch: int, checkpointing: bool) -> dict[str, float]:
    """The product's step: bf16 base, frozen encoder without graph, chunked loss, fused AdamW."""
    model = lora_model(args.size, args.device, torch.bfloat16, fast=True)
    model.get_base_model().graphs_allowed = not checkpointing
    if checkpointing:
        model.get_base_model().decoder.gradient_checkpointing_enable({"use_reentrant": False})
    optimizer = torch.optim.AdamW(trainable(model), lr=1e-4, fused=args.device == "cuda")

    def step(batch: dict[str, torch.Tensor]) -> None:
        model(**batch).loss.backward()
        torch.nn.utils.clip_grad_norm_(trainable(model), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    def count(batch: dict[str, torch.Tensor]) -> float:
        base = model.get_base_model()
        allowed, base.graphs_allowed = base.graphs_allowed, False
        mapping = shapes.PRODUCT_FLOPS
        with FlopCounterMode(display=False, custom_mapping=mapping) as counter:
            step(batch)
        base.graphs_allowed = allowed
        return counter.get_total_flops()

    data, targets = args.data[kind]
    batches = endless(loader_for(data, targets, batch, args.workers))
    lengths = None if checkpointing else (TOKENS[kind][0], TOKENS[kind][1] + 1)
    result = measure(step, batches, args.device, args.seconds, count, warm_up=20, lengths=lengths)
    if args.profile:
        rows = [to_device(next(batches), args.device) for _ in range(2)]
        shapes.print_profile(lambda: step(rows.pop()), 2)
    model.get_base_model().release_graphs()  # their memory is the next recipe's
    return {**result, "trainable": sum(p.numel() for p in trainable(model))}


def plain_loop(args: argparse.Namespace, kind: str, batch: int = 16) -> dict[str, float]:
    """A careful plain loop: bucketed batches of 16, autocast bf16, the library's model and loss."""
    model = lora_model(args.size, args.device, torch.float32, fast=False)
    if kind == "page":
        model.get_base_model().gradient_checkpointing_enable({"use_reentrant": False})
    optimizer = torch.optim.AdamW(trainable(model), lr=1e-4)

    def step(batch: dict[str, torch.Tensor]) -> None:
        pixels = batch["pixel_values"].float().div_(127.5).sub_(1)
        with torch.autocast(args.device, dtype=torch.bfloat16):
            loss = model(pixel_values=pixels, labels=batch["labels"]).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trainable(model), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    def count(rows: dict[str, torch.Tensor]) -> float:
        with FlopCounterMode(display=False) as counter:
            step(rows)
        return counter.get_total_flops()

    data, targets = args.data[kind]
    batches = endless(loader_for(data, targets, batch, args.workers))
    result = measure(step, batches, args.device, args.seconds, count)
    return {**result, "trainable": sum(p.numel() for p in trainable(model))}


class PaddedRows(torch.utils.data.Dataset):
    """The prototype's rows: float pixels from the library's processor, labels padded to 512."""

    def __init__(self, data: EncoderDecoderRows, length: int, processor: Any) -> None:
        self.data, self.length, self.processor = data, length, processor

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        from manifold_ocr.images import load_sample

        image = load_sample(self.data.samples[index], self.data.image_root)
        labels = torch.full((self.length,), -100)
        target = torch.tensor(self.data.targets[index])
        labels[: len(target)] = target
        pixels = self.processor(images=image, return_tensors="pt")["pixel_values"][0]
        return {"pixel_values": pixels, "labels": labels}


def prototype(args: argparse.Namespace, kind: str) -> dict[str, float]:
    """HF Trainer, batch 1 x 8 accumulation, padded to 512, fp16, checkpointing, no workers."""
    from transformers import Trainer, TrainerCallback, TrainingArguments, ViTImageProcessor

    model = lora_model(args.size, args.device, torch.float32, fast=False)
    side = 64 if args.size == "tiny" else 384
    processor = ViTImageProcessor(size={"height": side, "width": side})
    times: list[float] = []

    class Clock(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            synchronize(args.device)
            times.append(time.perf_counter())

    arguments = TrainingArguments(
        output_dir=str(args.folder / "prototype"),
        per_device_train_batch_size=1,
        gradient_accumulation_steps=8,
        max_steps=args.prototype_steps,
        fp16=args.device == "cuda",
        gradient_checkpointing=True,
        gradient_checkpointing_kwargs={"use_reentrant": False},
        report_to="none",
        save_strategy="no",
        remove_unused_columns=False,
        use_cpu=args.device == "cpu",
        disable_tqdm=True,
    )
    if args.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    data, _ = args.data[kind]
    trainer = Trainer(
        model=model,
        args=arguments,
        train_dataset=PaddedRows(data, 512, processor),
        callbacks=[Clock()],
    )
    trainer.train()
    result = {"samples_per_s": 8 * (len(times) - 2) / (times[-1] - times[1])}
    if args.device == "cuda":
        result["peak_gib"] = torch.cuda.max_memory_allocated() / shapes.GIB
    return {**result, "trainable": sum(p.numel() for p in trainable(model))}


def attempt(name: str, run: Callable[[], dict[str, float]], results: dict[str, Any]) -> None:
    """Run one recipe; out of memory is a result too."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    try:
        results[name] = run()
    except torch.OutOfMemoryError as error:
        results[name] = {"error": f"out of memory: {str(error)[:120]}"}
    print(name, json.dumps(results[name], default=float), flush=True)


def ratios(results: dict[str, Any], kind: str) -> None:
    """Print ours against the peers."""
    best = max(
        (
            r["samples_per_s"]
            for n, r in results.items()
            if n.startswith(f"ours {kind}") and "error" not in r
        ),
        default=0.0,
    )
    for peer in ("prototype", "plain loop"):
        rate = results.get(f"{peer} {kind}", {}).get("samples_per_s")
        if rate:
            results[f"ratio {kind} to {peer}"] = best / rate
            print(f"{kind}: ours {best:.1f}/s, {peer} {rate:.1f}/s, ratio {best / rate:.1f}")


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", default="base", choices=["tiny", "base", "large"])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--cap-gib", type=float, default=12.0)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--workers", type=int, default=14)
    parser.add_argument("--files", type=int, default=256)
    parser.add_argument("--rows", type=int, default=20000)
    parser.add_argument("--prototype-steps", type=int, default=8)
    parser.add_argument("--kinds", nargs="+", default=["line", "page"])
    parser.add_argument("--skip-peers", action="store_true")
    parser.add_argument("--profile", action="store_true", help="print the costliest kernels")
    parser.add_argument("--out", default="")
    return parser.parse_args()


def main() -> None:
    """Run every recipe and print the table."""
    args = arguments()
    if args.device == "cuda":
        shapes.cap_memory(args.cap_gib)
    results: dict[str, Any] = {"torch": torch.__version__}
    with tempfile.TemporaryDirectory() as folder:
        args.folder = Path(folder)
        args.data = {}
        side = 64 if args.size == "tiny" else 384
        for kind in args.kinds:
            paths = shapes.image_files(
                args.folder / kind, kind, args.files if kind == "line" else 64
            )
            vocabulary = 500 if args.size == "tiny" else 50265
            samples, targets = shapes.rows(paths, TOKENS[kind], args.rows, vocabulary)
            prepare = ResizeInput((side, side), 2, HALF, HALF)
            args.data[kind] = (
                EncoderDecoderRows(samples, Labels(targets), Path("/"), prepare),
                targets,
            )
        for kind in args.kinds:
            for batch, checkpointing in OURS[kind]:
                name = f"ours {kind} batch {batch}{' checkpointing' if checkpointing else ''}"
                attempt(name, lambda: ours(args, kind, batch, checkpointing), results)  # noqa: B023
            if not args.skip_peers:
                attempt(f"plain loop {kind}", lambda: plain_loop(args, kind), results)  # noqa: B023
                if "error" in results[f"plain loop {kind}"]:  # 16 pages do not fit 12 GiB
                    attempt(f"plain loop {kind}", lambda: plain_loop(args, kind, 4), results)  # noqa: B023
                attempt(f"prototype {kind}", lambda: prototype(args, kind), results)  # noqa: B023
            ratios(results, kind)
    if args.out:
        Path(args.out).write_text(json.dumps(results, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
