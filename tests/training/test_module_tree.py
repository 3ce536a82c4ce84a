"""LoRA targets are looked for in the model without weights: the same layers, before any row."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny_models import write_qwen2_vl, write_trocr

from manifold_ocr.config import LoraConfig, ModelConfig, TrainConfig
from manifold_ocr.errors import UserError
from manifold_ocr.models.base import RunSpec
from manifold_ocr.models.family import family_for
from manifold_ocr.models.lora import match_targets
from manifold_ocr.models.registry import family_of
from manifold_ocr.records import Sample
from manifold_ocr.training import run
from manifold_ocr.training.checks import module_tree, scope

pytestmark = pytest.mark.torch
NAMED = {
    "ctc": ["qkv", "head.head"],
    "encoder_decoder": ["q_proj", "fc1"],
    "chat_vlm": ["o_proj", "gate_proj"],
}


@pytest.fixture(params=NAMED)
def base(request: pytest.FixtureRequest, tiny_ctc: Path, tmp_path: Path) -> Path:
    writers = {"encoder_decoder": write_trocr, "chat_vlm": write_qwen2_vl}
    return writers[request.param](tmp_path / "base") if request.param in writers else tiny_ctc


def settings(base: Path, targets: list[str]) -> RunSpec:
    return RunSpec(
        model=ModelConfig(id="tiny"),
        lora=LoraConfig(rank=2, target_modules=targets),
        train=TrainConfig(threads=1, max_target_length=16, generation_max_length=16),
        base=base,
        image_root=base,
    )


def test_the_tree_has_the_layers_that_training_adapts(base: Path) -> None:
    kind = family_of(base)
    tree = module_tree(base, kind)
    assert all(parameter.device.type == "meta" for parameter in tree.parameters())
    expected = match_targets(tree, NAMED[kind], scope(tree, kind, "backbone")[1])
    model = family_for(kind, settings(base, NAMED[kind])).build()
    adapted = [name for name, module in model.named_modules() if hasattr(module, "lora_A")]
    found = [name.partition("base_model.model.")[2] for name in adapted]
    assert sorted(found) == expected


def test_a_name_that_matches_nothing_is_refused_before_rows_and_weights(
    base: Path, tmp_path: Path
) -> None:
    def rows() -> Iterator[Sample]:
        raise AssertionError("a row was read")
        yield

    folder = tmp_path / "no-weights"
    shutil.copytree(base, folder)
    (folder / "model.safetensors").unlink()
    wrong = settings(folder, [NAMED[family_of(base)][0], "q_prooj"])
    with pytest.raises(UserError, match="'q_prooj' matches no module"):
        run.train(wrong, {"train": rows(), "val": rows()}, tmp_path / "a", tmp_path / "m")
