"""Classes for characters that the base model cannot write."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from training_project import Project, start_project

from manifold_ocr.config import ModelConfig
from manifold_ocr.models.ctc.vocabulary import FILE, Growth, character_list, first_rows, growth_for
from manifold_ocr.records import Sample

BASE = ["blank", "a", "b", " "]


def test_only_characters_that_are_seen_often_enough_are_added() -> None:
    texts = ["ab я", "я я", "b ж ж"]
    assert growth_for("union", BASE, texts) == Growth(added=("я",)), "three times; ж only twice"
    assert growth_for("base", BASE, texts) == Growth()
    assert not growth_for("union", BASE, ["ab"]), "nothing is missing: the head stays as it is"


def test_labels_alone_keep_what_they_hold() -> None:
    growth = growth_for("labels", BASE, ["b я я я"])
    assert growth.characters(BASE) == ["blank", "b", " ", "я"]


# pairs of Unicode Technical Standard 39 (confusables.txt) whose shapes are the same in print
CONFUSABLE = {"а": "a", "е": "e", "о": "o", "р": "p", "с": "c", "х": "x", "В": "B", "Н": "H",
              "К": "K", "М": "M", "Т": "T", "ѕ": "s", "і": "i", "ј": "j"}  # fmt: skip


def test_a_new_class_starts_from_the_character_that_looks_like_it() -> None:
    base = ["blank", *map(chr, range(0x21, 0x7F))]
    weight = np.arange(len(base), dtype=np.float32)[:, None].repeat(2, 1)
    rows, biases = first_rows(list(CONFUSABLE), base, weight, weight[:, 0])
    assert [base[int(row[0])] for row in rows] == list(CONFUSABLE.values())
    assert biases.tolist() == rows[:, 0].tolist()


def test_a_character_that_looks_like_none_starts_from_the_mean() -> None:
    weight = np.array([[9.0], [1.0], [2.0], [6.0]], np.float32)
    rows, _ = first_rows(["\ue000"], ["blank", "a", "b", "c"], weight, weight[:, 0])
    assert rows.tolist() == [[3.0]]


def in_another_script(samples: list[Sample]) -> list[Sample]:
    """The same images, their letters a-j said to be Armenian ones, which no model here has."""
    table = {ord("a") + i: 0x561 + i for i in range(26)}
    return [replace(sample, text=sample.text.translate(table)) for sample in samples]


@pytest.fixture
def project(
    tmp_path: Path, tiny_ctc: Path, line_samples: tuple, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Project]:
    monkeypatch.setattr("manifold_ocr.models.ctc.vocabulary.SEEN", 1)
    root, samples = line_samples
    knobs = {"epochs": 2.0, "train_batch_size": 8, "learning_rate": 0.03}

    def start(name: str) -> Project:
        lines = (root, in_another_script(samples))
        return start_project(tmp_path / name, monkeypatch, tiny_ctc, lines, val_rows=8, knobs=knobs)

    return start


@pytest.mark.torch
def test_letters_of_another_script_are_learned_saved_and_read(
    project: Callable[..., Project],
) -> None:
    from manifold_ocr.models.ctc import model as ctc

    run = project("script")
    figures = run.train(rank=8, epochs=150.0, eval_steps=150, logging_steps=100)
    assert figures["best"]["cer"] == 0.0
    saved = json.loads((run.root / "adapter" / FILE).read_text(encoding="utf-8"))
    letters = {c for sample in run.rows for c in sample.text if c > "\u0500"}
    assert saved == {"kept": None, "added": sorted(letters)}
    model = ctc.load(ModelConfig(id="tiny"), run.base, run.root / "adapter", "cpu")
    found = [result.text for result in model.recognize_samples(run.rows, run.image_root)]
    assert found == [sample.text for sample in run.rows]


@pytest.mark.torch
@pytest.mark.parametrize("rank", [4, 0])
def test_a_run_goes_on_from_an_adapter_with_new_classes(
    project: Callable[..., Project], rank: int
) -> None:
    run = project("more")
    run.train(rank=rank)
    before = character_list(run.base, run.root / "adapter")
    run = replace(run, root=run.root)
    (run.root / "adapter").rename(run.root / "first")
    run.train(rank=rank, init_from=str(run.root / "first"), epochs=3.0)
    assert character_list(run.base, run.root / "adapter") == before != character_list(run.base)


@pytest.mark.torch
def test_a_merged_checkpoint_has_the_classes_of_its_own(project: Callable[..., Project]) -> None:
    from manifold_ocr.models.ctc import model as ctc
    from manifold_ocr.models.ctc import torch_parts
    from manifold_ocr.models.lora import merge_adapter

    run = project("merged")
    run.train()
    merged = run.root / "merged"
    merge_adapter(torch_parts.load_recognizer(run.base), run.root / "adapter", run.base, merged)
    apart = ctc.load(ModelConfig(id="tiny"), run.base, run.root / "adapter", "cpu")
    whole = ctc.load(ModelConfig(id="tiny"), merged, None, "cpu")
    assert whole.characters == apart.characters
    for sample in run.rows:
        features = apart.backbone(_pixels(run, sample))
        for ours, theirs in zip(apart.head(features), whole.head(features), strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-5)


def _pixels(run: Project, sample: Sample) -> Any:
    from manifold_ocr.images import load_sample
    from manifold_ocr.models.ctc.decode import line_pixels

    return line_pixels(load_sample(sample, run.image_root))


@pytest.mark.torch
@pytest.mark.parametrize("vocabulary", ["union", "labels"])
def test_onnxruntime_and_torch_read_new_classes_alike(
    vocabulary: Any, base_model: Path, tmp_path: Path
) -> None:
    import torch
    from drawn_lines import draw_line

    from manifold_ocr.config import LoraConfig
    from manifold_ocr.models.adapter_files import ctc_scope
    from manifold_ocr.models.ctc import torch_parts
    from manifold_ocr.models.ctc.decode import line_pixels
    from manifold_ocr.models.ctc.grown_head import grow_head, grown_layer, save_grown
    from manifold_ocr.models.ctc.onnx import OnnxBackbone, OnnxHead
    from manifold_ocr.models.lora import add_lora, save_adapter

    base = character_list(base_model)
    growth = growth_for(vocabulary, base, ["Жук и щука 12"] * 3)
    model: Any = torch_parts.load_recognizer(base_model)
    grow_head(model, growth, base)
    torch.manual_seed(1)
    model = add_lora(model, LoraConfig(rank=2), *ctc_scope("backbone"))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    layer = grown_layer(torch_parts.core(model))
    assert layer is not None
    torch.nn.init.normal_(layer.new_rows, std=0.1)
    save_adapter(model, tmp_path, "base")
    save_grown(torch_parts.core(model), growth, tmp_path)
    config = ModelConfig(id="base", precision="fp32")
    slow = torch_parts.load_torch(config, base_model, tmp_path, "cpu")
    features = OnnxBackbone(base_model)(line_pixels(draw_line("Hello 12 world")))
    best, probability = OnnxHead(base_model, tmp_path)(features)
    expected = slow.head(features)
    assert best.max() < len(growth.characters(base))
    np.testing.assert_array_equal(best, expected[0])
    np.testing.assert_allclose(probability, expected[1], atol=5e-4)
