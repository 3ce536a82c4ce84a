"""Runs trainings, each in a process of its own that a test may kill with -9.

Reads one job a line (JSON: root, base, images, samples, knobs), forks, prints `pid N`, the
training's own lines and `end STATUS`. Everything is imported once, before any fork.
"""

import json
import os
import sys
from pathlib import Path

import dvc.repo
import dvc.scm  # noqa: F401
import dvclive.live  # noqa: F401
import torch.utils.tensorboard  # noqa: F401
import training_project

from manifold_ocr.records import Sample
from manifold_ocr.text.tokens import load_tokenizer
from manifold_ocr.training import fit, trainer  # noqa: F401
from manifold_ocr.training.families import family_for  # noqa: F401


def train(job: dict) -> None:
    root = Path(job["root"])
    os.chdir(root)
    os.environ["MANIFOLD_OCR_CACHE"] = str(root / "cache")
    rows = [Sample(**values) for values in job["samples"]]
    base, images = Path(job["base"]), Path(job["images"])
    project = training_project.Project(root, base, images, rows, 2, knobs=job["knobs"])
    project.train()


def main() -> None:
    load_tokenizer("deepseek")
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                train(json.loads(line))
                status = 0
            finally:
                sys.stdout.flush()
                os._exit(status)
        print(f"pid {pid}", flush=True)
        print(f"end {os.waitpid(pid, 0)[1]}", flush=True)


if __name__ == "__main__":
    main()
