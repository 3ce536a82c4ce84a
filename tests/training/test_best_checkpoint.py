"""The best checkpoint is saved, kept and published; only damaged ones are removed."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file
from training_project import Project, start_project

from manifold_ocr.training import checkpoints

pytestmark = pytest.mark.torch
KNOBS = {"epochs": 4.0, "train_batch_size": 3, "learning_rate": 0.01, "logging_steps": 4}


@pytest.fixture
def project(
    tmp_path: Path, tiny_ctc: Path, line_samples: tuple, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], Project]:
    fixed = {"val_rows": 2, "knobs": KNOBS}
    return lambda name: start_project(tmp_path / name, monkeypatch, tiny_ctc, line_samples, **fixed)


def scored(monkeypatch: pytest.MonkeyPatch, values: dict[int, float], other: float = 0.5) -> None:
    """Let validation find the CER that `values` give by step."""
    from manifold_ocr.training.run_record import Scorer

    def score(self: Any, predictions: Any, step: int) -> dict[str, float]:
        return {"cer": values.get(step, other)}

    monkeypatch.setattr(Scorer, "__call__", score)


class Killed(BaseException):
    """Stands for kill -9."""


def killed_at(run: Project, monkeypatch: pytest.MonkeyPatch, step: int, **knobs: Any) -> None:
    from manifold_ocr.training.trainer import OcrTrainer

    original = OcrTrainer.compute_loss

    def compute_loss(self: Any, *arguments: Any, **keywords: Any) -> Any:
        if self.state.global_step == step:
            raise Killed
        return original(self, *arguments, **keywords)

    with monkeypatch.context() as patch:
        patch.setattr(OcrTrainer, "compute_loss", compute_loss)
        with pytest.raises(Killed):
            run.train(**knobs)


def steps_of(run: Project) -> list[int]:
    return sorted(checkpoints.step_of(folder) for folder in run.checkpoints())


def test_a_best_step_between_two_saved_ones_is_saved_published_and_resumed(
    project: Callable[[str], Project],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    scored(monkeypatch, {1: 0.4, 2: 0.1})
    knobs = {"eval_steps": 1, "save_steps": 4}
    whole = project("whole")
    figures = whole.train(**knobs)
    assert figures["best"] == {"step": 2, "cer": 0.1, "cer_before": 0.5}
    assert steps_of(whole) == [2, 8, 12], "the best, and the newest two"
    best = next(path for path in whole.checkpoints() if path.name == "checkpoint-2")
    published = load_file(whole.root / "adapter/adapter_model.safetensors")
    kept = load_file(best / "adapter_model.safetensors")
    assert all((published[name] == kept[name]).all() for name in kept)
    broken = project("broken")
    killed_at(broken, monkeypatch, 10, **knobs)
    assert steps_of(broken) == [2, 4, 8]
    capsys.readouterr()
    assert broken.train(**knobs) == figures
    assert ", from checkpoint-8" in capsys.readouterr().out
    assert broken.hashes() == whole.hashes()


def test_early_stopping_counts_on_after_a_kill(
    project: Callable[[str], Project], monkeypatch: pytest.MonkeyPatch
) -> None:
    scored(monkeypatch, {1: 0.4})
    knobs = {"eval_steps": 1, "early_stopping_patience": 3, "epochs": 20.0}
    whole = project("whole")
    assert whole.train(**knobs)["steps"] == 4
    broken = project("broken")
    for step in (2, 3):
        killed_at(broken, monkeypatch, step, **knobs)
    assert broken.train(**knobs)["steps"] == 4
    assert broken.hashes() == whole.hashes()


def test_the_last_step_is_evaluated_where_steps_are_fewer_than_between_evaluations(
    project: Callable[[str], Project], monkeypatch: pytest.MonkeyPatch
) -> None:
    scored(monkeypatch, {3: 0.2})
    figures = project("short").train(eval_steps=50, max_steps=3)
    assert figures["best"] == {"step": 3, "cer": 0.2, "cer_before": 0.5}


def checkpoint(root: Path, step: int, best: int) -> Path:
    folder = root / f"checkpoint-{step}"
    folder.mkdir()
    state = json.dumps({"best_global_step": best})
    (folder / checkpoints.STATE).write_text(state, encoding="utf-8")
    checkpoints.mark_complete(folder, {})
    return folder


def test_only_damaged_checkpoints_are_removed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = checkpoint(tmp_path, 2, 2)
    orphan = checkpoint(tmp_path, 8, 6)
    changed = checkpoint(tmp_path, 10, 2)
    (changed / checkpoints.STATE).write_text("{}", encoding="utf-8")
    unfinished = tmp_path / "checkpoint-12"
    unfinished.mkdir()
    cut = checkpoint(tmp_path, 14, 2)
    (cut / checkpoints.MARKER).write_text('{"files": {', encoding="utf-8")
    assert checkpoints.latest_complete(tmp_path, clean=False) == good
    assert cut.is_dir()
    assert checkpoints.latest_complete(tmp_path) == good
    assert orphan.is_dir(), "whole: it may be copied beside its best"
    assert not any(folder.exists() for folder in (changed, unfinished, cut))
    said = capsys.readouterr().out
    assert "checkpoint-8 is whole, but its best, checkpoint-6, is missing" in said


def test_pruning_keeps_the_newest_and_the_best_that_each_of_them_names(tmp_path: Path) -> None:
    for step, best in ((2, 2), (4, 2), (6, 6), (8, 6), (10, 10), (20, 10)):
        checkpoint(tmp_path, step, best)
    checkpoints.prune(tmp_path, 10, keep=2)
    assert [p.name for p in checkpoints.folders_of(tmp_path)] == [
        "checkpoint-6",
        "checkpoint-8",
        "checkpoint-10",
        "checkpoint-20",
    ], "what lies beyond the step is not of this pass"
