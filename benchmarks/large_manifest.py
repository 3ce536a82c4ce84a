"""The first optimizer step on a manifest of a million rows: seconds, and memory beside the model.

    python benchmarks/large_manifest.py --rows 1000000

A tiny checkpoint of TrOCR's architecture, so that what is measured is the rows: the manifest is
written first, then a process of its own reads it and calls what `dvc repro train` calls, for
one step. Printed: wall and processor seconds from the first row read to the end of the step
(16 validation rows are read before and after it), the peak of resident memory, and what of it was
there before, with the libraries loaded. The ctc family passes every line through its frozen
backbone first, at tens of lines per second, whatever the manifest costs.
"""

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import harness_run
from manifold_ocr.config import LoraConfig, ModelConfig, TrainConfig
from manifold_ocr.models.base import RunSpec
from manifold_ocr.records import iter_manifest, write_rows


def prepare(root: Path, rows: int) -> None:
    """Write checkpoint, pictures and manifest."""
    harness_run.write_checkpoint(root / "base", "tiny")
    pattern = harness_run.drawn_rows(root / "images", 5000)
    some = [dataclasses.replace(row, split="train", box=(0.0, 0.0, 300.0, 40.0)) for row in pattern]
    numbered = (
        dataclasses.replace(
            some[number % len(some)],
            id=f"scans/page-{number // 40:06d}/line-{number % 40:02d}",
            document=f"scans/page-{number // 40:06d}",
            image_sha256=f"{number // 40:064x}",
        )
        for number in range(rows)
    )
    write_rows(root / "train.jsonl", numbered)


def peak_memory_gib() -> float:
    """Return the process's own peak of resident memory; getrusage starts at its parent's."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024**2


def worker(root: Path) -> None:
    """Train one step; print the figures as JSON."""
    from manifold_ocr.training import fit, run, trainer  # noqa: F401 - what is loaded before

    os.chdir(root)
    os.environ["MANIFOLD_OCR_CACHE"] = str(root / "cache")
    spec = RunSpec(
        model=ModelConfig(id="bench"),
        lora=LoraConfig(),
        train=TrainConfig(
            max_steps=1,
            eval_steps=1,
            rehearsal=0.0,
            max_val_samples=16,
            max_target_length=64,
            generation_max_length=4,
        ),
        base=root / "base",
        image_root=root / "images",
    )
    before, started, used = peak_memory_gib(), time.monotonic(), time.process_time()
    rows = {"train": iter_manifest(root / "train.jsonl"), "val": iter_manifest(root / "val.jsonl")}
    run.train(spec, rows, root / "adapter", root / "metrics")
    figures = {
        "seconds": round(time.monotonic() - started, 1),
        "processor_seconds": round(time.process_time() - used, 1),
        "peak_memory_gib": round(peak_memory_gib(), 2),
        "libraries_gib": round(before, 2),
    }
    print(json.dumps(figures))


def main() -> None:
    """Prepare in this process, train in another."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        worker(args.worker)
        return
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        prepare(root, args.rows)
        lines = (root / "train.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
        (root / "val.jsonl").write_text("".join(lines[:64]), encoding="utf-8")
        del lines
        command = [sys.executable, __file__, "--worker", name]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        print(f"{args.rows:,} rows: {done.stdout.splitlines()[-1]}")


if __name__ == "__main__":
    main()
