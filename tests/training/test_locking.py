"""A trainer ends with the dvc that started it, and two never work on one run."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from manifold_ocr import resources
from manifold_ocr.config import LoraConfig, ModelConfig, TrainConfig
from manifold_ocr.models.base import RunSpec
from manifold_ocr.records import Sample
from manifold_ocr.training import checkpoints, locking
from manifold_ocr.training.batches import StepSampler
from manifold_ocr.training.run_record import differing_keys

SOURCE = Path(__file__).resolve().parents[2] / "src"
CHILD = """
import sys, time
from pathlib import Path
from manifold_ocr import resources
from manifold_ocr.training import locking
resources.end_with_launchers()
Path(sys.argv[1]).write_text("started")
try:
    with locking.StopRequest().installed():
        time.sleep(60)
except KeyboardInterrupt:
    Path(sys.argv[1]).write_text("ended")
"""


def wait_for(condition, seconds: float = 30.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return False


def test_trainer_ends_when_dvc_is_killed(tmp_path: Path) -> None:
    script, state, launcher = tmp_path / "child.py", tmp_path / "state", tmp_path / "dvc"
    script.write_text(CHILD, encoding="utf-8")
    launcher.write_text(f"{sys.executable} {script} {state} & wait\n", encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    dvc = subprocess.Popen(["/bin/sh", str(launcher)], env=environment)
    assert wait_for(lambda: state.exists() and state.read_text() == "started")
    dvc.send_signal(signal.SIGKILL)
    dvc.wait()
    assert wait_for(lambda: state.read_text() == "ended"), "the trainer outlived its dvc"


def test_launchers_are_none_without_dvc() -> None:
    assert not resources._is_dvc(["python", "-m", "pytest", "dvc_notes.txt"])
    assert resources._is_dvc(["/venv/bin/python", "/venv/bin/dvc", "repro", "train"])
    assert resources._is_dvc(["python", "-m", "dvc", "repro"])


def test_second_trainer_waits_for_the_first(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from manifold_ocr.training.locking import run_lock\n"
        "with run_lock(Path(sys.argv[1])): print('mine', flush=True)"
    )
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    with locking.run_lock(tmp_path / "lock"):
        other = subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path / "lock")],
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        with pytest.raises(subprocess.TimeoutExpired):
            other.wait(2.0)
    output, _ = other.communicate(timeout=60)
    assert output.strip().endswith("mine")


def test_stop_is_a_request_while_training_and_an_interrupt_otherwise() -> None:
    stop = locking.StopRequest()
    with pytest.raises(KeyboardInterrupt):
        stop(signal.SIGINT, None)
    stop.armed = True
    stop(signal.SIGINT, None)
    assert stop.requested
    with pytest.raises(KeyboardInterrupt):
        stop(signal.SIGINT, None)


@pytest.mark.parametrize(("micro", "accumulation"), [(8, 1), (4, 2), (2, 4), (1, 8)])
def test_a_step_has_the_same_rows_for_any_micro_batch(micro: int, accumulation: int) -> None:
    lengths = [(7 * i) % 31 + 1 for i in range(100)]
    sampler = StepSampler(lengths, micro, accumulation, seed=5)
    sampler.set_epoch(2)
    batches = list(sampler)
    assert len(batches) == len(sampler)
    flat = [row for batch in batches for row in batch]
    assert sorted(flat) == list(range(100))
    whole = StepSampler(lengths, 8, 1, seed=5)
    whole.set_epoch(2)
    assert flat == [row for batch in whole for row in batch]


def test_differing_keys_are_dotted() -> None:
    ours = {"lora": {"rank": 8, "alpha": 16}, "base": "a"}
    theirs = {"lora": {"rank": 4, "alpha": 16}, "base": "a", "extra": 1}
    assert differing_keys(ours, theirs) == ["extra", "lora.rank"]


def test_a_checkpoint_counts_only_while_every_file_is_as_written(tmp_path: Path) -> None:
    for step in (2, 4):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "trainer_state.json").write_text("{}", encoding="utf-8")
        (folder / "weights").write_text(str(step), encoding="utf-8")
        checkpoints.mark_complete(folder, {"a": 1})
    assert checkpoints.latest_complete(tmp_path) == tmp_path / "checkpoint-4"
    (tmp_path / "checkpoint-4" / "weights").write_text("cut", encoding="utf-8")
    assert checkpoints.latest_complete(tmp_path) == tmp_path / "checkpoint-2"
    assert not (tmp_path / "checkpoint-4").exists()


def test_a_run_of_two_processes_is_another_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    spec = RunSpec(
        model=ModelConfig(id="x"),
        lora=LoraConfig(),
        train=TrainConfig(),
        base=tmp_path,
        image_root=tmp_path,
    )
    rows: dict[str, list[Sample]] = {"train": [], "val": [], "rehearsal": []}
    one = checkpoints.run_inputs(spec, "ctc", rows)
    monkeypatch.setenv("WORLD_SIZE", "2")
    two = checkpoints.run_inputs(spec, "ctc", rows)
    assert differing_keys(one, two) == ["processes"]
    assert checkpoints.fingerprint(one) != checkpoints.fingerprint(two)
