"""What may happen during a run: memory ends, a metric goes up or down, a name means a direction."""

import multiprocessing
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from training_project import Project, start_project

from manifold_ocr.config import LARGER_IS_BETTER, Metric
from manifold_ocr.errors import UserError
from manifold_ocr.models.base import Recognition
from manifold_ocr.models.generative import read_beside_graphs
from manifold_ocr.training.run_record import Scorer
from manifold_ocr.training.trainer import OcrTrainer

pytestmark = pytest.mark.torch
KNOBS = {"train_batch_size": 4, "learning_rate": 0.01, "eval_steps": 2, "max_steps": 6}


@pytest.fixture
def project(
    tmp_path: Path, tiny_ctc: Path, line_samples: tuple, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], Project]:
    fixed = {"val_rows": 4, "knobs": KNOBS}
    return lambda name: start_project(tmp_path / name, monkeypatch, tiny_ctc, line_samples, **fixed)


def memory_ends(monkeypatch: pytest.MonkeyPatch, above: int, from_step: int) -> None:
    """Let a loss of more than `above` rows end for want of memory."""
    original = OcrTrainer.compute_loss

    def compute_loss(
        self: Any, model: Any, inputs: dict[str, Any], *more: Any, **named: Any
    ) -> Any:
        if len(inputs["rows"]) > above and self.state.global_step >= from_step:
            raise torch.OutOfMemoryError("simulated")
        return original(self, model, inputs, *more, **named)

    monkeypatch.setattr(OcrTrainer, "compute_loss", compute_loss)


def test_full_memory_halves_the_micro_batch_and_goes_on(
    project: Callable[[str], Project], monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    whole = project("whole")
    expected = whole.train()
    halved = project("halved")
    memory_ends(monkeypatch, above=1, from_step=3)  # after the checkpoint of step 2
    figures = halved.train()
    printed = capsys.readouterr().out
    assert "out of memory; micro-batch 2, accumulation 2" in printed
    assert "out of memory; micro-batch 1, accumulation 4" in printed
    assert printed.count("step 2/6  validation") == 2, "each run evaluates step 2 once"
    assert figures["steps"] == expected["steps"] == 6
    first, second = (
        load_file(run.root / "adapter/adapter_model.safetensors") for run in (whole, halved)
    )
    tolerance = 1e-4 if torch.cuda.is_available() else 1e-5  # the GPU's CTC adds in any order
    assert max(float((first[name] - second[name]).abs().max()) for name in first) < tolerance


def test_a_row_that_does_not_fit_ends_the_run_with_a_remedy(
    project: Callable[[str], Project], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = project("none")
    memory_ends(monkeypatch, above=0, from_step=0)
    with pytest.raises(UserError, match="lower max_pixels or max_target_length"):
        run.train()
    assert not (run.root / "adapter").exists()


@pytest.mark.parametrize("metric", typing.get_args(Metric))
def test_the_best_checkpoint_follows_the_direction_of_its_metric(
    project: Callable[[str], Project], monkeypatch: pytest.MonkeyPatch, metric: str
) -> None:
    values = {0: 0.5, 2: 0.2, 4: 0.8, 6: 0.4}

    def score(self: Scorer, predictions: Any, step: int) -> dict[str, float]:
        return dict.fromkeys(("cer", metric), values[step])

    monkeypatch.setattr(Scorer, "__call__", score)
    run = project(metric)
    figures = run.train(metric_for_best_model=metric, early_stopping_patience=1)
    # patience 1: errors end at step 4 (worse than step 2); accuracies at step 6 (worse than 4)
    expected = (4, 0.8, 6) if metric in LARGER_IS_BETTER else (2, 0.2, 4)
    assert (figures["best"]["step"], figures["best"][metric], figures["steps"]) == expected
    kept = next(path for path in run.checkpoints() if path.name == f"checkpoint-{expected[0]}")
    best = load_file(kept / "adapter_model.safetensors")
    published = load_file(run.root / "adapter/adapter_model.safetensors")
    assert all(torch.equal(best[name], published[name]) for name in best)


def test_the_loader_leaves_no_process_behind(
    project: Callable[[str], Project], monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[int] = []
    ended = OcrTrainer.end_workers

    def end_workers(self: Any) -> None:
        started.extend(child.pid or 0 for child in multiprocessing.active_children())
        ended(self)
        assert not multiprocessing.active_children()

    monkeypatch.setattr(OcrTrainer, "end_workers", end_workers)
    project("workers").train(dataloader_workers=2)
    assert len(started) >= 2, "the workers were there until then"


def test_each_step_trains_in_training_mode_from_no_gradients(
    project: Callable[[str], Project], monkeypatch: pytest.MonkeyPatch
) -> None:
    original = OcrTrainer.compute_loss
    seen: list[int] = []

    def compute_loss(self: Any, model: Any, *more: Any, **named: Any) -> Any:
        for module in model.modules():
            if any(parameter.requires_grad for parameter in module.parameters(recurse=False)):
                assert module.training, "after a validation too"
        assert all(parameter.grad is None for parameter in model.parameters())
        seen.append(self.state.global_step)
        return original(self, model, *more, **named)

    monkeypatch.setattr(OcrTrainer, "compute_loss", compute_loss)
    project("modes").train()
    assert seen == [0, 1, 2, 3, 4, 5]


def test_validation_gives_up_captured_steps_only_where_memory_ends() -> None:
    calls: list[str] = []

    def read() -> Iterator[Recognition]:
        calls.append("read")
        yield Recognition("a", 1.0)
        if calls == ["read"]:
            raise torch.OutOfMemoryError("simulated")
        yield Recognition("b", 1.0)

    found = read_beside_graphs(read, lambda: calls.append("released"))
    assert [row.text for row in found] == ["a", "b"]
    assert calls == ["read", "released", "read"]
    assert len(read_beside_graphs(read, lambda: calls.append("released"))) == 2
    assert calls == ["read", "released", "read", "read"]
