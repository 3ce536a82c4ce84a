"""Checkpoints laid out as they are published: read, trained, saved, reloaded without this code."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from published import CORPUS, write_published
from published_configs import PUBLISHED, TROCR
from tiny_models import drawn_samples

from manifold_ocr.config import LoraConfig, ModelConfig, TrainConfig
from manifold_ocr.errors import UserError
from manifold_ocr.models.base import RunSpec
from manifold_ocr.models.family import family_for
from manifold_ocr.models.registry import family_of, load_model

pytestmark = pytest.mark.torch
ONCE = (  # each layout once; the others differ from one of these in nothing but their sizes
    "trocr-small-printed", "trocr-base-printed", "trocr-large-printed", "donut-base",
    "manga-ocr-base", "qwen2-vl-2b", "qwen2.5-vl-3b", "qwen3-vl-2b", "paddleocr-vl", "glm-ocr",
    "lighton-ocr-2",
)  # fmt: skip
TEXTS = ["total 12.50", "fox 99"]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny matrices gain nothing from threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("published")
    return {name: write_published(root / name, name) for name in PUBLISHED}


def edited(folder: Path, to: Path, file: str, **values: Any) -> Path:
    """A copy of a checkpoint folder with other values in one of its JSON files."""
    shutil.copytree(folder, to)
    path = to / file
    known = json.loads(path.read_text()) if path.is_file() else {}
    path.write_text(json.dumps({**known, **values}))
    return to


def pictures() -> list[Image.Image]:
    noise = np.random.default_rng(3).integers(0, 255, (2, 56, 112, 3), dtype=np.uint8)
    return [Image.fromarray(pixels) for pixels in noise]


def plain_model(folder: Path) -> Any:
    """The library's own model, loaded without this project."""
    import transformers

    config = json.loads((folder / "config.json").read_text())
    kind = getattr(transformers, config["architectures"][0].replace("LightOnOCR", "LightOnOcr"))
    model = kind.from_pretrained(folder, dtype=torch.float32).eval()
    for module in model.modules():
        if type(module).__name__ == "TrOCRSinusoidalPositionalEmbedding":
            table = module.get_embedding(1026, module.embedding_dim, module.padding_idx)
            module.weights = table  # left on the meta device by transformers 5.23
    return model


@pytest.mark.parametrize("name", list(TROCR))
def test_each_trocr_has_its_tokens_positions_and_pictures(name: str, folders: Any) -> None:
    reader: Any = load_model(ModelConfig(id=str(folders[name])), None, "cpu", max_new_tokens=6)
    config = reader.model.config
    ids = config.decoder_start_token_id, config.eos_token_id, config.pad_token_id
    assert ids == (2, 2, 1), "start, end and padding as in the published generation_config"
    sinusoidal = "stage1" in name or "large-printed" in name
    if "small" in name:
        sinusoidal = False
    reader.limit_text(5000)
    assert reader.max_new_tokens == (1024 if sinusoidal else 512)
    reader.limit_text(6)
    assert reader.tokenizer("<pad></s>", add_special_tokens=False)["input_ids"] == [1, 2]
    assert reader.image_input.size == (32, 32)
    assert reader.image_input.resample == (3 if "small" in name else 2)
    assert len(list(reader.recognize(pictures()))) == 2


@pytest.mark.parametrize("name", [n for n in ONCE if "config" in PUBLISHED[n]])
def test_readings_are_the_librarys_greedy_ones(name: str, folders: Any) -> None:
    from transformers import GenerationConfig

    folder = folders[name]
    reader: Any = load_model(ModelConfig(id=str(folder)), None, "cpu", max_new_tokens=8)
    found = [result.text for result in reader.recognize(pictures())]
    plain = plain_model(folder)
    if family_of(folder) == "encoder_decoder":
        config = reader.model.config
        rules = {"decoder_start_token_id": config.decoder_start_token_id}
        rules |= {"eos_token_id": config.eos_token_id, "pad_token_id": config.pad_token_id}
        pixels = torch.from_numpy(np.stack([reader.image_input(p) for p in pictures()]))
        inputs = [{"pixel_values": reader.model.normalize(pixels[i : i + 1])} for i in range(2)]
        start = 0
    else:
        rules = {"eos_token_id": reader.end_ids, "pad_token_id": reader.pad_id}
        inputs = [chat_inputs(reader, picture) for picture in pictures()]
        start = inputs[0]["input_ids"].shape[1]
    plain.generation_config = GenerationConfig(**rules)
    settings = GenerationConfig(do_sample=False, num_beams=1, max_new_tokens=8, **rules)
    expected = []
    for batch in inputs:
        tokens = plain.generate(**batch, generation_config=settings)[:, start:]
        expected += reader.tokenizer.batch_decode(tokens, skip_special_tokens=True)
    assert found == [text.strip() for text in expected]


def chat_inputs(reader: Any, picture: Image.Image) -> dict[str, torch.Tensor]:
    from manifold_ocr.models.chat_vlm.model import accepted, collate_prompts

    prompt = reader.chat_input.encode(picture)
    assert prompt.input_ids.count(reader.chat_input.image_token_id) == prompt.image_tokens
    batch = collate_prompts([prompt], reader.pad_id, reader.chat_input.image_token_id)
    return accepted(reader.model, batch)


@pytest.mark.parametrize("name", ONCE)
def test_three_steps_are_learned_and_reload_with_transformers_and_peft(
    name: str, folders: Any, tmp_path: Path
) -> None:
    import peft

    folder = folders[name]
    settings = RunSpec(
        model=ModelConfig(id=str(folder)),
        lora=LoraConfig(rank=4, alpha=8),
        train=TrainConfig(
            freeze="backbone",
            max_target_length=24,
            gradient_checkpointing="large" in name or "donut" in name,
        ),
        base=folder,
        image_root=tmp_path,
    )
    rows = drawn_samples(tmp_path, TEXTS, [(112, 56)])
    torch.manual_seed(1)
    family = family_for(family_of(folder), settings)
    assert family.audit(rows).counts["kept"] == 2
    model: Any = family.build()
    data = family.data(rows)
    batch = family.collate([data[0], data[1]])
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=3e-2)
    losses = []
    for _ in range(3):
        loss = model(**batch)["loss"]
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    assert losses[2] < losses[0]
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    family.save(model, adapter)
    plain = plain_model(folder)
    before = logits(plain, batch, settings)
    reloaded = peft.PeftModel.from_pretrained(plain, str(adapter)).eval()
    expected = logits(model.eval(), batch, settings)
    torch.testing.assert_close(logits(reloaded, batch, settings), expected, rtol=1e-4, atol=1e-4)
    assert float((before - expected).abs().max()) > 1e-3, "the adapter changes something"
    reader = load_model(ModelConfig(id=str(folder)), adapter, "cpu", max_new_tokens=4)
    assert len(list(reader.recognize(pictures()))) == 2


@torch.no_grad()
def logits(model: Any, batch: dict[str, Any], settings: RunSpec) -> torch.Tensor:
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    if family_of(settings.base) == "encoder_decoder":
        pixels = batch["pixel_values"]
        if pixels.dtype == torch.uint8:  # every published TrOCR normalizes with 0.5 and 0.5
            pixels = pixels.float() / 127.5 - 1
        return model(pixel_values=pixels, decoder_input_ids=torch.tensor([[2, 5, 6, 7]] * 2)).logits
    from manifold_ocr.models.chat_vlm.model import accepted

    left_out = ("labels", "answer_index", "position_ids")
    return model(**accepted(base, {k: v for k, v in batch.items() if k not in left_out})).logits


@pytest.mark.parametrize(
    ("file", "values", "expected"),
    [
        ("generation_config.json", {"decoder_start_token_id": 5}, (5, 2, 1)),
        ("generation_config.json", {"eos_token_id": [3, 2]}, (2, 3, 1)),
        ("generation_config.json", {"pad_token_id": None, "eos_token_id": None}, (2, 2, 1)),
    ],
)
def test_special_tokens_are_found_where_the_library_finds_them(
    file: str, values: dict[str, Any], expected: tuple[int, ...], folders: Any, tmp_path: Path
) -> None:
    folder = edited(folders["trocr-base-printed"], tmp_path / "base", file, **values)
    model: Any = load_model(ModelConfig(id=str(folder)), None, "cpu")
    config = model.model.config
    found = config.decoder_start_token_id, config.eos_token_id, config.pad_token_id
    assert found == expected


@pytest.mark.parametrize("name", ["donut-base", "qwen2.5-vl-3b", "trocr-base-printed"])
def test_rules_of_generation_config_change_no_reading(
    name: str, folders: Any, tmp_path: Path
) -> None:
    rules = {"repetition_penalty": 5.0, "no_repeat_ngram_size": 1, "num_beams": 4,
             "suppress_tokens": [10, 11, 12], "do_sample": True, "temperature": 5.0,
             "max_length": 3}  # fmt: skip
    bent = edited(folders[name], tmp_path / "bent", "generation_config.json", **rules)
    plain = edited(folders[name], tmp_path / "plain", "generation_config.json")
    path = plain / "generation_config.json"
    known = json.loads(path.read_text())
    path.write_text(json.dumps({k: v for k, v in known.items() if k.endswith("_token_id")}))
    texts = []
    for folder in (plain, bent):
        reader = load_model(ModelConfig(id=str(folder)), None, "cpu", max_new_tokens=12)
        texts.append([result.text for result in reader.recognize(pictures())])
    assert texts[0] == texts[1]


def test_a_decoder_that_cannot_be_trained_is_refused_by_name(folders: Any, tmp_path: Path) -> None:
    folder = tmp_path / "captions"
    shutil.copytree(folders["trocr-base-printed"], folder)
    config = json.loads((folder / "config.json").read_text())
    config["decoder"]["model_type"] = "gpt2"
    (folder / "config.json").write_text(json.dumps(config))
    settings = RunSpec(
        model=ModelConfig(id=str(folder)), lora=LoraConfig(), train=TrainConfig(), base=folder,
        image_root=tmp_path,
    )  # fmt: skip
    with pytest.raises(UserError, match=r"captions: its text decoder \(gpt2\) cannot be trained"):
        family_for("encoder_decoder", settings)


def test_a_tokenizer_that_needs_another_package_names_it(folders: Any, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    folder = edited(
        folders["manga-ocr-base"], tmp_path / "manga", "tokenizer_config.json",
        word_tokenizer_type="mecab",
    )  # fmt: skip
    try:
        import fugashi  # noqa: F401
    except ImportError:
        with pytest.raises(UserError, match=r"manga: its tokenizer needs a package.*fugashi"):
            load_model(ModelConfig(id=str(folder)), None, "cpu")


def test_the_pictures_and_lines_of_the_tests_hold_what_the_tokenizers_know() -> None:
    assert set("".join(TEXTS)) <= set("".join(CORPUS))
