"""The dry run on tiny models: what LoRA reaches, memory, the refusal, learning by heart."""

from pathlib import Path

import pytest
import torch
from tiny_models import text_image, write_qwen2_vl, write_trocr

from manifold_ocr.config import LoraConfig, ModelConfig, TrainConfig
from manifold_ocr.errors import UserError
from manifold_ocr.models.base import RunSpec
from manifold_ocr.models.family import family_for
from manifold_ocr.models.registry import family_of
from manifold_ocr.records import Sample
from manifold_ocr.training import memory, preflight

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module", params=[write_trocr, write_qwen2_vl], ids=["trocr", "qwen2_vl"])
def case(request, tmp_path_factory):
    base = request.param(tmp_path_factory.mktemp("base"))
    root = tmp_path_factory.mktemp("images")
    samples = []
    for number, text in enumerate(["ab", "a longer line", "x"]):
        text_image(text, (112, 56)).save(root / f"{number}.png")
        sample = Sample(
            id=str(number),
            document=str(number),
            corpus="drawn",
            subset="all",
            image=f"{number}.png",
            text=text,
            width=112,
            height=56,
        )
        samples.append(sample)
    settings = RunSpec(
        model=ModelConfig(id="tiny"),
        lora=LoraConfig(rank=8, alpha=16),
        train=TrainConfig(
            max_target_length=32, generation_max_length=16, threads=1, learning_rate=0.01
        ),
        base=base,
        image_root=Path(root),
    )
    return family_for(family_of(base), settings), samples, settings


def test_report_and_refusal(case, monkeypatch):
    family, samples, settings = case
    monkeypatch.setattr(preflight, "usable_memory", lambda: None)
    found = preflight.run_preflight(family, samples, settings, 4)
    assert any("q_proj" in name for name in found.coverage.hit)
    assert all("decoder" in name or "language_model" in name for name in found.coverage.hit)
    assert found.coverage.missed, "the frozen vision part is not adapted"
    found.require_fit()
    one = preflight.run_preflight(family, samples, settings, 1)
    assert 0 < one.estimate < found.estimate
    between = (one.estimate + found.estimate) // 2
    monkeypatch.setattr(preflight, "usable_memory", lambda: between)
    tight = preflight.run_preflight(family, samples, settings, 4)
    assert tight.fitting in (1, 2, 3)
    with pytest.raises(UserError, match=f"train_batch_size={tight.fitting}"):
        tight.require_fit()
    monkeypatch.setattr(preflight, "usable_memory", lambda: 1000)
    with pytest.raises(UserError, match="gradient_checkpointing"):
        preflight.run_preflight(family, samples, settings, 4).require_fit()


def test_the_estimate_counts_what_a_cpu_step_keeps(case):
    """Weights and gradients are exact; the rest is what the step saves for its backward pass."""
    family, samples, settings = case
    model = family.build()
    held = {p.untyped_storage().data_ptr(): p.nbytes for p in model.parameters()}
    batch = memory.longest_batch(family, samples, 2)
    meta = memory.on_meta(family.build())
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in held:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = model(**batch)["loss"]
    total = memory.estimate_rows(meta, batch, settings) - preflight_workspace()
    floor = sum(held.values()) + sum(kept.values())
    assert loss.requires_grad
    assert 0.8 * floor < total < 3 * floor


def preflight_workspace() -> int:
    from manifold_ocr.training.memory import WORKSPACE

    return WORKSPACE


def test_overfit_reports_before_and_after(case):
    from manifold_ocr.training.preflight import overfit

    family, samples, settings = case
    result = overfit(family, samples[:1], settings, 60)
    assert result.before > 0.5
    assert result.after < result.before
    assert result.steps <= 60


def test_the_longest_rows_are_found_by_one_look_at_the_lengths(case):
    family, samples, _ = case
    data = family.data(samples)

    class Watched:
        looks = 0

        def __len__(self):
            return len(data)

        def __getitem__(self, index):
            return data[index]

        @property
        def lengths(self):
            self.looks += 1  # a family may compute them anew
            return data.lengths

    watched = Watched()
    memory.longest_of(family, watched, 2)
    assert watched.looks == 1
