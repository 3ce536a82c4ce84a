import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from manifold_ocr.cli.main import build_app
from manifold_ocr.cli.pipeline import apply_preset
from manifold_ocr.errors import UserError

ROOT = Path(__file__).parents[2]
PARAMS = """\
lora:
  rank: 8   # a comment that stays
  alpha: 16
train:
  epochs: 4.0
"""


def test_preset_writes_values_and_keeps_comments(tmp_path):
    params, preset = tmp_path / "params.yaml", tmp_path / "tiny.yaml"
    params.write_text(PARAMS)
    preset.write_text("lora: {rank: 4, alpha: 16}\ntrain: {epochs: 2.0}\n")
    assert apply_preset(preset, params) == [("lora.rank", 8, 4), ("train.epochs", 4.0, 2.0)]
    assert "rank: 4   # a comment that stays" in params.read_text()
    assert apply_preset(preset, params) == []


def test_preset_takes_what_it_sets_for_the_card(tmp_path):
    params = tmp_path / "params.yaml"
    shutil.copy(ROOT / "params.yaml", params)
    preset = ROOT / "presets/qwen2.5-vl-3b.yaml"
    for card, expected in ((12, ("4bit", 802816)), (24, ("none", 1605632))):
        apply_preset(preset, params, card)
        model = yaml.safe_load(params.read_text())["model"]
        assert (model["quantization"], model["max_pixels"]) == expected
    with pytest.raises(UserError, match="no values for a card of 10 GB; known: 8, 12, 16, 24"):
        apply_preset(preset, params, 10)


def lengths(params):
    train = yaml.safe_load(params.read_text())["train"]
    return train["max_target_length"], train["generation_max_length"]


def test_preset_lengths_become_what_the_decoder_holds(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    params = tmp_path / "params.yaml"
    shutil.copy(ROOT / "params.yaml", params)
    apply_preset(ROOT / "presets/3080ti.yaml", params)
    assert lengths(params) == (512, 512), "before the model is fetched, as the preset says"
    assert "train.max_target_length: 512, not the preset's 640" in capsys.readouterr().err
    base = tmp_path / "data/base/microsoft--trocr-base-printed"
    base.mkdir(parents=True)
    for positions, expected in ((700, (640, 700)), (1024, (640, 768))):
        config = {"model_type": "vision-encoder-decoder"}
        config["decoder"] = {"max_position_embeddings": positions}
        (base / "config.json").write_text(json.dumps(config))
        apply_preset(ROOT / "presets/3080ti.yaml", params)
        assert lengths(params) == expected
    assert capsys.readouterr().err.count("the preset's") == 1
    long = max(len(line) for line in (ROOT / "params.yaml").read_text().splitlines())
    assert max(len(line) for line in params.read_text().splitlines()) >= long, "no line is wrapped"


def test_preset_refuses_an_unknown_name_or_key_and_changes_nothing(tmp_path):
    params = tmp_path / "params.yaml"
    params.write_text(PARAMS)
    (tmp_path / "odd.yaml").write_text("lora: {rank: 4, rnak: 3}\n")
    with pytest.raises(UserError, match=r"'lora\.rnak' is no key"):
        apply_preset(tmp_path / "odd.yaml", params)
    with pytest.raises(UserError, match="no such preset; valid: odd"):
        apply_preset(tmp_path / "none.yaml", params)
    assert params.read_text() == PARAMS


def test_every_command_has_help_and_a_description():
    runner = CliRunner()
    app = build_app()
    names = [c.name or c.callback.__name__.replace("_", "-") for c in app.registered_commands]
    assert len(names) == len(set(names))
    for name in names:
        done = runner.invoke(app, [name, "--help"])
        assert done.exit_code == 0, (name, done.output)


def test_doctor_reports_versions_and_a_broken_params_file(tmp_path, monkeypatch):
    runner = CliRunner()
    done = runner.invoke(build_app(), ["doctor", "--params", str(tmp_path / "none.yaml")])
    assert "torch" in done.output and "disk" in done.output
    assert "none.yaml: no such file" in done.output
    assert done.exit_code == 1


def test_help_answers_in_under_a_second():
    command = [sys.executable, "-m", "manifold_ocr.cli.main", "--help"]
    times = []
    for _ in range(3):
        started = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        times.append(time.perf_counter() - started)
    assert min(times) < 1.0
