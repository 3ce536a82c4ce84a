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


def test_help_shows_every_command_in_a_group_and_cuts_no_line_off():
    shown = CliRunner().invoke(build_app(), ["--help"], env={"COLUMNS": "80"}).output
    groups = ["Pipeline:", "Your documents:", "Read and evaluate:", "Publish:", "System:"]
    assert [line for line in shown.splitlines() if line in groups] == groups
    assert "..." not in shown.split("Options:")[1]
    assert max(map(len, shown.splitlines())) <= 80
    names = [c.name or c.callback.__name__ for c in build_app().registered_commands]
    told = [line.split()[0] for line in shown.splitlines() if line.startswith("  ")]
    assert set(names) <= set(told)
    assert {"eval", "stage"} <= set(names) and not {"engine", "repro", "evaluate"} & set(names)


def run_main(monkeypatch, capsys, command):
    """Run the program as the shell does; return its status, output and errors."""
    from manifold_ocr.cli.main import main

    monkeypatch.setattr(sys, "argv", ["manifold-ocr", *command])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code, *capsys.readouterr()


def test_the_exit_status_tells_a_no_from_a_mistake_and_from_a_bug(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts/page.txt").write_text("A page of the archive, long enough. " * 40)
    (tmp_path / "other.txt").write_text("Nothing of the kind was ever filed here! " * 40)
    assert run_main(monkeypatch, capsys, ["compress", "--build", "texts", "-o", "m.bin"])[0] == 0
    verify = ["verify", "texts/page.txt", "--against", "m.bin"]
    assert run_main(monkeypatch, capsys, verify)[0] == 0
    status, said, _ = run_main(monkeypatch, capsys, ["verify", "other.txt", *verify[2:]])
    assert status == 1 and said.startswith("no match")
    status, _, said = run_main(monkeypatch, capsys, ["verify", "none.txt", *verify[2:]])
    assert (
        status == 2 and said.startswith("error: none.txt: no such file") and said.count("\n") == 1
    )
    assert run_main(monkeypatch, capsys, ["verify", "--agianst", "x"])[0] == 2

    def broken(*_):
        raise KeyError("two\nlines")

    monkeypatch.setattr("manifold_ocr.compression.verify.Verifier.check", broken)
    status, _, said = run_main(monkeypatch, capsys, verify)
    assert status == 70 and "Traceback" not in said and said.count("\n") == 1
    report = Path(said.split()[-1])
    assert report.parent == tmp_path and "KeyError" in report.read_text()


def test_names_are_checked_before_anything_is_written(tmp_path, monkeypatch, capsys):
    """A name reached a shell as it was: `a;touch X` ran touch, "my docs" broke params.yaml."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "params.yaml", tmp_path)
    (tmp_path / "docs").mkdir()
    before = (tmp_path / "params.yaml").read_bytes()
    for name in ("my docs", "scans.v2", "a;touch PWNED", "commercial", "a$HOME", "a,b", "2024"):
        command = ["download", "--datasets", name, "--kind", "folder", "--path", "docs"]
        status, said, told = run_main(monkeypatch, capsys, command)
        assert status == 2 and f"{name!r} cannot be a corpus name" in told and not said
        assert told.startswith("error: ") and told.count("\n") == 1
    assert (tmp_path / "params.yaml").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["docs", "params.yaml"]


def test_a_preset_with_a_small_learning_rate_is_read_back_as_a_number(tmp_path):
    from manifold_ocr.config import TrainConfig
    from manifold_ocr.settings import load_section

    shutil.copy(ROOT / "params.yaml", tmp_path)
    preset = tmp_path / "lowlr.yaml"
    preset.write_text("train: {learning_rate: 5.0e-5, weight_decay: 0.000001}\n")
    apply_preset(preset, tmp_path / "params.yaml")
    train = load_section(TrainConfig, "train", tmp_path / "params.yaml")
    assert (train.learning_rate, train.weight_decay) == (5e-5, 1e-6)
    assert apply_preset(preset, tmp_path / "params.yaml") == []
    preset.write_text("train: {learning_rate: -1}\n")
    with pytest.raises(UserError, match=r"train\.learning_rate: must be greater than 0, not -1"):
        apply_preset(preset, tmp_path / "params.yaml")


def test_read_says_that_a_file_is_missing_before_a_model_is_loaded(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        "manifold_ocr.reading.engines.checkpoint.reader_model", lambda *_, **__: 1 / 0
    )
    with pytest.raises(UserError, match=r"none\.png: no such file"):
        CliRunner().invoke(build_app(), ["read", "none.png"], catch_exceptions=False)
