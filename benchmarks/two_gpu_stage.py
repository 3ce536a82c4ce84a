"""Stage train on several GPUs: a process for each, kill -9 of one of them, resume.

    python benchmarks/two_gpu_stage.py --out stage.json

Makes a project in a temporary folder with random weights of a published layout and drawn lines,
and starts `python -m manifold_ocr.stages.train` as dvc does: with `train.gpus: auto` (as many
processes as GPUs, NCCL), once unbroken and once with kill -9 of the last process after the
first checkpoint and a second start; then with `train.gpus: 1`, where one process sees all GPUs.
Without a GPU, MANIFOLD_OCR_TEST_GPUS=2 starts two processes on the CPU (gloo).
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
import torch
import yaml
from safetensors.torch import load_file

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests/support")]
CHECKPOINTS = "cache/training/*/checkpoints/checkpoint-*"


def write_project(root: Path, args: argparse.Namespace) -> None:
    """Write the base model, lines with their pictures, and params.yaml below `root`."""
    from published import write_published
    from tiny_models import drawn_samples

    from manifold_ocr.records import write_rows

    write_published(root / "base", args.layout)
    (root / "data/raw").mkdir(parents=True)
    words = ["abc 12", "hello", "x9 zz", "ocr line", "7 seas", "quick fox", "lazy dog"]
    texts = [f"{word} {number}" for number, word in enumerate(words * 40)]
    rows = drawn_samples(root / "data/raw", texts)
    write_rows(root / "data/augmented/train.jsonl", rows)
    write_rows(root / "data/manifest/val.jsonl", rows[: args.validation])


def write_params(root: Path, home: Path, steps: int, gpus: str | int) -> None:
    """Write params.yaml of one run into `home`, which shares `root`'s data and base model."""
    home.mkdir()
    (home / "data").symlink_to(root / "data")
    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    cuda = torch.cuda.is_available()
    model = {"id": str(root / "base"), "revision": "", "precision": "bf16" if cuda else "fp32"}
    params["model"] |= model
    params["lora"] |= {"rank": 8, "alpha": 16, "dropout": 0.05}
    params["train"] |= {
        "gpus": gpus, "max_steps": steps, "train_batch_size": 16, "gradient_accumulation": 1,
        "learning_rate": 0.002, "eval_steps": 10, "save_steps": 10, "logging_steps": 5,
        "rehearsal": 0.0, "max_target_length": 24, "generation_max_length": 24,
        "eval_batch_size": 16, "dataloader_workers": 2 if cuda else 0, "threads": 1,
        "early_stopping_patience": 0, "include_languages": [], "include_subsets": [],
    }  # fmt: skip
    (home / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")


def start(home: Path) -> subprocess.Popen[str]:
    """Start the stage in `home`; its output goes to a pipe."""
    environment = {**os.environ, "MANIFOLD_OCR_CACHE": str(home / "cache")}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT / "src"), os.environ["PYTHONPATH"]])
    return subprocess.Popen(
        [sys.executable, "-m", "manifold_ocr.stages.train"],
        cwd=home,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def finish(process: subprocess.Popen[str], name: str) -> str:
    """Wait for the stage and return what it printed."""
    printed, _ = process.communicate()
    print(f"--- {name}: status {process.returncode}\n{printed[-2500:]}", flush=True)
    return printed


def kill_one(process: subprocess.Popen[str], home: Path) -> dict[str, Any]:
    """Kill -9 the last process once a checkpoint is whole; return how the others ended."""
    while process.poll() is None and not list(home.glob(f"{CHECKPOINTS}/complete.json")):
        time.sleep(0.02)
    members = [p for p in psutil.Process(process.pid).children() if "RANK" in p.environ()]
    victim = max(members, key=lambda member: int(member.environ()["RANK"]))
    rank = int(victim.environ()["RANK"])
    victim.send_signal(signal.SIGKILL)
    started = time.monotonic()
    finish(process, f"kill -9 of rank {rank}")
    return {"status": process.returncode, "others_ended_after_s": time.monotonic() - started}


def difference(first: Path, second: Path) -> float:
    """Return |a - b| / |a| over all adapter weights."""
    a, b = (
        load_file(home / "output/adapter/adapter_model.safetensors") for home in (first, second)
    )
    whole = torch.cat([a[name].double().flatten() for name in sorted(a)])
    other = torch.cat([b[name].double().flatten() for name in sorted(b)])
    return float((whole - other).norm() / whole.norm())


def published_best(home: Path) -> bool:
    """Return whether the published adapter is, byte for byte, that of the best checkpoint."""
    state = next(home.glob("output/training_runs/*/trainer_state.json"))
    best = json.loads(state.read_text(encoding="utf-8"))["best_global_step"]
    name = "adapter_model.safetensors"
    kept = next(home.glob(CHECKPOINTS.replace("-*", f"-{best}") + f"/{name}"))
    return kept.read_bytes() == (home / "output/adapter" / name).read_bytes()


def main() -> None:
    """Run the stage unbroken, killed and resumed, and alone."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layout", default="donut-base")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--validation", type=int, default=33)
    parser.add_argument("--out", default="")
    args = parser.parse_args()
    found: dict[str, Any] = {"gpus": torch.cuda.device_count()}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_project(root, args)
        homes = {name: root / name for name in ("whole", "killed", "alone")}
        for name, home in homes.items():
            write_params(root, home, args.steps, 1 if name == "alone" else "auto")
        printed = finish(start(homes["whole"]), "whole")
        found["processes"] = "a process for each" in printed
        found["adapter_is_best"] = published_best(homes["whole"])
        found["kill"] = kill_one(start(homes["killed"]), homes["killed"])
        found["resumed"] = ", from checkpoint-" in finish(start(homes["killed"]), "resumed")
        found["difference_after_kill"] = difference(homes["whole"], homes["killed"])
        printed = finish(start(homes["alone"]), "one process")
        found["alone_says_so"] = "this process uses one of the" in printed
        found["difference_to_one_process"] = difference(homes["whole"], homes["alone"])
    print(json.dumps(found, indent=2))
    if args.out:
        Path(args.out).write_text(json.dumps(found, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
