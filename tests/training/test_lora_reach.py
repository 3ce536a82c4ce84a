"""LoRA trains what it says: no frozen bias, no pooler, no output head that the loss reads as is."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import drawn_samples, write_qwen2_vl, write_trocr
from torch import nn
from training_project import Project

from manifold_ocr.errors import UserError
from manifold_ocr.models.base import RunSpec
from manifold_ocr.models.ctc.loss import Workspace, ctc_head_loss
from manifold_ocr.models.ctc.rows import line_labels, targets_of
from manifold_ocr.models.family import family_for
from manifold_ocr.models.lora import match_targets
from manifold_ocr.models.registry import family_of
from manifold_ocr.training.checks import check_start, check_targets, scope

pytestmark = pytest.mark.torch
WRITERS = {"encoder_decoder": write_trocr, "chat_vlm": write_qwen2_vl}
HEADS = {"encoder_decoder": "output_projection", "chat_vlm": "lm_head"}


@pytest.fixture(scope="module", params=list(WRITERS))
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return WRITERS[request.param](tmp_path_factory.mktemp("reach") / request.param)


def spec(base: Path, lora: dict[str, Any] | None = None, **train: Any) -> RunSpec:
    knobs = {"max_target_length": 16, "generation_max_length": 16}
    made = Project(base, base, base, [], 0, knobs=knobs).settings(**train)
    return replace(made, lora=replace(made.lora, **(lora or {})))


def test_all_biases_are_trained_except_those_of_the_frozen_part(base: Path) -> None:
    family = family_of(base)
    model = family_for(family, spec(base, {"bias": "all"})).build()
    trained = [n for n, p in model.named_parameters() if p.requires_grad and "lora_" not in n]
    assert trained
    part = ".decoder." if family == "encoder_decoder" else ".language_model."
    assert all(part in name and name.endswith("bias") for name in trained)


def test_an_adapter_on_the_output_head_is_refused_by_name(base: Path) -> None:
    family = family_of(base)
    for freeze in ("backbone", "none"):
        with pytest.raises(UserError, match=rf"{HEADS[family]}'? (is the output head|matches no)"):
            check_targets(
                spec(base, {"target_modules": ["q_proj", HEADS[family]]}, freeze=freeze), family
            )
    check_targets(spec(base, {"target_modules": ["q_proj"]}), family)


def test_a_pooler_that_no_text_comes_from_is_left_alone() -> None:
    class Pooled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pooler = nn.ModuleDict({"dense": nn.Linear(2, 2)})
            self.output = nn.ModuleDict({"dense": nn.Linear(2, 2)})

    assert match_targets(Pooled(), ["dense"]) == ["output.dense"]


def test_a_start_of_other_settings_or_in_the_stages_own_out_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = write_trocr(tmp_path / "base")
    images = tmp_path / "images"
    images.mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MANIFOLD_OCR_CACHE", str(tmp_path / "cache"))
    knobs = {"max_target_length": 16, "generation_max_length": 4, "max_steps": 1}
    rows = drawn_samples(images, ["abc", "12"])
    run = Project(tmp_path, base, images, rows, 2, rank=4, alpha=8, knobs=knobs)
    run.train()
    (tmp_path / "adapter").rename(tmp_path / "start")

    def checked(lora: dict[str, Any], **train: Any) -> None:
        settings = run.settings(**{"init_from": "start", **train})
        settings = replace(settings, lora=replace(settings.lora, **lora))
        check_start(settings.train, settings.lora, tmp_path / "adapter")
        check_targets(settings, "encoder_decoder")

    checked({})
    refused: list[tuple[dict[str, Any], dict[str, Any], str]] = [
        ({"rank": 2}, {}, r"set lora\.rank=4$"),
        ({"alpha": 16, "dropout": 0.5}, {}, r"set lora\.alpha=8 lora\.dropout=0\.0"),
        ({"rank": 0}, {}, "is an adapter and lora.rank is 0"),
        ({"target_modules": ["q_proj"]}, {}, r"set lora\.target_modules"),
        ({}, {"freeze": "none"}, r"train\.freeze as they were"),
        ({}, {"init_from": "adapter"}, "is what this stage writes"),
        ({}, {"init_from": "nowhere"}, "is no folder"),
        ({}, {"init_from": "base"}, r"set lora\.rank=0 to train it on"),
    ]
    for lora, train, message in refused:
        with pytest.raises(UserError, match=message):
            checked(lora, **train)
    figures = run.train(init_from="start")
    assert figures["steps"] == 1


def test_the_stages_own_out_is_refused_before_dvc_deletes_it(tmp_path, monkeypatch) -> None:
    from manifold_ocr.stages import check_params

    params = (Path(__file__).parents[2] / "params.yaml").read_text(encoding="utf-8")
    started = params.replace('init_from: ""', "init_from: output/adapter")
    assert started != params
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(started, encoding="utf-8")
    with pytest.raises(UserError, match=r"is what this stage writes.*copy"):
        check_params.main()
    assert not check_params.OUT.exists()


def test_the_scope_says_what_auto_names_and_where() -> None:
    endings, within = scope(None, "ctc", "backbone")
    assert within == "head."
    assert "head.head" in endings


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_ctc_loss_under_autocast_is_that_of_its_half_precision_inputs(dtype: Any) -> None:
    torch.manual_seed(0)
    encoder, head = nn.Linear(8, 8), nn.Linear(8, 30)
    down, up = nn.Linear(8, 2, bias=False), nn.Linear(2, 30, bias=False)
    targets = targets_of(line_labels([[1, 2, 3], [4, 5]]), torch.tensor([10, 10]))

    def loss_of(hidden: torch.Tensor, inner: torch.Tensor) -> torch.Tensor:
        return ctc_head_loss(hidden, inner, head.weight, up.weight, head.bias, targets, Workspace())

    with torch.autocast("cpu", dtype=dtype):
        hidden = encoder(torch.randn(20, 8))
        inner = down(hidden)
        assert hidden.dtype == dtype
        loss = loss_of(hidden, inner)
    loss.backward()
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, loss_of(hidden.detach().float(), inner.detach().float()))
    assert all(p.grad is not None for p in (encoder.weight, down.weight, up.weight))
