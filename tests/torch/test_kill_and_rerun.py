"""kill -9 at three random moments, then rerun: the adapter is that of an unbroken run."""

import dataclasses
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tiny_models import drawn_samples, write_qwen2_vl, write_trocr

from manifold_ocr.files import sha256_tree
from manifold_ocr.records import Sample

pytestmark = pytest.mark.torch
ROOT = Path(__file__).resolve().parents[2]
STEPS = 15
THIRDS = ((1, 4), (6, 9), (11, 13))  # a step of each: every resumed run has steps left
LONGEST_DELAY = 0.04  # seconds after that step: computing, reading or writing a checkpoint
KNOBS = {
    "max_steps": STEPS,
    "eval_steps": 3,
    "logging_steps": 1,
    "train_batch_size": 2,
    "eval_batch_size": 2,
    "learning_rate": 5e-3,
    "max_target_length": 16,
    "generation_max_length": 4,
}


class Server:
    """A process that starts one training at a time and says what it prints."""

    def __init__(self) -> None:
        paths = os.pathsep.join(str(ROOT / name) for name in ("src", "tests/support"))
        script = ROOT / "tests/support/training_server.py"
        self.process = subprocess.Popen(
            [sys.executable, str(script)],
            env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, job: dict[str, Any], kill_at: int = 0, delay: float = 0.0) -> int:
        """Run a job; kill -9 `delay` seconds after it logs step `kill_at`; return its status."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        pid = 0
        for line in self.process.stdout:
            if found := re.match(r"pid (\d+)", line):
                pid = int(found[1])
            elif found := re.match(r"end (\d+)", line):
                return int(found[1])
            step = re.match(rf"train: step (\d+)/{STEPS} ", line)
            if kill_at and step and int(step[1]) >= kill_at:
                time.sleep(delay)
                os.kill(pid, signal.SIGKILL)
                kill_at = 0
        raise AssertionError("the server ended")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    started = Server()
    yield started
    started.process.stdin.close()  # type: ignore[union-attr]
    started.process.wait(30)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Sample]]:
    root = tmp_path_factory.mktemp("pictures")
    return root, drawn_samples(root, ["abc 12", "hello", "x9 zz", "ocr line", "7 seas"])


@pytest.mark.parametrize("family", ["ctc", "encoder_decoder", "chat_vlm"])
def test_kill_9_at_three_random_moments_changes_nothing(
    family: str, server: Server, tiny_ctc: Path, pictures: tuple, tmp_path: Path
) -> None:
    writers = {"encoder_decoder": write_trocr, "chat_vlm": write_qwen2_vl}
    base = writers[family](tmp_path / "base") if family in writers else tiny_ctc
    images, rows = pictures

    def job(name: str) -> dict[str, Any]:
        (tmp_path / name).mkdir()
        samples = [dataclasses.asdict(row) for row in rows]
        places = {"root": str(tmp_path / name), "base": str(base), "images": str(images)}
        return {**places, "samples": samples, "knobs": KNOBS}

    whole = job("whole")
    assert server.run(whole) == 0
    broken = job("broken")
    draw = random.Random(f"kill {family}")
    moments = [(draw.randint(*third), draw.uniform(0, LONGEST_DELAY)) for third in THIRDS]
    for step, delay in moments:
        status = server.run(broken, step, delay)
        assert os.WTERMSIG(status) == signal.SIGKILL, f"step {step} + {delay:.3f} s: {status}"
        assert not (tmp_path / "broken/adapter").exists()
    assert server.run(broken) == 0
    for name in ("adapter", "metrics"):
        same = sha256_tree(tmp_path / "broken" / name) == sha256_tree(tmp_path / "whole" / name)
        assert same, f"{name} differs after kills at {moments}"
    assert len(list((tmp_path / "broken/output/training_runs").iterdir())) == 1
