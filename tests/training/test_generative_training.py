"""Both generative families through the training harness: learn, resume exactly, reload anywhere."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_models import drawn_samples, write_qwen2_vl, write_trocr
from training_project import Project, start_project

from manifold_ocr.config import LoraConfig, ModelConfig, TrainConfig
from manifold_ocr.models.base import RunSpec
from manifold_ocr.models.registry import family_of
from manifold_ocr.records import Sample

pytestmark = pytest.mark.torch
TEXTS = ["abc 12", "hello", "x9 zz", "ocr line", "7 seas", "quick fox", "lazy dog", "jumps 42"]
WRITERS = {"encoder_decoder": write_trocr, "chat_vlm": write_qwen2_vl}
STEPS = {"encoder_decoder": 200, "chat_vlm": 90}
RATES = {"encoder_decoder": 5e-3, "chat_vlm": 1e-2}  # that any CPU's rounding learns with


@pytest.fixture(scope="module", params=list(WRITERS))
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return WRITERS[request.param](tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Sample]]:
    root = tmp_path_factory.mktemp("images")
    return root, drawn_samples(root, TEXTS)


KNOBS = {
    "train_batch_size": 4,
    "eval_batch_size": 4,
    "learning_rate": 5e-3,
    "generation_max_length": 16,
    "max_target_length": 32,
    "warmup": 0.1,
    "epochs": 4.0,
}


@pytest.fixture
def project(
    tmp_path: Path, base: Path, samples: tuple, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], Project]:
    fixed = {"val_rows": 8, "rank": 16, "alpha": 32, "knobs": KNOBS}
    return lambda name: start_project(tmp_path / name, monkeypatch, base, samples, **fixed)


def test_eight_samples_are_learned_and_read_back_without_this_project(
    project: Callable[[str], Project],
) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForImageTextToText, VisionEncoderDecoderModel

    from manifold_ocr.images import load_sample
    from manifold_ocr.models.registry import load_model

    run = project("learn")
    family = family_of(run.base)
    steps = STEPS[family]
    figures = run.train(
        max_steps=steps,
        eval_steps=steps,
        train_batch_size=8,
        learning_rate=RATES[family],
        freeze="none",  # a random frozen encoder tells eight small pictures apart too slowly
    )
    assert figures["best"]["cer"] == 0.0
    assert figures["best"]["cer_before"] > 0.5, "an untrained model cannot have read them"
    adapter = run.root / "adapter"
    reader = load_model(ModelConfig(id=str(run.base)), adapter, "cpu")
    reader.max_new_tokens = 16
    images = [load_sample(row, run.image_root) for row in run.rows]
    together = [result.text for result in reader.recognize(images)]
    assert together == TEXTS
    alone = [next(iter(reader.recognize([image]))).text for image in reversed(images)]
    assert alone == TEXTS[::-1], "a text must not depend on its neighbors"

    plain_class = (
        VisionEncoderDecoderModel if family == "encoder_decoder" else AutoModelForImageTextToText
    )
    plain = PeftModel.from_pretrained(plain_class.from_pretrained(run.base), str(adapter)).eval()
    batch = training_batch(run)
    labels = batch["labels"]
    for name in ("answer_index", "position_ids"):
        batch.pop(name, None)
    with torch.no_grad():
        logits = plain(**as_plain(batch, family)).logits
    shift = 0 if family == "encoder_decoder" else 1
    predicted = logits[:, : labels.shape[1] - shift].argmax(-1)
    wanted = labels[:, shift:]
    assert torch.equal(predicted[wanted != -100], wanted[wanted != -100])


def training_batch(run: Project) -> dict[str, Any]:
    from manifold_ocr.models.family import family_for

    settings = RunSpec(
        model=ModelConfig(id="tiny"),
        lora=LoraConfig(),
        train=TrainConfig(),
        base=run.base,
        image_root=run.image_root,
    )
    family = family_for(family_of(run.base), settings)
    data = family.data(run.rows)
    return family.collate([data[i] for i in range(len(run.rows))])


def as_plain(batch: dict[str, Any], family: str) -> dict[str, Any]:
    if family == "encoder_decoder":
        return {**batch, "pixel_values": (batch["pixel_values"].float() / 255 - 0.5) / 0.5}
    return batch


def test_full_fine_tuning_is_saved_as_a_checkpoint_that_reads(
    project: Callable[[str], Project],
) -> None:
    from manifold_ocr.images import load_sample
    from manifold_ocr.models.registry import load_model

    run = project("full")
    run.train(rank=0, max_steps=2, eval_steps=2, rows=2)
    adapter = run.root / "adapter"
    config = json.loads((adapter / "config.json").read_text())
    assert (
        config["architectures"]
        == json.loads((run.base / "config.json").read_text())["architectures"]
    )
    reader = load_model(ModelConfig(id=str(run.base)), adapter, "cpu")
    reader.max_new_tokens = 4
    image = load_sample(run.rows[0], run.image_root)
    assert len(list(reader.recognize([image]))) == 1


def test_labels_that_are_cut_lose_their_end_and_are_counted(
    base: Path, samples: tuple[Path, list[Sample]]
) -> None:
    from manifold_ocr.models.family import family_for

    settings = RunSpec(
        model=ModelConfig(id="tiny"),
        lora=LoraConfig(),
        train=TrainConfig(max_target_length=5),
        base=base,
        image_root=samples[0],
    )
    family = family_for(family_of(base), settings)
    audit = family.audit(samples[1])
    too_long = [text for text in TEXTS if len(text) + 1 > 5]
    assert audit.counts["truncated_rows"] == len(too_long)
    assert audit.counts["truncated_tokens"] == sum(len(text) + 1 - 5 for text in too_long)
    rows = family.data(samples[1])
    ends = {rows.targets[i][-1] for i, text in enumerate(TEXTS) if len(text) + 1 > 5}
    tokenizer = getattr(family, "tokenizer", None) or family.chat_input.tokenizer
    assert tokenizer.eos_token_id not in ends


def test_twins_give_the_parameters_gradients_and_are_taken_back(base: Path) -> None:
    import torch
    from torch import nn

    from manifold_ocr.models.kernels.cuda_graphs import twins

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    model[1].bias.requires_grad_(False)
    before = dict(model.named_parameters())
    inputs = torch.randn(5, 3)
    with twins(model) as parameters:
        grads = torch.autograd.grad(model(inputs).sum(), parameters)
    assert all(p is before[name] for name, p in model.named_parameters())
    model(inputs).sum().backward()
    trained = [p for p in model.parameters() if p.requires_grad]
    assert all(torch.equal(p.grad, grad) for p, grad in zip(trained, grads, strict=True))


def test_labels_of_many_texts_are_those_of_each_alone(
    base: Path, samples: tuple[Path, list[Sample]], monkeypatch: pytest.MonkeyPatch
) -> None:
    from manifold_ocr.models import generative
    from manifold_ocr.models.family import family_for

    monkeypatch.setattr(generative, "TOKENIZED", 3)
    settings = RunSpec(
        model=ModelConfig(id="tiny"),
        lora=LoraConfig(),
        train=TrainConfig(),
        base=base,
        image_root=samples[0],
    )
    family: Any = family_for(family_of(base), settings)
    tokenizer = getattr(family, "tokenizer", None) or family.chat_input.tokenizer
    alone = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in TEXTS]
    labels = generative.Labels(generative.token_ids(tokenizer, samples[1]))
    assert [labels[i] for i in range(len(labels))] == alone
    assert labels.lengths == [len(ids) for ids in alone]
    end = tokenizer.eos_token_id
    for audited in (None, family.audit(samples[1]).labels):
        targets = family.data(samples[1], audited).targets
        assert [targets[i] for i in range(len(targets))] == [[*ids, end] for ids in alone]
