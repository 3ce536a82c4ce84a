"""Donut and other chat models than Qwen2-VL: loss, learning, reading, what LoRA reaches."""

import json
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from tiny_chat_models import (
    write_glm_ocr,
    write_lighton_ocr,
    write_paddleocr_vl,
    write_qwen2_5_vl,
    write_qwen3_vl,
)
from tiny_models import drawn_samples, write_donut
from training_project import Project

from manifold_ocr.config import ModelConfig
from manifold_ocr.errors import UserError
from manifold_ocr.models.family import family_for
from manifold_ocr.models.registry import family_of, load_model

pytestmark = pytest.mark.torch
WRITERS: dict[str, Callable[[Path], Path]] = {
    "donut": write_donut,
    "paddleocr_vl": write_paddleocr_vl,
    "lighton_ocr": write_lighton_ocr,
    "glm_ocr": write_glm_ocr,
    "qwen2_5_vl": write_qwen2_5_vl,
    "qwen3_vl": write_qwen3_vl,
}
TEXTS = ["abc 12", "hello", "x9"]
SIZES = [(112, 56), (60, 30), (140, 28)]
VISION = {  # endings of the layers of the image part that `auto` reaches where it is trained
    "donut": {"query", "key", "value", "dense"},
    "paddleocr_vl": {"q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"},
    "lighton_ocr": {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"},
    "glm_ocr": {"qkv", "proj", "gate_proj", "up_proj", "down_proj"},
    "qwen2_5_vl": {"qkv", "proj", "gate_proj", "up_proj", "down_proj"},
    "qwen3_vl": {"qkv", "proj", "linear_fc1", "linear_fc2"},
}


@pytest.fixture(scope="module", params=list(WRITERS))
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return WRITERS[request.param](tmp_path_factory.mktemp("base") / request.param)


@pytest.fixture
def project(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    rows = drawn_samples(tmp_path, TEXTS, SIZES)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MANIFOLD_OCR_CACHE", str(tmp_path / "cache"))
    knobs = {
        "train_batch_size": 3,
        "learning_rate": 1e-2,
        "max_target_length": 32,
        "generation_max_length": 12,
        "warmup": 0.1,
    }
    return Project(tmp_path, base, tmp_path, rows, 3, rank=16, alpha=32, knobs=knobs)


def plain_loss(base: Path, batch: dict[str, Any]) -> torch.Tensor:
    """The library's own loss for the batch, with an explicit mask over the padding."""
    from transformers import AutoModelForImageTextToText, VisionEncoderDecoderModel

    labels = batch["labels"]
    if family_of(base) == "encoder_decoder":
        model = VisionEncoderDecoderModel.from_pretrained(base).train()
        return model(pixel_values=batch["pixel_values"], labels=labels).loss
    model = AutoModelForImageTextToText.from_pretrained(base).train()
    length = labels.shape[1]
    ends = length - (labels != -100).long().flip(1).argmax(1)
    mask = torch.arange(length)[None] < ends[:, None]
    names = {"input_ids", "labels", "pixel_values", "image_grid_thw", "image_sizes"}
    names |= {"mm_token_type_ids"} if "image_grid_thw" in batch else set()
    return model(**{k: v for k, v in batch.items() if k in names}, attention_mask=mask.long()).loss


def test_the_loss_is_the_librarys_on_the_answer_and_its_end(project: Project) -> None:
    from manifold_ocr.models.chat_vlm.fast_step import shift_left
    from manifold_ocr.models.lora import base_model

    family = family_for(family_of(project.base), project.settings())
    model = family.build()
    data = family.data(project.rows)
    batch = family.collate([data[i] for i in range(3)])
    labels = batch["labels"]
    assert (labels != -100).sum(1).tolist() == [len(text) + 1 for text in TEXTS]
    end = json.loads((project.base / "generation_config.json").read_text())["eos_token_id"]
    ends = {int(row[row != -100][-1]) for row in labels}
    assert ends == {end[0] if isinstance(end, list) else end}
    loss = model(**batch)["loss"]
    expected = plain_loss(project.base, batch)
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-5)
    loss.backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)
    step = getattr(base_model(model), "training_step", None)
    if step is None:
        return
    inputs = {k: v for k, v in batch.items() if k not in ("labels", "answer_index")}
    captured = step._language_batch(inputs, shift_left(labels), batch["answer_index"])
    if captured is not None:  # what a GPU captures must be the same loss
        total = step.language_loss(captured) / (labels != -100).sum()
        torch.testing.assert_close(total, expected, rtol=1e-5, atol=1e-5)


def test_samples_are_learned_and_read_back_with_the_adapter(project: Project) -> None:
    steps = 75
    figures = project.train(max_steps=steps, eval_steps=steps, freeze="none")
    assert figures["best"]["cer"] == 0.0
    assert figures["best"]["cer_before"] > 0.5, "an untrained model cannot have read them"
    config = ModelConfig(id=str(project.base))
    reader = load_model(config, project.root / "adapter", "cpu", max_new_tokens=12)
    images = [Image.open(project.image_root / row.image).convert("RGB") for row in project.rows]
    found = list(reader.recognize(images))
    assert [result.text for result in found] == TEXTS
    assert [result.vision_tokens for result in found] == [reader.vision_tokens(s) for s in SIZES]
    alone = [next(iter(reader.recognize([image]))).text for image in reversed(images)]
    assert alone == TEXTS[::-1], "a text must not depend on its neighbors"


def test_auto_targets_reach_the_language_model_and_the_vision_part_unless_frozen(
    project: Project,
) -> None:
    from manifold_ocr.training.preflight import run_preflight

    def reached(freeze: str) -> tuple[set[str], set[str]]:
        settings = project.settings(freeze=freeze)
        family = family_for(family_of(project.base), settings)
        report = run_preflight(family, project.rows, settings, 2)
        assert report.estimate > 0
        return set(report.coverage.hit), set(report.coverage.missed)

    def vision(names: set[str]) -> set[str]:
        parts = ("encoder.", "model.visual.", "model.vision_encoder.")
        return {name.rsplit(".", 1)[-1] for name in names if name.startswith(parts)}

    def language(names: set[str]) -> set[str]:
        return {n for n in names if n.startswith(("decoder.model.", "model.language_model."))}

    hit, missed = reached("backbone")
    assert not vision(hit)
    assert hit == language(hit)
    assert not language(missed), "every projection of the language model is adapted"
    hit, missed = reached("none")
    assert vision(hit) == VISION[project.base.name]
    assert language(hit)


def test_any_picture_and_pixel_budget_gives_as_many_features_as_tokens(project: Project) -> None:
    pictures = [Image.new("RGB", size, "white") for size in ((9, 7), (300, 20), (31, 200))]
    whole = load_model(ModelConfig(id=str(project.base)), None, "cpu", max_new_tokens=2)
    found = list(whole.recognize(pictures))
    assert [r.vision_tokens for r in found] == [whole.vision_tokens(p.size) for p in pictures]
    if family_of(project.base) == "encoder_decoder":
        return
    config = replace(ModelConfig(id=str(project.base)), max_pixels=56 * 56)
    bounded = load_model(config, None, "cpu", max_new_tokens=2)
    assert 0 < bounded.vision_tokens((400, 400)) <= 4
    assert next(iter(bounded.recognize(pictures[:1]))).vision_tokens is not None


@pytest.mark.skipif(find_spec("torchvision") is not None, reason="torchvision is installed")
@pytest.mark.parametrize("family", ["encoder_decoder", "chat_vlm"])
def test_a_processor_for_torchvision_alone_names_the_extra(family: str, tmp_path: Path) -> None:
    from manifold_ocr.models.chat_vlm.inputs import load_chat_input
    from manifold_ocr.models.images import load_image_input

    write = write_donut if family == "encoder_decoder" else write_qwen2_5_vl
    folder = write(tmp_path / "base")
    settings = {"image_processor_type": "Sam2ImageProcessor", "size": {"shortest_edge": 8}}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    with pytest.raises(UserError, match=r"Sam2ImageProcessor needs torchvision.*manifold-ocr\[vlm"):
        if family == "encoder_decoder":
            load_image_input(folder)
        else:
            from transformers import AutoConfig

            load_chat_input(AutoConfig.from_pretrained(folder), folder)


def test_a_processor_nobody_knows_is_an_error_with_the_remedy(tmp_path: Path) -> None:
    from manifold_ocr.models.images import load_image_input

    (tmp_path / "preprocessor_config.json").write_text('{"image_processor_type": "Nobody"}')
    with pytest.raises(UserError, match=r"model\.processor_id"):
        load_image_input(tmp_path)
