"""The embedded base model: imported from the pinned wheel, equal to its source, batch-free."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn_lines import TEXTS, draw_line
from PIL import Image

from manifold_ocr.config import ModelConfig
from manifold_ocr.errors import UserError
from manifold_ocr.models import registry
from manifold_ocr.models.ctc import features
from manifold_ocr.models.ctc import model as ctc
from manifold_ocr.models.ctc.import_ppocr import ONNX_SHA256, verify_onnx
from manifold_ocr.models.ctc.speller import CANDIDATES
from manifold_ocr.models.ctc.torch_parts import load_torch

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def lines() -> list[Image.Image]:
    return [draw_line(text, height) for text in TEXTS for height in (20, 48)]


@pytest.fixture(scope="module")
def reader(base_model: Path) -> ctc.CtcModel:
    return ctc.load(ModelConfig(id="pp-ocrv6-small"), base_model, None, None)


def test_import_passes_the_parity_check_and_is_a_plain_checkpoint(base_model: Path) -> None:
    from transformers import AutoModelForTextRecognition

    figures = json.loads((base_model.parent / "figures.json").read_text(encoding="utf-8"))
    assert figures["onnx_difference_at_most"] == 1e-3
    assert figures["onnx_argmax_equal"] == 1
    assert figures["classes"] == 18710 == len(ctc.character_list(base_model))
    assert registry.family_of(base_model) == "ctc"
    model = AutoModelForTextRecognition.from_pretrained(base_model)
    assert sum(p.numel() for p in model.parameters()) == figures["parameters"] == 5275238


def test_a_wheel_with_another_hash_is_refused_with_the_remedy(tmp_path: Path) -> None:
    other = tmp_path / "model.onnx"
    other.write_bytes(b"not the pinned model")
    with pytest.raises(UserError, match=ONNX_SHA256[:16]) as error:
        verify_onnx(other, "run `pip install rapidocr`")
    assert "run `pip install rapidocr`" in str(error.value)


def test_it_reads_clean_lines(reader: ctc.CtcModel) -> None:
    found = list(reader.recognize(draw_line(text, 48) for text in TEXTS))
    assert [result.text for result in found] == TEXTS
    assert all(result.confidence is not None and result.confidence > 0.8 for result in found)


def test_a_line_reads_the_same_alone_in_any_order_and_with_any_threads(
    reader: ctc.CtcModel, lines: list[Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = [next(reader.recognize([line])) for line in lines]
    assert list(reader.recognize(lines)) == alone
    assert list(reader.recognize(reversed(lines))) == alone[::-1]
    monkeypatch.setattr(ctc, "worker_count", lambda: 4)
    assert list(reader.recognize(lines)) == alone


def test_vision_tokens_are_the_frames_that_were_read(
    reader: ctc.CtcModel, lines: list[Image.Image]
) -> None:
    for line, result in zip(lines, reader.recognize(lines), strict=True):
        assert result.vision_tokens == reader.vision_tokens(line.size)


def test_candidates_begin_with_what_is_read(base_model: Path, lines: list[Image.Image]) -> None:
    config = ModelConfig(id="pp-ocrv6-small")
    fast = ctc.load(config, base_model, None, None, searching=True)
    slow = load_torch(config, base_model, None, "cpu")
    assert fast.candidates is not None
    for line in lines[:4]:
        features = fast.features(line)
        best, probability = fast.head(features)
        classes, probabilities = fast.candidates(features)
        assert classes.shape == (len(best), CANDIDATES)
        np.testing.assert_array_equal(classes[:, 0], best)
        np.testing.assert_array_equal(probabilities[:, 0], probability)
        assert (np.diff(probabilities, axis=1) <= 0).all()
        theirs, values = slow.candidates(features, CANDIDATES)
        np.testing.assert_array_equal(theirs[:, 0], best)
        np.testing.assert_allclose(values, probabilities, atol=1e-3)


def test_torch_and_onnxruntime_agree(base_model: Path, lines: list[Image.Image]) -> None:
    from manifold_ocr.models.ctc.decode import line_pixels
    from manifold_ocr.models.ctc.torch_parts import load_torch

    config = ModelConfig(id="pp-ocrv6-small")
    fast = ctc.load(config, base_model, None, None)
    slow = load_torch(config, base_model, None, "cpu")
    for line in lines[:4]:
        pixels = line_pixels(line)
        features = fast.backbone(pixels)
        np.testing.assert_allclose(features, slow.backbone(pixels), atol=2e-4)
        best, probability = fast.head(features)
        same_best, same_probability = slow.head(features)
        np.testing.assert_array_equal(best, same_best)
        np.testing.assert_allclose(probability, same_probability, atol=1e-4)


def test_samples_read_the_same_with_and_without_cached_features(
    reader: ctc.CtcModel, line_samples: tuple, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MANIFOLD_OCR_CACHE", str(tmp_path))
    root, samples = line_samples
    images = [Image.open(root / sample.image) for sample in samples]
    expected = list(reader.recognize(images))
    assert list(reader.recognize_samples(samples, root)) == expected
    monkeypatch.setattr(features, "load_sample", lambda *_: pytest.fail("the backbone ran again"))
    assert list(reader.recognize_samples(samples, root)) == expected


def test_candidates_of_samples_are_those_of_their_images(
    base_model: Path, line_samples: tuple, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MANIFOLD_OCR_CACHE", str(tmp_path))
    root, samples = line_samples
    config = ModelConfig(id="pp-ocrv6-small")
    model = ctc.load(config, base_model, None, None, searching=True)
    found = list(model.sample_candidates(samples, root))
    assert len(found) == len(samples)
    assert model.candidates is not None
    for sample, (classes, probabilities) in zip(samples, found, strict=True):
        image = Image.open(root / sample.image)
        expected, values = model.candidates(model.features(image))
        np.testing.assert_array_equal(classes, expected)
        np.testing.assert_array_equal(probabilities, values)


def test_adapter_merged_export_and_torch_read_the_same(
    base_model: Path, lines: list[Image.Image], tmp_path: Path
) -> None:
    import torch

    from manifold_ocr.config import LoraConfig
    from manifold_ocr.models.adapter_files import CTC_HEAD
    from manifold_ocr.models.ctc.torch_parts import load_recognizer, load_torch
    from manifold_ocr.models.lora import add_lora, merge_adapter, save_adapter

    torch.manual_seed(3)
    adapted = add_lora(load_recognizer(base_model), LoraConfig(rank=4), CTC_HEAD, "head.")
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.02)
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    save_adapter(adapted, adapter, "data/base/pp-ocrv6-small")
    merge_adapter(load_recognizer(base_model), adapter, base_model, tmp_path / "merged")
    config = ModelConfig(id="pp-ocrv6-small")
    fast = ctc.load(config, base_model, adapter, None)
    merged = ctc.load(config, tmp_path / "merged", None, None)
    slow = load_torch(config, base_model, adapter, "cpu")
    base = ctc.load(config, base_model, None, None)
    changed = 0.0
    for line in lines[:6]:
        features = fast.features(line)
        best, probability = fast.head(features)
        for other in (merged.head, slow.head):
            same_best, same_probability = other(features)
            np.testing.assert_array_equal(best, same_best)
            np.testing.assert_allclose(probability, same_probability, atol=1e-4)
        changed = max(changed, float(np.abs(base.head(features)[1] - probability).max()))
    assert changed > 1e-3, "the adapter changed nothing: this test would prove nothing"


def test_a_line_is_read_through_onnxruntime_without_torch(base_model: Path) -> None:
    """Importing torch, transformers and peft takes longer than reading pages."""
    code = (
        "import sys; from pathlib import Path; from PIL import Image\n"
        "from manifold_ocr.config import ModelConfig\n"
        "from manifold_ocr.models.registry import load_model\n"
        f"model = load_model(ModelConfig(id={str(base_model)!r}), Path(sys.argv[1]))\n"
        "next(model.recognize([Image.new('RGB', (96, 48), 'white')]))\n"
        "print(sorted({'torch', 'transformers', 'peft'} & set(sys.modules)))"
    )
    shipped = Path(__file__).parents[2] / "external/checkpoints/default"
    done = subprocess.run(
        [sys.executable, "-c", code, str(shipped)], capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.parametrize("rank", [0, 4])
def test_many_validation_lines_are_read_by_onnxruntime_as_torch_reads_few(
    rank: int,
    base_model: Path,
    line_samples: tuple[Path, list[Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import torch

    from manifold_ocr.config import LoraConfig, TrainConfig
    from manifold_ocr.models.base import RunSpec
    from manifold_ocr.models.ctc import train
    from manifold_ocr.models.ctc.torch_parts import core

    monkeypatch.setenv("MANIFOLD_OCR_CACHE", str(tmp_path))
    root, samples = line_samples
    spec = RunSpec(
        model=ModelConfig(id="pp-ocrv6-small"),
        lora=LoraConfig(rank=rank),
        train=TrainConfig(),
        base=base_model,
        image_root=root,
    )
    family = train.CtcTraining(spec)
    trainee = family.build().eval()
    untrained = list(family.read(trainee, samples))
    torch.manual_seed(1)
    layer = core(trainee.recognizer).head.head
    moved = layer.lora_B["default"].weight if rank else layer.weight
    with torch.no_grad():
        moved.add_(torch.randn_like(moved) * 0.1)
    few = list(family.read(trainee, samples))
    monkeypatch.setattr(train, "GRAPH_ROWS", 1)
    monkeypatch.setattr(trainee, "hidden", lambda *_: pytest.fail("torch read the lines"))
    many = list(family.read(trainee, samples))
    assert [row.text for row in many] == [row.text for row in few]
    before, expected, found = (
        np.array([row.confidence for row in rows], float) for rows in (untrained, few, many)
    )
    assert np.abs(expected - before).max() > 0.01
    np.testing.assert_allclose(found, expected, atol=5e-4)
