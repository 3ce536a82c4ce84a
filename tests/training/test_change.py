"""A share of what training changed: read at validation, published, the same after a resume."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from training_project import Project, start_project

from manifold_ocr.errors import UserError
from manifold_ocr.training.change import Change

pytestmark = pytest.mark.torch
KNOBS = {"epochs": 2.0, "train_batch_size": 3, "learning_rate": 0.01, "save_total_limit": 2}


@pytest.fixture
def project(
    tmp_path: Path, tiny_ctc: Path, line_samples: tuple, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], Project]:
    fixed = {"val_rows": 2, "knobs": KNOBS}
    return lambda name: start_project(tmp_path / name, monkeypatch, tiny_ctc, line_samples, **fixed)


def always_better(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every evaluation be the best one, so that the last checkpoint is published."""
    from manifold_ocr.training.run_record import Scorer

    monkeypatch.setattr(Scorer, "__call__", lambda *given: {"cer": 1 / (1 + given[2])})


def weights(project: Project, published: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what is published and what the last checkpoint holds."""
    last = max(project.checkpoints(), key=lambda path: int(path.name.split("-")[1]))
    return load_file(project.root / "adapter" / published), load_file(last / published)


def read_by_peft(base: Path, adapter: Path, images: torch.Tensor, scale: float) -> torch.Tensor:
    """Return what plain transformers and PEFT read, each LoRA layer scaled by PEFT itself."""
    from peft import PeftModel
    from peft.tuners.lora import LoraLayer
    from transformers import AutoModelForTextRecognition

    model = PeftModel.from_pretrained(AutoModelForTextRecognition.from_pretrained(base), adapter)
    for module in model.modules():
        if isinstance(module, LoraLayer):
            module.scale_layer(scale)
    with torch.no_grad():
        read: torch.Tensor = model.eval()(pixel_values=images).last_hidden_state
    return read


def test_of_lora_only_what_it_adds_is_scaled(
    project: Callable[[str], Project], monkeypatch: pytest.MonkeyPatch, tiny_ctc: Path
) -> None:
    always_better(monkeypatch)
    half = project("half")
    half.train(change_kept=0.25)
    whole = project("whole")
    whole.train()
    found, trained = weights(half, "adapter_model.safetensors")
    plain, same = weights(whole, "adapter_model.safetensors")
    for name, value in trained.items():
        np.testing.assert_array_equal(value, same[name], err_msg="training itself is the same")
        share = 0.25 if "lora_B" in name else 1.0
        np.testing.assert_allclose(found[name], share * plain[name], rtol=1e-6)
    assert any(np.abs(found[name]).max() > 0 for name in found if "lora_B" in name)
    images = torch.rand(2, 3, 48, 64, generator=torch.Generator().manual_seed(0))
    expected = read_by_peft(tiny_ctc, whole.root / "adapter", images, 0.25)
    torch.testing.assert_close(
        read_by_peft(tiny_ctc, half.root / "adapter", images, 1.0), expected, rtol=1e-4, atol=1e-6
    )
    all_of_it = read_by_peft(tiny_ctc, whole.root / "adapter", images, 1.0)
    assert (all_of_it - expected).abs().max() > 1e-4


def test_full_weights_lie_between_the_base_and_the_trained_ones(
    project: Callable[[str], Project], monkeypatch: pytest.MonkeyPatch, tiny_ctc: Path
) -> None:
    always_better(monkeypatch)
    run = project("full")
    run.train(rank=0, change_kept=0.5)
    found, trained = weights(run, "model.safetensors")
    base = load_file(tiny_ctc / "model.safetensors")
    for name, value in trained.items():
        np.testing.assert_allclose(found[name], (base[name] + value) / 2, rtol=1e-5, atol=1e-7)
    assert any((value != base[name]).any() for name, value in trained.items())


def test_reading_sees_the_share_and_training_goes_on_with_all_of_it() -> None:
    model = torch.nn.Linear(2, 1, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.0, 4.0]]))
    change = Change(model, 0.75)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[5.0, 0.0]]))
    with change.kept():
        assert model.weight.tolist() == [[4.0, 1.0]], "1 + 0.75 x 4 and 4 - 0.75 x 4"
    assert model.weight.tolist() == [[5.0, 0.0]]
    with Change(model, 1.0).kept():
        assert model.weight.tolist() == [[5.0, 0.0]]


def test_an_adapter_to_start_from_has_no_share(project: Callable[[str], Project]) -> None:
    run = project("first")
    run.train()
    with pytest.raises(UserError, match=r"train\.change_kept.*train\.init_from"):
        run.train(change_kept=0.5, init_from=str(run.root / "adapter"))


def test_on_a_cpu_only_the_ctc_family_has_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    from manifold_ocr.training.fit import training_precision

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert training_precision("bf16", "ctc") == "bf16"
    assert training_precision("fp32", "ctc") == "fp32"
    assert training_precision("bf16", "encoder_decoder") == "fp32"
