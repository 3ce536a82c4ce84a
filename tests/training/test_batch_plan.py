"""Cutting a step's rows into micro-batches: the largest that fits, and the same result."""

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny_models import text_image, write_trocr

from manifold_ocr.config import LoraConfig, ModelConfig, TrainConfig
from manifold_ocr.errors import UserError
from manifold_ocr.models.base import RunSpec
from manifold_ocr.models.family import family_for
from manifold_ocr.records import Sample
from manifold_ocr.training import batches, loader
from manifold_ocr.training import run as training_run
from manifold_ocr.training.batches import (
    BatchPlan,
    fitting_plan,
    keep_plan,
    planned,
    planned_settings,
)
from manifold_ocr.training.locking import rows_per_step

pytestmark = pytest.mark.torch
TEXTS = ["a", "hello there", "x9 zz 12", "ocr", "7 seas and more", "quick fox", "b", "jumps 42"]


def linear(fixed: int, row: int):
    return lambda rows: fixed + row * rows


@pytest.mark.parametrize(
    ("available", "graphs", "micro"),
    [
        (10_000, True, 12),
        (1_000 + 12 * 100, False, 12),
        (1_000 + 12 * 100, True, 6),  # 1.8 x 600 fits, 1.8 x 1200 does not
        (1_000 + 179, True, 1),  # no captured step fits; one eager row does
        (1_000 + 399, False, 3),
    ],
)
def test_the_largest_divisor_of_a_steps_rows_that_fits(available, graphs, micro):
    plan = fitting_plan(BatchPlan(4, 3), linear(1_000, 100), available, graphs=graphs)
    assert (plan.micro, plan.micro * plan.accumulation) == (micro, 12)


def test_a_row_that_does_not_fit_is_refused_with_remedies():
    with pytest.raises(UserError, match="gradient_checkpointing=true"):
        fitting_plan(BatchPlan(1, 8), linear(1_000, 100), 1_050, graphs=True)


@pytest.mark.parametrize(
    ("size", "accumulation", "processes", "own"),
    [
        (16, 1, 2, (8, 1)),
        (4, 2, 2, (4, 1)),
        (1, 8, 4, (1, 2)),
        (0, 1, 8, (2, 1)),
        (6, 1, 1, (6, 1)),
    ],
)
def test_processes_share_the_rows_of_a_step(size, accumulation, processes, own):
    config = TrainConfig(train_batch_size=size, gradient_accumulation=accumulation)
    assert rows_per_step(config) == own[0] * own[1] * processes
    assert batches.requested_plan(config, processes) == BatchPlan(*own)


def test_rows_that_processes_cannot_share_are_refused():
    with pytest.raises(UserError, match="multiple of 3"):
        batches.requested_plan(TrainConfig(train_batch_size=16), 3)


def test_halving_keeps_the_rows_of_a_step():
    plan = BatchPlan(6, 1)
    for _ in range(3):
        plan = plan.halved()
        assert plan.micro * plan.accumulation == 6
    assert plan.micro == 1


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> RunSpec:
    root = tmp_path_factory.mktemp("plan")
    for number, text in enumerate(TEXTS):
        text_image(text, (112, 56)).save(root / f"{number}.png")
    return RunSpec(
        model=ModelConfig(id="tiny"),
        lora=LoraConfig(rank=4, alpha=8, dropout=0.0),
        train=TrainConfig(
            train_batch_size=0,
            max_target_length=32,
            generation_max_length=8,
            threads=1,
            rehearsal=0.0,
        ),
        base=write_trocr(root / "base"),
        image_root=root,
    )


def rows() -> list[Sample]:
    return [
        Sample(
            id=str(number),
            document=str(number),
            corpus="drawn",
            subset="all",
            image=f"{number}.png",
            text=text,
            width=112,
            height=56,
        )
        for number, text in enumerate(TEXTS)
    ]


def test_automatic_takes_what_fits_and_a_resumed_run_keeps_it(settings, tmp_path, monkeypatch):
    family, record = family_for("encoder_decoder", settings), tmp_path / "batch.json"
    monkeypatch.setattr(batches, "usable_memory", lambda: None)
    assert planned(family, rows(), settings, record) == BatchPlan(16, 1)
    need = batches.step_memory(family, rows(), settings)
    assert need(1) < need(2) < need(16)
    fixed = 2 * need(1) - need(2)
    room = int(fixed + 1.8 * (need(4) - fixed)) + 1
    monkeypatch.setattr(batches, "usable_memory", lambda: room)
    plan = planned(family, rows(), settings, record)
    assert plan == BatchPlan(4, 4)
    keep_plan(plan, record)
    monkeypatch.setattr(batches, "usable_memory", lambda: 10**12)
    assert planned(family, rows(), settings, record) == plan


def test_checkpointing_is_left_out_where_a_whole_step_fits_without(
    settings, tmp_path, monkeypatch, capsys
):
    knobs = {"train_batch_size": 1, "gradient_accumulation": 8, "gradient_checkpointing": True}
    asked = replace(settings, train=replace(settings.train, **knobs))
    family, record = family_for("encoder_decoder", asked), tmp_path / "batch.json"
    monkeypatch.setattr(batches, "usable_memory", lambda: 10**12)
    plan = planned(family, rows(), asked, record)
    assert plan == BatchPlan(8, 1, spared=True)
    assert "without gradient checkpointing" in capsys.readouterr().out
    assert not planned_settings(plan, asked).train.gradient_checkpointing
    keep_plan(plan, record)
    assert planned(family, rows(), asked, record) == plan
    assert plan.halved() == BatchPlan(8, 1) and plan.halved().halved() == BatchPlan(4, 2)
    assert planned_settings(plan.halved(), asked) == asked
    whole = planned_settings(plan, asked)
    need = batches.step_memory(family_for("encoder_decoder", whole), rows(), whole)
    room = int(batches.captured_memory(need, 8)) - 1
    monkeypatch.setattr(batches, "usable_memory", lambda: room)
    assert planned(family, rows(), asked, tmp_path / "none.json") == BatchPlan(8, 1)


def test_how_a_step_is_cut_does_not_change_what_is_learned(settings, tmp_path, monkeypatch):
    """Rows of 2 to 16 tokens: a mean of the micro-batches' means would differ by a fifth."""
    found = {}
    for micro, accumulation in ((8, 1), (2, 4), (1, 8)):
        home = tmp_path / f"{micro}"
        home.mkdir()
        monkeypatch.chdir(home)
        monkeypatch.setenv("MANIFOLD_OCR_CACHE", str(home / "cache"))
        config = TrainConfig(
            train_batch_size=micro,
            gradient_accumulation=accumulation,
            max_steps=3,
            learning_rate=1e-3,
            rehearsal=0.0,
            max_target_length=32,
            generation_max_length=4,
            eval_steps=3,
            threads=1,
            warmup=0.0,
        )
        run = RunSpec(
            model=settings.model,
            lora=settings.lora,
            train=config,
            base=settings.base,
            image_root=settings.image_root,
        )
        chosen = {"train": rows(), "val": rows()[:2]}
        training_run.train(run, chosen, Path("adapter"), Path("metrics"))
        newest = max((home / "cache/training").glob("*/checkpoints/checkpoint-3"))
        weights = load_file(next(newest.glob("adapter_model.safetensors")))
        found[micro] = torch.cat([weights[name].flatten() for name in sorted(weights)])
    moved = (found[8] - found[8].mean()).norm()
    for micro in (2, 1):
        assert (found[micro] - found[8]).norm() / moved < 1e-5


def test_a_batch_of_a_worker_travels_as_arrays_and_comes_back_as_it_was(monkeypatch):
    monkeypatch.setattr(loader, "pin_memory", lambda batch: batch)  # which needs a GPU
    given = {
        "pixel_values": torch.arange(1 << 17, dtype=torch.uint8),
        "labels": torch.tensor([[3, -100], [4, 5]]),
        "scale": torch.tensor(0.5, dtype=torch.bfloat16),
        "tokens": 3,
    }
    packed = pickle.loads(pickle.dumps(loader._Packed(dict(given))))
    assert isinstance(packed.batch["labels"], np.ndarray)
    assert isinstance(packed.batch["pixel_values"], torch.Tensor)
    back = packed.pin_memory()
    assert back.keys() == given.keys() and back["tokens"] == 3
    for name in ("pixel_values", "labels", "scale"):
        assert back[name].dtype == given[name].dtype and torch.equal(back[name], given[name])
