"""`train.gpus: auto` starts a process for each GPU itself; a process alone uses one."""

import dataclasses
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from safetensors.numpy import load_file
from training_project import start_project

from manifold_ocr.errors import UserError
from manifold_ocr.records import write_rows
from manifold_ocr.training import locking

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("gpus", "found", "rows", "processes"),
    [("auto", 0, 16, 1), ("auto", 2, 16, 2), ("auto", 3, 16, 2), (1, 2, 16, 1), (2, 4, 16, 2)],
)
def test_as_many_processes_as_gpus_that_can_share_a_step(gpus, found, rows, processes, monkeypatch):
    monkeypatch.setenv("MANIFOLD_OCR_TEST_GPUS", str(found))
    assert locking.processes_to_start(gpus, rows) == processes
    monkeypatch.setenv("RANK", "0")
    assert locking.processes_to_start(gpus, rows) == 1, "it was started with others"


@pytest.mark.parametrize(("gpus", "message"), [(4, "2 answer"), (2, "cannot share 15 rows")])
def test_a_number_that_cannot_be_is_refused(gpus, message, monkeypatch):
    monkeypatch.setenv("MANIFOLD_OCR_TEST_GPUS", "2")
    with pytest.raises(UserError, match=message):
        locking.processes_to_start(gpus, 15)


def test_when_one_process_fails_the_others_are_ended(tmp_path, monkeypatch, capsys):
    (tmp_path / "member.py").write_text(
        "import os, sys, time\nif os.environ['RANK'] == '1': sys.exit(2)\ntime.sleep(60)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(locking, "GRACE_SECONDS", 0.5)
    started = time.monotonic()
    assert locking.start_processes(2, "member") == 2
    assert time.monotonic() - started < 20
    assert "process 1 of 2 ended with status 2; the others are ended too" in capsys.readouterr().err


@pytest.mark.torch
def test_a_lost_process_is_told_from_other_errors():
    from torch.distributed import DistNetworkError

    from manifold_ocr.training.run import _lost_process

    reset = "[third_party/gloo/gloo/transport/tcp/pair.cc:537] Read error: Connection reset by peer"
    assert _lost_process(RuntimeError(reset))
    assert _lost_process(DistNetworkError("closed"))
    assert not _lost_process(RuntimeError("shapes differ"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_end_of_what_started_them_reaches_every_process_once(number, tmp_path):
    (tmp_path / "member.py").write_text(
        "import os, pathlib, signal, sys, time\n"
        "from manifold_ocr.resources import end_with_launchers\n"
        "me, told = pathlib.Path('rank' + os.environ['RANK']), []\n"
        "signal.signal(signal.SIGTERM, lambda *_: told.append('told'))\n"
        "end_with_launchers()\n"
        "me.write_text('ready')\n"
        "while not told: time.sleep(0.1)\n"
        "time.sleep(1.5)\n"
        "me.write_text(' '.join(told))\n"
        "sys.exit(130)\n"
    )
    code = (
        "from manifold_ocr.resources import end_with_launchers\n"
        "from manifold_ocr.training.locking import start_processes\n"
        "end_with_launchers()\n"
        "exit(start_processes(2, 'member'))\n"
    )
    path = os.pathsep.join([str(tmp_path), str(ROOT / "src")])
    parent = subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path, env={**os.environ, "PYTHONPATH": path}
    )
    ranks = [tmp_path / "rank0", tmp_path / "rank1"]
    wait_for(ranks, "ready")
    parent.send_signal(number)
    assert parent.wait(30) == (130 if number == signal.SIGTERM else -9)
    wait_for(ranks, "told")


def wait_for(ranks, text):
    deadline = time.monotonic() + 60
    while [rank.is_file() and rank.read_text() for rank in ranks] != [text, text]:
        assert time.monotonic() < deadline, [rank.read_text() for rank in ranks if rank.is_file()]
        time.sleep(0.05)


@pytest.mark.torch
def test_a_process_that_sees_two_gpus_uses_one_and_says_so(capsys):
    from types import SimpleNamespace

    from manifold_ocr.training.fit import one_gpu

    class Arguments(SimpleNamespace):
        @property
        def n_gpu(self):
            return self._n_gpu

    arguments = Arguments(device="cuda:0", _n_gpu=2)
    one_gpu(arguments)
    assert arguments.n_gpu == 1
    assert "one of the 2 GPUs it sees; set train.gpus=auto" in capsys.readouterr().out


@pytest.mark.torch
def test_the_stage_trains_the_same_in_two_processes_that_it_starts(
    tiny_ctc, line_samples, tmp_path, monkeypatch
):
    images, rows = line_samples
    knobs = {"max_steps": 2, "train_batch_size": 4, "learning_rate": 0.01, "eval_steps": 2}
    lines = (images, [dataclasses.replace(row, split="train") for row in rows])
    alone = start_project(
        tmp_path / "one", monkeypatch, tiny_ctc, lines, val_rows=2, rank=8, knobs=knobs
    )
    alone.train()
    root = tmp_path / "two"
    shutil.copytree(images, root / "data/raw")
    write_rows(root / "data/augmented/train.jsonl", lines[1])
    write_rows(root / "data/manifest/val.jsonl", lines[1][:2])
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["model"]["id"] = str(tiny_ctc)
    params["train"] |= {"threads": 1, "rehearsal": 0.0, **knobs}
    (root / "params.yaml").write_text(yaml.safe_dump(params))
    cache = {"MANIFOLD_OCR_TEST_GPUS": "2", "MANIFOLD_OCR_CACHE": str(root / "cache")}
    done = subprocess.run(
        [sys.executable, "-m", "manifold_ocr.stages.train"],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), **cache},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "train: 2 GPUs, a process for each" in done.stdout
    assert done.stdout.count("adapter in output/adapter") == 1
    record = yaml.safe_load(next(root.glob("output/training_runs/*/run.yaml")).read_text())
    assert record["hardware"]["vector_bits"] in (128, 256, 512)
    one = load_file(alone.root / "adapter/adapter_model.safetensors")
    two = load_file(root / "output/adapter/adapter_model.safetensors")
    assert max(abs(w).max() for name, w in one.items() if "lora_B" in name) > 1e-3
    assert max(abs(one[name] - two[name]).max() for name in one) < 1e-6
