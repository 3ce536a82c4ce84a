"""Weights that change the backbone are read through onnxruntime as torch reads them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from drawn_lines import TEXTS, draw_line

from manifold_ocr.config import LoraConfig, ModelConfig
from manifold_ocr.models.adapter_files import ctc_scope
from manifold_ocr.models.ctc import model as ctc
from manifold_ocr.models.ctc import torch_parts as parts
from manifold_ocr.models.ctc.decode import line_pixels
from manifold_ocr.models.ctc.onnx import OnnxBackbone, OnnxEarlyStages
from manifold_ocr.models.ctc.onnx_weights import (
    merged_backbone,
    merged_head,
    quick_best,
    touches_backbone,
)
from manifold_ocr.models.lora import add_lora, merge_adapter, save_adapter

pytestmark = pytest.mark.torch
CONFIG = ModelConfig(id="base", precision="fp32")
Folders = dict[str, Path]


@pytest.fixture(scope="module")
def changed(base_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Folders:
    """Folders with weights near the base's: LoRA of the last stage, of all, a full checkpoint."""
    folders = {}
    for name in ("early", "none", "full"):
        torch.manual_seed(1)
        folder = folders[name] = tmp_path_factory.mktemp(name)
        model: Any = parts.load_recognizer(base_model)
        if name == "full":
            move_everything(model)
            model.save_pretrained(folder)
            source = base_model / "preprocessor_config.json"
            (folder / source.name).write_bytes(source.read_bytes())
        else:
            model = add_lora(model, LoraConfig(rank=2), *ctc_scope(name))
            for parameter_name, parameter in model.named_parameters():
                if "lora_B" in parameter_name:
                    torch.nn.init.normal_(parameter, std=0.03)
            save_adapter(model, folder, "base")
    return folders


def move_everything(model: torch.nn.Module) -> None:
    """Change each weight by up to 3 %, the scales of batch norms too."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1 + 0.03 * (2 * torch.rand_like(parameter) - 1))


@pytest.mark.parametrize("name", ["early", "none", "full"])
def test_onnxruntime_reads_a_changed_backbone_as_torch_does(
    name: str, base_model: Path, changed: Folders
) -> None:
    assert touches_backbone(base_model, changed[name])
    slow = parts.load_torch(CONFIG, base_model, changed[name], "cpu")
    fast = ctc.load(CONFIG, base_model, changed[name], None)
    assert isinstance(fast.backbone, OnnxBackbone)
    plain = OnnxBackbone(base_model)
    for text in TEXTS[:4]:
        pixels = line_pixels(draw_line(text))
        expected, found = slow.backbone(pixels), fast.backbone(pixels)
        np.testing.assert_allclose(found, expected, atol=2e-3 * np.abs(expected).max())
        assert np.abs(plain(pixels) - expected).max() > 1e-2 * np.abs(expected).max()
        best, probability = fast.head(found)
        ours, theirs = slow.head(expected)
        np.testing.assert_array_equal(best, ours)
        np.testing.assert_allclose(probability, theirs, atol=5e-3)


def test_a_merged_checkpoint_carries_graphs_of_the_changed_backbone(
    base_model: Path, changed: Folders, tmp_path: Path
) -> None:
    merge_adapter(
        parts.load_recognizer(base_model), changed["none"], base_model, tmp_path / "whole"
    )
    lines = [draw_line(text) for text in TEXTS]
    merged = ctc.load(CONFIG, tmp_path / "whole", None, None)
    adapted = ctc.load(CONFIG, base_model, changed["none"], None)
    assert isinstance(merged.backbone, OnnxBackbone)
    assert [r.text for r in merged.recognize(lines)] == [r.text for r in adapted.recognize(lines)]


def test_an_untouched_backbone_keeps_its_bytes_and_its_early_stages_are_torchs(
    base_model: Path,
) -> None:
    from manifold_ocr.models.ctc.stages import early_features, late_features

    assert merged_backbone(base_model, None) == (base_model / "backbone.onnx").read_bytes()
    model = parts.load_recognizer(base_model)
    pixels = line_pixels(draw_line(TEXTS[0]))
    found = OnnxEarlyStages(base_model)(pixels)
    with torch.no_grad():
        expected = early_features(model, torch.from_numpy(pixels))
        whole = parts.backbone_features(model, torch.from_numpy(pixels))
        late = late_features(model, torch.from_numpy(found)[None])
    np.testing.assert_allclose(found, expected[0].numpy(), atol=1e-3 * float(expected.abs().max()))
    np.testing.assert_allclose(late, whole, atol=1e-3 * float(whole.abs().max()))


def plain_best(head: bytes, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What onnxruntime itself finds in the graph as it was published."""
    import onnxruntime

    session = onnxruntime.InferenceSession(head, providers=["CPUExecutionProvider"])
    best, probability = session.run(["best", "probability"], {"features": features})
    return best, probability


@pytest.mark.parametrize("adapter", [None, "early"])
def test_the_best_classes_found_by_blocks_are_those_of_the_whole_bit_for_bit(
    adapter: str | None, base_model: Path, changed: Folders
) -> None:
    head = merged_head(base_model, changed[adapter] if adapter else None)
    backbone = OnnxBackbone(base_model)
    for text in TEXTS:
        features = backbone(line_pixels(draw_line(text)))[None, :, None]
        for found, expected in zip(
            plain_best(quick_best(head), features), plain_best(head, features), strict=True
        ):
            np.testing.assert_array_equal(found, expected, strict=True)


@pytest.mark.parametrize("places", [(0, 18709), (935, 936), (5, 6), (17000, 17001)])
def test_of_equally_probable_classes_the_first_is_best(
    places: tuple[int, int], base_model: Path
) -> None:
    import onnx
    from onnx import numpy_helper

    model = onnx.load_from_string(merged_head(base_model, None))
    for item in model.graph.initializer:
        if item.name.startswith("head.head."):
            value = np.zeros(tuple(item.dims), np.float32)
            if item.name.endswith("bias"):
                value[list(places)] = 4.0
            item.CopyFrom(numpy_helper.from_array(value, item.name))
    head = model.SerializeToString()
    features = np.random.default_rng(1).normal(size=(1, 384, 1, 3)).astype(np.float32)
    best, probability = plain_best(quick_best(head), features)
    assert best.tolist() == [[places[0]] * 3]
    np.testing.assert_array_equal(probability, plain_best(head, features)[1])
