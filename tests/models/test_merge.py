"""`manifold-ocr merge`: one checkpoint that reads like base and adapter, without peft."""

import json
from pathlib import Path

import pytest
import torch
import yaml
from tiny_models import text_image, write_qwen2_vl, write_trocr
from typer.testing import CliRunner

from manifold_ocr.cli.main import build_app
from manifold_ocr.config import LoraConfig, ModelConfig
from manifold_ocr.errors import UserError
from manifold_ocr.models.adapter_files import write_origin
from manifold_ocr.models.ctc.language_model import language_model
from manifold_ocr.models.ctc.speller import SETTINGS
from manifold_ocr.models.lora import add_lora, attach, save_adapter
from manifold_ocr.models.registry import family_of, load_model, load_plain

pytestmark = pytest.mark.torch
TARGETS = {"encoder_decoder": ["q_proj", "fc1"], "chat_vlm": ["q_proj", "gate_proj"]}
WRITERS = {"encoder_decoder": write_trocr, "chat_vlm": write_qwen2_vl}


@pytest.fixture(params=["ctc", "encoder_decoder", "chat_vlm"])
def base(request: pytest.FixtureRequest, tiny_ctc: Path, tmp_path: Path) -> Path:
    name = request.param
    return WRITERS[name](tmp_path / "base") if name in WRITERS else tiny_ctc


def drawn_adapter(base: Path, folder: Path) -> Path:
    torch.manual_seed(1)
    targets = TARGETS.get(family_of(base), ["head.head", "qkv"])
    model = add_lora(load_plain(base), LoraConfig(rank=2, alpha=4), targets)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    folder.mkdir()
    save_adapter(model, folder, "tiny")
    write_origin(folder, base, {"base_id": "tiny"})
    return folder


def outputs(model: torch.nn.Module, family: str) -> torch.Tensor:
    torch.manual_seed(2)
    with torch.no_grad():
        if family == "ctc":
            return model(torch.rand(1, 3, 48, 96)).last_hidden_state
        if family == "encoder_decoder":
            ids = torch.tensor([[2, 5, 6, 7]])
            return model(pixel_values=torch.rand(1, 3, 32, 64), decoder_input_ids=ids).logits
        return model(input_ids=torch.tensor([[15, 16, 17, 18]])).logits


def test_the_merged_checkpoint_is_base_and_adapter_in_one(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    family = family_of(base)
    adapter = drawn_adapter(base, tmp_path / "adapter")
    if family == "ctc":
        language_model(["abc", "abd"]).save(adapter)
        settings = {"weight": 0.1, "gain": 0.5, "beam": 4, "fit": -9.0}
        (adapter / SETTINGS).write_text(json.dumps(settings))
    Path("params.yaml").write_text(yaml.safe_dump({"model": {"id": str(base)}}))
    arguments = ["merge", "whole", "--adapter", str(adapter)]
    done = CliRunner().invoke(build_app(), arguments, catch_exceptions=False)
    assert done.exit_code == 0
    assert not list(Path("whole").glob("adapter*"))
    expected = outputs(attach(load_plain(base), adapter).eval(), family)
    found = outputs(load_plain(Path("whole")), family)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert float((outputs(load_plain(base), family) - expected).abs().max()) > 1e-2
    kinds = [
        json.loads((f / "config.json").read_text())["architectures"] for f in (base, Path("whole"))
    ]
    assert kinds[0] == kinds[1]
    reader = load_model(ModelConfig(id="whole"), None, "cpu", max_new_tokens=4)
    assert len(list(reader.recognize([text_image("abc")]))) == 1
    if family == "ctc":
        with_adapter = load_model(ModelConfig(id=str(base)), adapter, "cpu")
        assert getattr(reader, "speller", None) and getattr(with_adapter, "speller", None)
        image = text_image("abc")
        assert [r.text for r in reader.recognize([image])] == [
            r.text for r in with_adapter.recognize([image])
        ]
    with pytest.raises(UserError, match="was trained on tiny"):
        load_model(ModelConfig(id="whole"), adapter, "cpu")


def test_a_folder_with_something_else_is_not_replaced(
    tiny_ctc: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(yaml.safe_dump({"model": {"id": str(tiny_ctc)}}))
    Path("thesis").mkdir()
    Path("thesis/chapter1.txt").write_text("years of work")
    with pytest.raises(UserError, match="is no checkpoint"):
        CliRunner().invoke(build_app(), ["merge", "thesis"], catch_exceptions=False)
    assert Path("thesis/chapter1.txt").read_text() == "years of work"
