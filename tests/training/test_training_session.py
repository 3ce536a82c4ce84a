"""The training harness on a tiny ctc model: exact resume, refusal, republishing, errors."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from training_project import Project, start_project

from manifold_ocr.config import ModelConfig
from manifold_ocr.errors import UserError

pytestmark = pytest.mark.torch
KNOBS: dict[str, Any] = {
    "epochs": 3.0,
    "train_batch_size": 3,
    "learning_rate": 0.01,
    "logging_steps": 2,
}


@pytest.fixture
def project(
    tmp_path: Path, tiny_ctc: Path, line_samples: tuple, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], Project]:
    fixed = {"val_rows": 4, "knobs": KNOBS}
    return lambda name: start_project(tmp_path / name, monkeypatch, tiny_ctc, line_samples, **fixed)


class Killed(BaseException):
    """Stands for kill -9: nothing below the raise gets a chance to save."""


def kill_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    from manifold_ocr.training.trainer import OcrTrainer

    original = OcrTrainer.compute_loss

    def compute_loss(self: Any, *arguments: Any, **keywords: Any) -> Any:
        if self.state.global_step == step:
            raise Killed
        return original(self, *arguments, **keywords)

    monkeypatch.setattr(OcrTrainer, "compute_loss", compute_loss)


@pytest.fixture
def unbroken(project: Callable[[str], Project]) -> tuple[tuple[str, str], dict[str, Any]]:
    run = project("unbroken")
    figures = run.train(eval_steps=2)
    return run.hashes(), figures


def test_a_killed_run_goes_on_to_the_same_adapter_and_logs(
    project: Callable[[str], Project], unbroken: tuple, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = project("killed")
    for step in (1, 3, 8):  # before the first checkpoint, inside an epoch, near the end
        with monkeypatch.context() as patch:
            kill_at(patch, step)
            with pytest.raises(Killed):
                run.train(eval_steps=2)
    newest = run.checkpoints()[-1]
    (newest / "optimizer.pt").write_bytes(b"cut short")  # the kill came while this was written
    figures = run.train(eval_steps=2)
    assert run.hashes() == unbroken[0]
    assert figures == unbroken[1]
    assert len(run.runs()) == 1, "a resumed run stays in its folder"


def test_epoch_schedule_gives_equal_hashes_twice_and_after_a_stop(
    project: Callable[[str], Project], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = project("first")
    first.train()
    second = project("second")
    from manifold_ocr.training.callbacks import Conductor

    original = Conductor.on_step_end

    def stop_requested(self: Any, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.stop.requested = state.global_step in (4, 6)  # inside an epoch, and at its end
        original(self, args, state, control, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(Conductor, "on_step_end", stop_requested)
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                second.train()
    record = (second.runs()[0] / "run.yaml").read_text(encoding="utf-8")
    assert "status: interrupted" in record
    second.train()
    assert second.hashes() == first.hashes()


def test_a_finished_run_is_published_again_without_training(
    project: Callable[[str], Project], monkeypatch: pytest.MonkeyPatch
) -> None:
    from manifold_ocr.training import run as training_run

    run = project("again")
    figures = run.train(epochs=1.0)
    before = run.hashes()
    shutil.rmtree(run.root / "adapter")
    monkeypatch.setattr(training_run, "_run", lambda *_: pytest.fail("trained again"))
    assert run.train(epochs=1.0) == figures
    assert run.hashes() == before


def test_run_folder_holds_what_design_promises(project: Callable[[str], Project]) -> None:
    import yaml

    run = project("folder")
    os.environ["HF_TOKEN"] = "secret-value"
    try:
        run.train(epochs=1.0)
    finally:
        del os.environ["HF_TOKEN"]
    folder = run.runs()[0]
    assert folder.name.endswith("_tiny")
    text = (folder / "run.yaml").read_text(encoding="utf-8")
    record = yaml.safe_load(text)
    assert record["status"] == "finished"
    assert record["inputs"]["data"]["train"]
    assert record["environment"]["HF_TOKEN"] == "(set)"
    assert "secret-value" not in text
    state = json.loads((folder / "trainer_state.json").read_text(encoding="utf-8"))
    assert state["global_step"] == 3
    results = json.loads((folder / "eval_results.json").read_text(encoding="utf-8"))
    assert {"adapter", "base", "difference"} <= results.keys()
    assert {"even", "odd"} == results["adapter"]["by_subset"].keys()
    assert list((folder / "tensorboard").glob("events*"))
    assert (folder / "adapter" / "adapter_model.safetensors").is_file()
    metrics = json.loads((run.root / "metrics" / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["best"]["cer"] == state["best_metric"]
    written = "".join(p.read_text() for p in (run.root / "metrics").rglob("*") if p.is_file())
    assert str(run.root) not in written
    assert "runtime" not in written
    assert "per_second" not in written


def test_resume_from_another_run_is_refused_naming_what_differs(
    project: Callable[[str], Project], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = project("resume")
    run.train(epochs=2.0)
    expected = run.hashes()
    early, late = run.checkpoints()
    monkeypatch.setenv("RESUME_FROM", str(early))
    with pytest.raises(UserError, match=r"lora\.rank, train\.learning_rate"):
        run.train(rank=2, epochs=2.0, learning_rate=0.5)
    run.train(epochs=2.0)
    assert run.hashes() == expected
    (late / "scheduler.pt").unlink()
    monkeypatch.setenv("RESUME_FROM", str(late))
    with pytest.raises(UserError, match="not a complete checkpoint"):
        run.train(epochs=2.0)


def test_a_loss_that_is_not_finite_names_the_rows(
    project: Callable[[str], Project], monkeypatch: pytest.MonkeyPatch
) -> None:
    from manifold_ocr.models.ctc import train

    original = train.CtcTrainee.forward

    def forward(self: Any, groups: Any, **labels: Any) -> Any:
        return {"loss": original(self, groups, **labels)["loss"] * float("nan")}

    monkeypatch.setattr(train.CtcTrainee, "forward", forward)
    run = project("nan")
    with pytest.raises(UserError, match=r"nan at step 1 on rows line-\d"):
        run.train(epochs=1.0)
    assert "status: failed" in (run.runs()[0] / "run.yaml").read_text(encoding="utf-8")
    assert not (run.root / "adapter").exists()


def test_nothing_to_train_on_is_an_error(project: Callable[[str], Project]) -> None:
    run = project("empty")
    with pytest.raises(UserError, match="no training rows left"):
        run.train(include_languages=("tlh",))


def test_the_head_learns_eight_lines_by_heart(project: Callable[[str], Project]) -> None:
    run = project("heart")
    figures = run.train(rank=0, epochs=200.0, train_batch_size=8, eval_steps=100, logging_steps=100)
    assert figures["best"]["cer"] == 0.0


def test_an_unfrozen_backbone_is_trained_and_saved_as_a_checkpoint(
    project: Callable[[str], Project],
) -> None:
    from manifold_ocr.models.ctc import model as ctc
    from manifold_ocr.models.ctc.onnx_weights import touches_backbone
    from manifold_ocr.models.ctc.train import CtcTraining

    run = project("unfrozen")
    run.train(rank=0, freeze="none", epochs=2.0, train_batch_size=8)
    assert touches_backbone(run.base, run.root / "adapter")
    model = ctc.load(ModelConfig(id="tiny"), run.base, run.root / "adapter", "cpu")
    found = [result.text for result in model.recognize_samples(run.rows, run.image_root)]
    settings = run.settings(rank=0, freeze="none")
    family = CtcTraining(settings)
    trainee = family.build().eval()
    family.restore(trainee, run.root / "adapter")
    assert found == [result.text for result in family.read(trainee, run.rows)]


@pytest.mark.parametrize("rank", [0, 4])
def test_with_the_early_stages_frozen_the_last_one_and_the_head_are_trained(
    rank: int, project: Callable[[str], Project]
) -> None:
    import torch

    from manifold_ocr.models.ctc import model as ctc
    from manifold_ocr.models.ctc.train import CtcTraining

    run = project("early")
    run.train(rank=rank, freeze="early", epochs=20.0, learning_rate=0.02, train_batch_size=8)
    family = CtcTraining(run.settings(rank=rank, freeze="early"))
    trainee = family.build().eval()
    before = {name: value.clone() for name, value in trainee.named_parameters()}
    family.restore(trainee, run.root / "adapter")
    moved = {n for n, value in trainee.named_parameters() if not torch.equal(value, before[n])}
    parts = {"early": "encoder.blocks.3.", "head": ".head."}
    assert all(any(part in name for name in moved) for part in parts.values())
    assert all(any(part in name for part in parts.values()) for name in moved)
    model = ctc.load(ModelConfig(id="tiny"), run.base, run.root / "adapter", "cpu")
    found = [result.text for result in model.recognize_samples(run.rows, run.image_root)]
    assert found == [result.text for result in family.read(trainee, run.rows)]


def test_adapter_reloads_in_plain_peft_with_equal_logits(
    project: Callable[[str], Project],
) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForTextRecognition

    from manifold_ocr.models.ctc import model as ctc
    from manifold_ocr.models.ctc.decode import line_pixels
    from manifold_ocr.models.ctc.torch_parts import head_logits, load_torch

    run = project("peft")
    run.train(epochs=2.0)
    assert not (run.root / "adapter" / "README.md").exists()
    config = json.loads((run.root / "adapter/adapter_config.json").read_text(encoding="utf-8"))
    assert config["target_modules"] == sorted(config["target_modules"])
    plain = PeftModel.from_pretrained(
        AutoModelForTextRecognition.from_pretrained(run.base), str(run.root / "adapter")
    ).eval()
    ours = load_torch(ModelConfig(id="tiny"), run.base, run.root / "adapter", "cpu")
    from PIL import Image

    pixels = torch.from_numpy(line_pixels(Image.open(run.image_root / "0.png")))
    with torch.no_grad():
        features = ours.model.get_base_model().model(pixels).last_hidden_state
        expected = plain(pixels).last_hidden_state
        found = head_logits(ours.model, features).softmax(-1)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    assert ctc.load(ModelConfig(id="tiny"), run.base, run.root / "adapter", None).name
