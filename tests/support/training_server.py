"""Runs trainings in processes of their own: some to be killed, some two at a time.

With a file name as argument, trains the job in it (for torchrun). Without, reads one job a
line from standard input, forks `processes` of them with the environment that torchrun gives
(with `own_group` in a process group, to signal them and their loaders at once),
prints `pid N ...` of them, the trainings' own lines and, when all have ended, `end STATUS`.
Everything is imported once, before any fork.
"""

import importlib
import json
import os
import sys
from pathlib import Path

import training_project

from manifold_ocr.metrics.tokens import load_tokenizer
from manifold_ocr.records import Sample


def train(job: dict) -> None:
    """Train a job; the processes of a group share its cache but not their working folder."""
    shared = Path(job["root"])
    root = shared / f"rank{os.environ['RANK']}" if "RANK" in os.environ else shared
    root.mkdir(exist_ok=True)
    os.chdir(root)
    os.environ["MANIFOLD_OCR_CACHE"] = str(shared / "cache")
    rows = [Sample(**values) for values in job["samples"]]
    base, images = Path(job["base"]), Path(job["images"])
    project = training_project.Project(root, base, images, rows, job["val"], knobs=job["knobs"])
    project.train()


def import_all() -> None:
    names = ["dvc.repo", "dvc.scm", "dvclive.live", "torch.utils.tensorboard"]
    names += ["manifold_ocr.training.fit", "manifold_ocr.training.trainer"]
    for name in names:
        importlib.import_module(name)
    load_tokenizer("deepseek")


def start(job: dict, rank: int) -> int:
    """Fork a process that trains; return its id."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        if job.get("own_group"):
            os.setpgid(0, 0)
        if job["processes"] > 1:
            group = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": job["processes"]}
            group |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": job["port"]}
            os.environ |= {name: str(value) for name, value in group.items()}
        train(job)
        status = 0
    finally:
        sys.stdout.flush()
        os._exit(status)


def serve() -> None:
    import_all()
    for line in sys.stdin:
        job = json.loads(line)
        pids = [start(job, rank) for rank in range(job["processes"])]
        print("pid", *pids, flush=True)
        print(f"end {max(os.waitpid(pid, 0)[1] for pid in pids)}", flush=True)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        train(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    else:
        serve()
