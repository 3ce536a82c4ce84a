"""What params alone refuse, at once and without torch; presets; similar-length batches."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from manifold_ocr.config import LoraConfig, ModelConfig, TrainConfig
from manifold_ocr.errors import UserError
from manifold_ocr.models.base import RunSpec
from manifold_ocr.training import checks

ROOT = Path(__file__).parents[2]


def settings(folder: Path, positions: int = 512, **sections: dict) -> RunSpec:
    config = {"model_type": "x", "decoder": {"max_position_embeddings": positions}}
    (folder / "config.json").write_text(json.dumps(config))
    return RunSpec(
        model=ModelConfig(id="x", **sections.get("model", {})),
        lora=LoraConfig(**sections.get("lora", {})),
        train=TrainConfig(**sections.get("train", {})),
        base=folder,
        image_root=folder,
    )


@pytest.mark.parametrize(
    ("sections", "remedy"),
    [
        ({"model": {"quantization": "4bit", "precision": "bf16"}}, "model.quantization=none"),
        ({"model": {"precision": "fp16"}}, "model.precision=fp32"),
        ({"train": {"max_target_length": 640}}, "train.max_target_length=512"),
        ({"train": {"generation_max_length": 768}}, "train.generation_max_length=512"),
    ],
)
def test_wrong_combinations_are_refused_with_the_remedy(tmp_path, monkeypatch, sections, remedy):
    monkeypatch.setattr(checks, "gpu_present", lambda: False)
    with pytest.raises(UserError, match=remedy):
        checks.check_combinations(settings(tmp_path, **sections))


@pytest.mark.parametrize(
    "sections",
    [
        {"model": {"quantization": "4bit", "precision": "bf16"}, "lora": {"rank": 0}},
        {"model": {"quantization": "4bit", "precision": "fp32"}},
        {"model": {"quantization": "8bit", "precision": "bf16"}, "lora": {"bias": "all"}},
    ],
)
def test_quantized_weights_have_limits_on_a_gpu_too(tmp_path, monkeypatch, sections):
    monkeypatch.setattr(checks, "gpu_present", lambda: True)
    with pytest.raises(UserError):
        checks.check_combinations(settings(tmp_path, **sections))


@pytest.mark.parametrize(
    ("sections", "remedy"),
    [
        ({"model": {"precision": "bf16"}}, "model.precision=fp16"),
        ({"model": {"precision": "fp16"}, "train": {"freeze": "none"}}, "train.freeze=backbone"),
    ],
)
def test_sums_in_fp16_are_refused_where_they_cannot_act(tmp_path, monkeypatch, sections, remedy):
    monkeypatch.setattr(checks, "gpu_present", lambda: True)
    sections["model"]["fp16_accumulation"] = True
    with pytest.raises(UserError, match=remedy):
        checks.check_combinations(settings(tmp_path, **sections))


def test_good_params_pass(tmp_path, monkeypatch):
    monkeypatch.setattr(checks, "gpu_present", lambda: True)
    good = {"model": {"quantization": "4bit", "precision": "bf16"}}
    checks.check_combinations(settings(tmp_path, **good))


def test_the_check_imports_no_torch_and_is_quick():
    code = (
        "import sys; import manifold_ocr.training.checks; "
        "from manifold_ocr.resources import gpu_present; gpu_present(); "
        "assert 'torch' not in sys.modules"
    )
    start = time.monotonic()
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT / "src")
    assert time.monotonic() - start < 2


@pytest.mark.parametrize("preset", sorted((ROOT / "presets").glob("*.yaml")), ids=lambda p: p.stem)
def test_presets_hold_known_keys_and_valid_values(preset):
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    content = yaml.safe_load(preset.read_text())
    assert isinstance(content.pop("decoder_positions", 512), int)
    cards = content.pop("cards", {12: {}})
    assert set(cards) in ({8, 12, 16, 24}, {12})
    for values in [content, *map(nested, cards.values())]:
        check_values(params, content, values)


def nested(flat):
    """{"train.epochs": 1} as {"train": {"epochs": 1}}."""
    sections = {}
    for key, value in flat.items():
        section, name = key.split(".")
        sections.setdefault(section, {})[name] = value
    return sections


def check_values(params, content, changes):
    for section, values in changes.items():
        values = {**content.get(section, {}), **values}
        assert set(values) <= set(params[section]), section
        merged = {**params[section], **values}
        if section in ("model", "lora", "train"):
            from manifold_ocr.errors import build

            build(
                {"model": ModelConfig, "lora": LoraConfig, "train": TrainConfig}[section],
                merged,
                section,
            )
