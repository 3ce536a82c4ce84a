"""The promises of the pipeline, held against real DVC in a temporary clone."""

import json
import os
import re
import shlex
import shutil
import signal
import sys
import time
from pathlib import Path

import pytest
import yaml

pytestmark = [pytest.mark.pipeline, pytest.mark.xdist_group("pipeline"), pytest.mark.timeout(540)]

STAGES = [
    "check_params", "download@synthetic", "download_base", "manifest", "augment", "train",
    "evaluate", "compress_check", "leaderboard",
]  # fmt: skip


def ran(printed):
    return re.findall(r"Running stage '([^']+)'", printed)


def lock(clone):
    return yaml.safe_load((clone.root / "dvc.lock").read_text())["stages"]


def out_hash(clone, stage, path):
    return next(out["md5"] for out in lock(clone)[stage]["outs"] if out["path"] == path)


def test_one_command_runs_all_stages_and_writes_every_result(repro):
    clone, printed = repro
    assert sorted(ran(printed)) == sorted(STAGES)
    evaluation = json.loads((clone.root / "metrics/evaluate.json").read_text())
    for kind in ("adapter", "base", "difference"):
        for group in (evaluation[kind]["overall"], evaluation[kind]["by_subset"]["receipts"]):
            assert {"cer", "cer_low", "cer_high"} <= set(group)
    perf = json.loads((clone.root / "metrics/perf.json").read_text())
    assert perf["whole_run"]["seconds"] > perf["train"]["seconds"] > 0, "one whole run"
    assert perf["evaluate_base"]["rows"] == evaluation["base"]["overall"]["n"]
    board = (clone.root / "docs/leaderboard/README.md").read_text()
    assert "adapter" in board and "base" in board
    adapter = {p.name for p in (clone.root / "output/adapter").iterdir()}
    assert {"adapter_config.json", "adapter_model.safetensors"} <= adapter


def test_a_second_repro_runs_nothing(repro):
    clone, _ = repro
    assert ran(clone.dvc("repro").stdout) == []
    assert clone.run("git", "status", "--porcelain").stdout == ""


def test_no_declared_out_or_metric_holds_a_clock_a_host_or_a_path(repro):
    clone, _ = repro
    import socket

    suspicious = re.compile(
        rf"{re.escape(str(clone.root))}|{re.escape(socket.gethostname())}|20\d\d-\d\d-\d\dT\d\d:"
    )
    for folder in ("output/adapter", "output/compress", "metrics", "docs/leaderboard"):
        for path in (clone.root / folder).rglob("*"):
            if path.suffix in {".json", ".md", ".tsv", ".csv"} and path.name != "perf.json":
                found = suspicious.search(path.read_text(encoding="utf-8"))
                assert found is None, f"{path}: {found}"


def test_another_rank_trains_again_and_fetches_nothing_and_the_default_runs_nothing(repro):
    clone, _ = repro
    printed = clone.dvc("exp", "run", "-S", "lora.rank=4").stdout
    stages = ["check_params", "train", "evaluate", "compress_check", "leaderboard"]
    assert ran(printed) == stages
    diff = clone.dvc("metrics", "diff").stdout
    assert "metrics/evaluate.json" in diff
    assert re.search(r"lora\.rank\s+8\s+4", clone.dvc("params", "diff").stdout)
    clone.run("git", "checkout", "-q", ".")
    clone.dvc("checkout", "-q")
    # DVC writes params.yaml anew in its own style: the check of the file may run, nothing else
    assert set(ran(clone.dvc("exp", "run", "-S", "lora.rank=8").stdout)) <= {"check_params"}
    clone.run("git", "checkout", "-q", ".")


def test_a_changed_metric_scores_again_without_training_or_reading(repro):
    clone, _ = repro
    source = clone.root / "src/manifold_ocr/metrics/edit.py"
    source.write_text(source.read_text() + "\n# a comment\n")
    printed = clone.dvc("repro", "evaluate").stdout
    assert ran(printed) == ["evaluate"]
    assert re.findall(r"([\w+]+): \d+ rows, (\d+) read anew", printed) == [
        ("base", "0"),
        ("adapter", "0"),
        ("base+gap", "0"),
    ]
    clone.run("git", "checkout", "-q", ".")
    clone.dvc("repro", "-q")


def test_a_wrong_param_stops_before_any_out_is_deleted(repro):
    clone, _ = repro
    params = clone.root / "params.yaml"
    text = params.read_text()
    before = sorted(p for p in (clone.root / "output/adapter").iterdir())
    for old, new, message in (
        ("\n  rank:", "\n  rnak: 3\n  rank:", "rnak: unknown key; did you mean 'rank'?"),
        ("\n  rank: 8", "\n  rank: eight", "lora.rank: must be int, not 'eight'"),
        ("\n  alpha: 16", "\n  alpha: 0", "lora.alpha: must be greater than or equal to 1, not 0"),
        ("corpora: [synthetic]", "corpora: ['a;touch PWNED']", "cannot be a corpus name"),
    ):
        assert old in text
        params.write_text(text.replace(old, new, 1))
        for target in (["train"], []):
            done = clone.dvc("repro", *target, check=False)
            assert done.returncode != 0
            assert message in done.stdout
            assert "Traceback" not in done.stdout
            assert ran(done.stdout) == ["check_params"]
    assert sorted(p for p in (clone.root / "output/adapter").iterdir()) == before
    assert not (clone.root / "PWNED").exists()
    params.write_text(text)
    assert ran(clone.dvc("repro").stdout) == []
    assert clone.run("git", "status", "--porcelain").stdout == ""


def test_a_harmless_change_of_the_params_triggers_nothing(repro):
    clone, _ = repro
    params = clone.root / "params.yaml"
    text = params.read_text()
    params.write_text("# a comment\n" + text)  # every section is read by some stage
    assert ran(clone.dvc("repro").stdout) == ["check_params"]
    clone.run("git", "checkout", "-q", ".")
    clone.dvc("checkout", "-q")


def test_push_and_pull_through_a_local_remote(repro, tmp_path):
    clone, _ = repro
    clone.dvc("remote", "add", "--local", "-f", "-d", "store", str(tmp_path / "store"))
    clone.dvc("push", "-q")
    before = out_hash(clone, "train", "output/adapter")
    other = tmp_path / "other"
    clone.run("git", "clone", "-q", str(clone.root), str(other))
    fresh = type(clone)(other, clone.env)
    fresh.dvc("remote", "add", "--local", "-d", "store", str(tmp_path / "store"))
    fresh.dvc("pull", "-q")
    assert (other / "output/adapter/adapter_model.safetensors").is_file()
    assert out_hash(fresh, "train", "output/adapter") == before
    assert ran(fresh.dvc("repro").stdout) == []


def _trainers(clone):
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
            here = (process / "cwd").readlink() == clone.root
        except OSError:
            continue
        if here and b"manifold_ocr.stages.train" in words and b"python" in words[0]:
            found.append(int(process.name))
    return found


def _wait_for(condition, seconds=120):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.1)
    raise AssertionError("timed out")


def _kill(clone, victim, *command):
    """Start `command`, kill the trainer or DVC at the first whole checkpoint; wait for the end."""
    started = time.time()
    running = clone.start(sys.executable, "-m", "dvc", *command)

    def checkpoint():
        whole = clone.root.glob("output/cache/training/*/checkpoints/checkpoint-*/complete.json")
        return [path for path in whole if path.stat().st_mtime > started]

    _wait_for(checkpoint)
    trainers = _wait_for(lambda: _trainers(clone))
    os.kill(trainers[0] if victim == "trainer" else running.pid, signal.SIGKILL)
    running.wait(timeout=60)
    _wait_for(lambda: not _trainers(clone), 30)


def test_kill_in_the_middle_of_training_then_repro_gives_the_same_adapter(repro):
    clone, _ = repro
    steps = {"train.epochs": 2.0, "train.eval_steps": 2, "train.save_steps": 2}
    clone.set_params({"train.seed": 5, **steps})
    adapters = {}
    training = ["repro", "-s", "--no-run-cache", "train"]
    for victim in ("trainer", "dvc"):
        shutil.rmtree(clone.root / "output/cache/training", ignore_errors=True)
        clone.run("git", "checkout", "-q", "dvc.lock")  # else the result is taken from the cache
        _kill(clone, victim, *training)
        resumed = clone.dvc(*training).stdout
        assert re.search(r"run folder .*, from checkpoint-\d+", resumed), resumed
        adapters[victim] = out_hash(clone, "train", "output/adapter")
    shutil.rmtree(clone.root / "output/cache/training")
    clone.dvc("repro", "-f", "-s", "--no-run-cache", "train", "-q")
    adapters["nothing"] = out_hash(clone, "train", "output/adapter")
    assert len(set(adapters.values())) == 1, adapters
    clone.run("git", "checkout", "-q", ".")
    clone.dvc("checkout", "-q")


def test_a_preset_runs_as_a_queued_experiment(repro):
    clone, _ = repro
    preset = clone.root / "presets/lax.yaml"
    preset.write_text("compress: {confirm_ned: 0.25}\nmodel: {revision: ''}\n")
    options = clone.run(
        sys.executable, "-m", "manifold_ocr.cli.main", "preset", "lax", "--options",
        env={"PYTHONPATH": str(clone.root / "src")},
    ).stdout  # fmt: skip
    clone.dvc("exp", "run", "--queue", "-n", "preset-lax", *shlex.split(options))
    clone.dvc("exp", "run", "--run-all", "--jobs", "1")
    (shown,) = [
        experiment
        for commit in json.loads(clone.dvc("exp", "show", "--json").stdout)
        for experiment in commit.get("experiments") or []
        if experiment["name"] == "preset-lax"
    ]
    found = shown["revs"][0]["data"]["params"]["params.yaml"]["data"]["compress"]
    assert shown["name"] == "preset-lax" and found["confirm_ned"] == 0.25
    preset.unlink()
    clone.dvc("exp", "remove", "preset-lax")
