"""Stage train on several GPUs: a process for each, kill -9 of one of them, resume.

    python benchmarks/two_gpu_stage.py --out stage.json

Makes a project in a temporary folder with random weights of a published layout and drawn lines,
and starts `python -m manifold_ocr.stages.train` as dvc does, four times side by side: with
`train.gpus: auto` (as many processes as GPUs, NCCL), unbroken; the same under torchrun; the same
with kill -9 of the last process after the first checkpoint and a second start; and with
`train.gpus: 1`, where one process sees all GPUs. Without a GPU, MANIFOLD_OCR_TEST_GPUS=2 starts
two processes on the CPU (gloo).
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
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


class Stage:
    """One start of the stage in `home`; its output goes to a file beside it."""

    def __init__(self, home: Path, *launcher: str) -> None:
        environment = {**os.environ, "MANIFOLD_OCR_CACHE": str(home / "cache")}
        paths = [str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]
        environment["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
        self.home, self.output = home, home / f"printed{time.monotonic_ns()}.txt"
        with self.output.open("w") as file:
            self.process = subprocess.Popen(
                [sys.executable, *launcher, "-m", "manifold_ocr.stages.train"],
                cwd=home,
                env=environment,
                stdout=file,
                stderr=subprocess.STDOUT,
            )

    def finish(self, name: str) -> str:
        """Wait for the stage and return what it printed."""
        code = self.process.wait()
        printed = self.output.read_text(encoding="utf-8")
        print(f"--- {name}: status {code}\n{printed[-2500:]}", flush=True)
        return printed


def torchrun() -> tuple[str, ...]:
    """Python's arguments that start a process for each GPU, as torchrun does."""
    count = torch.cuda.device_count() or int(os.environ.get("MANIFOLD_OCR_TEST_GPUS", "1"))
    return ("-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}")


def gpus_used(stage: Stage) -> list[int]:
    """Return the GPUs on which the stage's process holds memory, looked for until it trains."""
    if not torch.cuda.is_available():
        return []
    import pynvml

    pynvml.nvmlInit()
    devices = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(torch.cuda.device_count())]
    found: set[int] = set()
    while stage.process.poll() is None and "loss" not in stage.output.read_text(encoding="utf-8"):
        for number, device in enumerate(devices):
            holders = pynvml.nvmlDeviceGetComputeRunningProcesses(device)
            if stage.process.pid in {holder.pid for holder in holders}:
                found.add(number)
        time.sleep(0.2)
    return sorted(found)


def kill_one(stage: Stage) -> dict[str, Any]:
    """Kill -9 the last process once a checkpoint is whole; return how the others ended."""
    while stage.process.poll() is None and not list(
        stage.home.glob(f"{CHECKPOINTS}/complete.json")
    ):
        time.sleep(0.02)
    if stage.process.poll() is not None:
        stage.finish("to be killed")
        raise SystemExit("the stage ended before its first checkpoint")
    members = [p for p in psutil.Process(stage.process.pid).children() if "RANK" in p.environ()]
    victim = max(members, key=lambda member: int(member.environ()["RANK"]))
    rank = int(victim.environ()["RANK"])
    victim.send_signal(signal.SIGKILL)
    started = time.monotonic()
    stage.finish(f"kill -9 of rank {rank}")
    ended = time.monotonic() - started
    return {"status": stage.process.returncode, "others_ended_after_s": round(ended, 2)}


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
        homes = {name: root / name for name in ("whole", "torchrun", "killed", "alone")}
        for name, home in homes.items():
            write_params(root, home, args.steps, 1 if name == "alone" else "auto")
        killed = Stage(homes["killed"])
        whole = Stage(homes["whole"])
        beside = {"torchrun": Stage(homes["torchrun"], *torchrun()), "alone": Stage(homes["alone"])}
        with ThreadPoolExecutor(1) as pool:  # the kill must not wait for it
            used = pool.submit(gpus_used, beside["alone"])
            found["kill"] = kill_one(killed)
            found["gpus_of_one_process"] = used.result()
        resumed = Stage(homes["killed"])
        found["processes"] = "a process for each" in whole.finish("whole")
        found["resumed"] = ", from checkpoint-" in resumed.finish("resumed")
        printed = {name: stage.finish(name) for name, stage in beside.items()}
        found["alone_says_so"] = "this process uses one of the" in printed["alone"]
        found["adapter_is_best"] = {name: published_best(home) for name, home in homes.items()}
        for name in ("killed", "torchrun", "alone"):
            found[f"difference_{name}"] = difference(homes["whole"], homes[name])
    print(json.dumps(found, indent=2))
    if args.out:
        Path(args.out).write_text(json.dumps(found, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
