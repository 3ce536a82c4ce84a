"""Training killed with -9, and training in two processes: the same result as one, unbroken."""

import dataclasses
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file
from tiny_models import drawn_samples, write_qwen2_vl, write_trocr

from manifold_ocr.files import sha256_tree
from manifold_ocr.models.registry import family_of
from manifold_ocr.records import Sample

pytestmark = [pytest.mark.torch, pytest.mark.xdist_group("training_processes")]
ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "tests/support/training_server.py"
TEXTS = ["abc 12", "hello", "x9 zz", "ocr line", "7 seas", "quick fox", "lazy dog", "jumps 42"]
STEPS = 15
THIRDS = ((1, 4), (6, 9), (11, 13))  # a step of each: every resumed run has steps left
FROM_START = -1  # a signal sent once the model before training was read
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


def environment() -> dict[str, str]:
    paths = os.pathsep.join(str(ROOT / name) for name in ("src", "tests/support"))
    return {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}


class Server:
    """A process that starts one training at a time and says what it prints."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(SCRIPT)],
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(
        self,
        job: dict[str, Any],
        kill_at: int = 0,
        delay: float = 0.0,
        number: signal.Signals = signal.SIGKILL,
    ) -> int:
        """Run a job; return its status.

        `delay` seconds after it logs step `kill_at`, its last process gets the signal `number`.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        pid = 0
        for line in self.process.stdout:
            if found := re.match(r"pid .*?(\d+)$", line):
                pid = int(found[1])
            elif found := re.match(r"end (\d+)", line):
                return int(found[1])
            step = re.match(r"train: step (\d+)/", line)
            if kill_at and step and int(step[1]) >= kill_at:
                time.sleep(delay)
                (os.killpg if job.get("own_group") else os.kill)(pid, number)
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
    return root, drawn_samples(root, TEXTS)


@pytest.fixture(params=["ctc", "encoder_decoder", "chat_vlm"])
def base(request: pytest.FixtureRequest, tiny_ctc: Path, tmp_path: Path) -> Path:
    writers = {"encoder_decoder": write_trocr, "chat_vlm": write_qwen2_vl}
    return writers[request.param](tmp_path / "base") if request.param in writers else tiny_ctc


def described(
    folder: Path, base: Path, pictures: tuple[Path, list[Sample]], rows: int, **knobs: Any
) -> dict[str, Any]:
    folder.mkdir()
    images, samples = pictures
    return {
        "root": str(folder),
        "base": str(base),
        "images": str(images),
        "samples": [dataclasses.asdict(sample) for sample in samples[:rows]],
        "val": rows,
        "knobs": {**KNOBS, **knobs},
        "processes": 1,
    }


def test_kill_9_at_three_random_moments_changes_nothing(
    base: Path, server: Server, pictures: tuple, tmp_path: Path
) -> None:
    assert server.run(described(tmp_path / "whole", base, pictures, 5)) == 0
    broken = described(tmp_path / "broken", base, pictures, 5)
    draw = random.Random(f"kill {family_of(base)}")
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


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def same_weights(one: Path, two: Path) -> None:
    """Compare adapters to 1e-6, where training moved the weights by more than 1e-3."""
    first = load_file(one / "adapter_model.safetensors")
    second = load_file(two / "adapter_model.safetensors")
    assert first.keys() == second.keys()
    assert max(abs(w).max() for name, w in first.items() if "lora_B" in name) > 1e-3
    assert max(abs(first[name] - second[name]).max() for name in first) < 1e-6


def shared_results(folder: Path) -> None:
    """The first process alone publishes and keeps a run folder."""
    assert (folder / "rank0/metrics/metrics.json").is_file()
    assert len(list((folder / "rank0/output/training_runs").iterdir())) == 1
    assert not list((folder / "rank1").iterdir())


def test_two_processes_learn_what_one_does(
    base: Path, server: Server, pictures: tuple, tmp_path: Path
) -> None:
    short = {"max_steps": 6, "eval_steps": 3}
    one = described(tmp_path / "one", base, pictures, 8, gradient_accumulation=2, **short)
    assert server.run(one) == 0
    two = described(tmp_path / "two", base, pictures, 8, gradient_accumulation=2, **short)
    assert server.run({**two, "processes": 2, "port": free_port()}) == 0
    same_weights(tmp_path / "one/adapter", tmp_path / "two/rank0/adapter")
    shared_results(tmp_path / "two")
    results = [tmp_path / name / "metrics/metrics.json" for name in ("one", "two/rank0")]
    found = [json.loads(path.read_text()) for path in results]
    assert found[0] == found[1], "losses and what was read for validation"


def test_ctrl_c_that_reaches_one_process_stops_both_and_loses_nothing(
    server: Server, pictures: tuple, tmp_path: Path, tiny_ctc: Path
) -> None:
    short = {"max_steps": 8, "eval_steps": 4, "logging_steps": 4}
    one = described(tmp_path / "one", tiny_ctc, pictures, 8, gradient_accumulation=2, **short)
    assert server.run(one) == 0
    two = described(tmp_path / "two", tiny_ctc, pictures, 8, gradient_accumulation=2, **short)
    assert (
        server.run({**two, "processes": 2, "port": free_port()}, FROM_START, 0.0, signal.SIGINT)
        != 0
    )
    record = next((tmp_path / "two/rank0/output/training_runs").glob("*/run.yaml"))
    assert "status: interrupted" in record.read_text(encoding="utf-8")
    saved = (tmp_path / "two/cache/training").glob("*/checkpoints/checkpoint-*/complete.json")
    steps = {int(path.parent.name.rpartition("-")[2]) for path in saved}
    assert 0 < max(steps) < 4, "a checkpoint at the step where it was stopped"
    assert server.run({**two, "processes": 2, "port": free_port()}) == 0
    same_weights(tmp_path / "one/adapter", tmp_path / "two/rank0/adapter")
    losses = [logged_losses(tmp_path / name) for name in ("one", "two/rank0")]
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_loaders_too_stops_and_saves(
    number: signal.Signals, server: Server, pictures: tuple, tmp_path: Path
) -> None:
    base = write_trocr(tmp_path / "base")
    assert server.run(described(tmp_path / "whole", base, pictures, 5)) == 0
    job = {**described(tmp_path / "both", base, pictures, 5, dataloader_workers=2)}
    assert server.run({**job, "own_group": True}, 4, 0.0, number) != 0
    record = next((tmp_path / "both/output/training_runs").glob("*/run.yaml"))
    assert "status: interrupted" in record.read_text(encoding="utf-8")
    saved = (tmp_path / "both/cache/training").glob("*/checkpoints/checkpoint-*/complete.json")
    steps = [int(path.parent.name.rpartition("-")[2]) for path in saved]
    assert any(step % 3 for step in steps), "a checkpoint at the step where it was stopped"
    assert server.run(job) == 0
    assert sha256_tree(tmp_path / "both/adapter") == sha256_tree(tmp_path / "whole/adapter")


def logged_losses(folder: Path) -> list[float]:
    lines = (folder / "metrics/plots/metrics/train/loss.tsv").read_text().splitlines()
    assert len(lines) == 3, "a header and the losses of two intervals"
    return [float(line.split("\t")[1]) for line in lines[1:]]


@pytest.mark.slow
def test_torchrun_gives_the_same(
    server: Server, pictures: tuple, tmp_path: Path, tiny_ctc: Path
) -> None:
    short = {"max_steps": 6, "eval_steps": 3}
    base = write_trocr(tmp_path / "base")
    one = described(tmp_path / "one", base, pictures, 8, gradient_accumulation=2, **short)
    assert server.run(one) == 0
    two = described(tmp_path / "two", base, pictures, 8, gradient_accumulation=2, **short)
    (tmp_path / "job.json").write_text(json.dumps(two), encoding="utf-8")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2"]
    port = f"--master-port={free_port()}"
    subprocess.run(
        [*torchrun, port, str(SCRIPT), str(tmp_path / "job.json")], env=environment(), check=True
    )
    same_weights(tmp_path / "one/adapter", tmp_path / "two/rank0/adapter")
    shared_results(tmp_path / "two")
