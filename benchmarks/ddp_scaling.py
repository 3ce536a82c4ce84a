"""Line training on several GPUs against one: DistributedDataParallel over the product's step.

    python benchmarks/ddp_scaling.py --gpus 2 --out ddp.json

Runs itself under torchrun with 1 and with N processes (same micro-batch a process, 12 GiB
each), prints samples/s, the ratio, and how far the gradients of one global batch computed by
N processes are from those of one.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

import shapes
import training_speed
from manifold_ocr.models.encoder_decoder.train import EncoderDecoderRows, collate_encoder_decoder
from manifold_ocr.models.generative import Labels
from manifold_ocr.models.images import ResizeInput
from manifold_ocr.training.batches import StepSampler
from manifold_ocr.training.loader import continue_epochs

BATCH = 64


class Share:
    """Every `world`-th micro-batch of the harness's sampler, as accelerate deals them out."""

    def __init__(self, steps: StepSampler, rank: int, world: int) -> None:
        self.steps, self.rank, self.world = steps, rank, world

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch."""
        self.steps.set_epoch(epoch)

    def __iter__(self) -> Iterator[list[int]]:
        """Yield this process's micro-batches of whole steps."""
        whole = len(self.steps) // self.world * self.world
        return islice(iter(self.steps), self.rank, whole, self.world)

    def __len__(self) -> int:
        """Return their number."""
        return len(self.steps) // self.world


def worker(args: argparse.Namespace) -> None:
    """One process of a run: train, and report the speed of all from rank 0."""
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    torch.cuda.set_device(rank)
    torch.cuda.set_per_process_memory_fraction(
        12 * shapes.GIB / torch.cuda.get_device_properties(rank).total_memory, rank
    )
    dist.init_process_group("nccl")
    torch.manual_seed(0)
    model = training_speed.lora_model("base", "cuda", torch.bfloat16, fast=True)
    model.get_base_model().graphs_allowed = True
    parallel = DistributedDataParallel(
        model, device_ids=[rank], gradient_as_bucket_view=True, broadcast_buffers=False
    )
    optimizer = torch.optim.AdamW(training_speed.trainable(model), lr=1e-4, fused=True)
    folder = Path(args.folder)
    paths = shapes.image_files(folder / f"line{rank}", "line", 128)
    samples, targets = shapes.rows(paths, training_speed.TOKENS["line"], 20000, 50265)
    prepare = ResizeInput((384, 384), 2, *[training_speed.HALF] * 2)
    data = EncoderDecoderRows(samples, Labels(targets), Path("/"), prepare)
    steps = StepSampler(data.lengths, BATCH, world, seed=1)
    loader = DataLoader(
        data,
        batch_sampler=Share(steps, rank, world),
        collate_fn=collate_encoder_decoder,
        num_workers=args.workers,
        pin_memory=True,
        prefetch_factor=4,
        persistent_workers=True,
    )
    continue_epochs(loader, steps)
    batches = endless(loader, steps)

    trained = training_speed.trainable(model)

    def step(batch: dict[str, torch.Tensor]) -> None:
        parallel(**batch).loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    def taken() -> dict[str, torch.Tensor]:
        return training_speed.to_device(next(batches), "cuda")

    for length in range(8, 56, 8):  # all graphs are captured before the clock starts
        step(training_speed.of_length(taken(), length))
    for _ in range(20):
        step(taken())
    dist.barrier()
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(args.steps):
        step(taken())
    torch.cuda.synchronize()
    dist.barrier()
    elapsed = time.perf_counter() - start
    difference = gradient_difference(model, parallel, rank, world) if world > 1 else 0.0
    if rank == 0:
        result = {
            "samples_per_s": args.steps * BATCH * world / elapsed,
            "gradient_difference": difference,
            "reserved_gib": torch.cuda.max_memory_reserved() / shapes.GIB,
        }
        Path(args.result).write_text(json.dumps(result), encoding="utf-8")
    loader._iterator._shutdown_workers()  # at the interpreter's exit it would take minutes
    dist.destroy_process_group()


def endless(loader: DataLoader, steps: StepSampler) -> Iterator[dict[str, torch.Tensor]]:
    """Repeat a loader; its sampler reshuffles every round."""
    for epoch in count():
        steps.set_epoch(epoch)
        yield from loader


def gradient_difference(model: Any, parallel: Any, rank: int, world: int) -> float:
    """Return |g_N - g_1| / |g_1| for one global batch without dropout (every row 16 tokens)."""
    generator = torch.Generator().manual_seed(3)
    pixels = torch.randint(
        0, 256, (16 * world, 3, 384, 384), generator=generator, dtype=torch.uint8
    )
    labels = torch.randint(5, 50000, (16 * world, 16), generator=generator)
    base = model.get_base_model()
    base.decoder.model.decoder.dropout = 0.0
    for layer in base.decoder.model.decoder.layers:
        layer.dropout = 0.0

    def gradient(module: Any, rows: slice) -> torch.Tensor:
        model.zero_grad(set_to_none=True)
        module(pixel_values=pixels[rows].cuda(), labels=labels[rows].cuda()).loss.backward()
        return torch.cat([p.grad.flatten().clone() for p in training_speed.trainable(model)])

    whole = gradient(model, slice(None))
    shared = gradient(parallel, slice(16 * rank, 16 * rank + 16))
    return float((whole - shared).norm() / whole.norm())


def launch(args: argparse.Namespace, processes: int, folder: str) -> dict[str, float]:
    """Run this script under torchrun and return what rank 0 measured."""
    result = Path(folder) / f"result{processes}.json"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += [f"--nproc-per-node={processes}", __file__, "--worker", "--folder", folder]
    command += ["--result", str(result), "--steps", str(args.steps), "--workers", str(args.workers)]
    subprocess.run(command, check=True)
    return dict(json.loads(result.read_text(encoding="utf-8")))


def main() -> None:
    """Measure 1 and N GPUs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gpus", type=int, default=2)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--workers", type=int, default=12)
    parser.add_argument("--out", default="")
    parser.add_argument("--worker", action="store_true")
    parser.add_argument("--folder", default="")
    parser.add_argument("--result", default="")
    args = parser.parse_args()
    if args.worker:
        worker(args)
        return
    with tempfile.TemporaryDirectory() as folder:
        one = launch(args, 1, folder)
        many = launch(args, args.gpus, folder)
    ratio = many["samples_per_s"] / one["samples_per_s"]
    results = {"1": one, str(args.gpus): many, "ratio": ratio}
    print(json.dumps(results, indent=2))
    rates = f"1 GPU {one['samples_per_s']:.0f}/s, {args.gpus} GPUs {many['samples_per_s']:.0f}/s"
    print(f"{rates}, ratio {ratio:.2f}")
    if args.out:
        Path(args.out).write_text(json.dumps(results, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
