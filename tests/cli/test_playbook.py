"""The playbook's flags and variables mean params, as docs/playbook.md says."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from dvc.utils.hydra import apply_overrides

from manifold_ocr.cli import playbook
from manifold_ocr.cli.main import build_app
from manifold_ocr.cli.playbook import FLAGS, LISTS, RUN, SWITCHES, VARIABLES, overrides, parsed
from manifold_ocr.errors import UserError
from manifold_ocr.files import read_yaml

ROOT = Path(__file__).parents[2]
SAMPLES = {
    "--lora-target-modules": "q_proj,v_proj", "--model-id": "owner/name", "--seed": "7",
    "--metric-for-best-model": "wer", "--metric-tokenizer": "whitespace", "--val-split": "0.1",
    "--warmup-ratio": "0.1", "--lora-dropout": "0.1", "--learning-rate": "5e-5",
    "--weight-decay": "0", "--save-steps": "8",
}  # fmt: skip


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder with the project's params, and a record of what DVC is asked to run."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "params.yaml", tmp_path)
    asked = []
    monkeypatch.setattr("manifold_ocr.cli.pipeline.run_dvc", lambda *words: asked.append(words))
    return asked


def get(params, key):
    for part in key.split("."):
        params = params[part]
    return params


def table():
    """Return {flag: (variable, what it sets)} of the table in the docs."""
    found = {}
    for line in (ROOT / "docs/playbook.md").read_text().splitlines():
        cells = re.split(r"\s*\|\s*", line)[1:-1]
        if len(cells) == 3:
            for flag in re.findall(r"`(--[a-z0-9-]+)", cells[0]):
                found[flag] = (cells[1].strip("` "), cells[2])
    return found


def test_the_table_lists_every_flag_and_variable_with_the_params_it_sets():
    rows = table()
    assert set(rows) == {*FLAGS, *SWITCHES, *LISTS, *RUN}
    for flag, (keys, _) in FLAGS.items():
        assert re.findall(r"`(\w+\.\w+)`", rows[flag][1]) == list(keys), flag
    variables = {variable for variable, _ in rows.values() if variable}
    assert variables == set(VARIABLES)
    params = read_yaml(ROOT / "params.yaml")
    for _, what in rows.values():
        for key in re.findall(r"`((?:model|lora|train|manifest|download|evaluate)\.\w+)`", what):
            get(params, key)


@pytest.mark.parametrize("flag", [*FLAGS, *SWITCHES])
def test_each_flag_writes_its_params_as_dvc_would(project, tmp_path, capsys, flag):
    words = [flag] if flag in SWITCHES else [flag, SAMPLES.get(flag, "3")]
    words += ["--eval-steps", "4"] if flag == "--save-steps" else []
    playbook.run_step("train", words, {})
    written = read_yaml("params.yaml")
    (line,) = [row for row in capsys.readouterr().out.splitlines() if "equals" in row]
    given = [word for word in shlex.split(line.split("dvc exp run ")[1]) if word != "-S"]
    shutil.copy(ROOT / "params.yaml", tmp_path / "dvc.yaml")
    apply_overrides(str(tmp_path / "dvc.yaml"), given)
    assert written == read_yaml(tmp_path / "dvc.yaml") != read_yaml(ROOT / "params.yaml")
    assert project == [("repro", "train")]


def test_variables_count_where_no_flag_is_given(project):
    environment = {
        "TRAIN_DATASETS": "synthetic", "INCLUDE_LANGUAGES": "en, zh", "PRECISION": "bf16",
        "INCLUDE_SUBSETS": "receipts", "METRIC_TOKENIZER": "whitespace", "UNKNOWN": "x",
    }  # fmt: skip
    playbook.run_step("prepare", ["--include-subset", "forms"], environment)
    params = read_yaml("params.yaml")
    assert params["train"]["include_languages"] == ["en", "zh"]
    assert params["train"]["include_subsets"] == ["forms"]
    assert params["manifest"]["train_corpora"] == params["download"]["corpora"] == ["synthetic"]
    assert params["model"]["precision"] == "bf16"
    assert params["evaluate"]["metric_tokenizer"] == "whitespace"
    assert project == [("repro", "manifest", "augment")]


def test_download_adds_corpora_under_the_playbooks_names(project):
    playbook.run_step("download", ["--datasets", "fox", "omnidoc"], {})
    params = read_yaml("params.yaml")
    assert params["download"]["corpora"] == ["synthetic", "fox", "omnidocbench"]
    assert params["corpora"]["fox"] == params["corpora"]["omnidocbench"] == {}
    (asked,) = project
    assert asked[1:] == (
        "download_base", "manifest", "download@synthetic", "download@fox", "download@omnidocbench"
    )  # fmt: skip


def test_a_manifest_and_its_images_in_two_places_are_linked_and_read(project, tmp_path):
    from manifold_ocr.data.registry import select_corpora

    (tmp_path / "a/images").mkdir(parents=True)
    shutil.copy(ROOT / "docs/whitepaper/limitations/01.jpg", tmp_path / "a/images/1.jpg")
    row = {"image": "images/1.jpg", "text": "one line"}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")
    playbook.run_step("download", ["--train-dataset", "mine=rows.jsonl:a"], {})
    params = read_yaml("params.yaml")
    assert params["corpora"]["mine"] == {"kind": "manifest"}
    assert Path("data/benchmark_corpus/mine/raw/images/1.jpg").stat().st_nlink == 2
    (corpus,) = [c for c in select_corpora(params) if c.name == "mine"]
    corpus.adapter.fetch(tmp_path / "fetched", corpus.options)
    rows = list(corpus.adapter.rows(tmp_path / "fetched", corpus.options))
    assert [getattr(row, "text", row) for row in rows] == ["one line"]
    playbook.run_step("download", ["--train-dataset=mine=rows.jsonl:a"], {})  # again: as before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--epoch", "3"], "--epoch: unknown flag; did you mean '--epochs'"),
        (["--epochs"], "--epochs: its value is missing"),
        (["--epochs", "3", "4"], "'4' follows --epochs 3"),
        (["--epochs", "many"], "train.epochs: must be a number, not 'many'"),
        (["--lora-alpha", "0"], "lora.alpha: must be greater than or equal to 1"),
        (["--train-dataset", "a;b"], "'a;b' cannot be a corpus name"),
        (
            ["--train-dataset", "a=none.jsonl:x"],
            "a=none.jsonl:x: must be NAME=MANIFEST",
        ),
        (["word"], "word: unknown flag"),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(project, words, message):
    before = Path("params.yaml").read_bytes()
    with pytest.raises(UserError, match=re.escape(message)):
        playbook.run_step("train", words, {})
    assert Path("params.yaml").read_bytes() == before and not project
    with pytest.raises(UserError, match="trian: unknown step; did you mean 'train'"):
        playbook.run_step("trian", [], {})


def test_run_variables_reach_the_run_and_the_adapter_is_copied(project, tmp_path, monkeypatch):
    import os

    adapter = tmp_path / "output/adapter"
    adapter.mkdir(parents=True)
    (adapter / "adapter_config.json").write_text("{}")
    monkeypatch.setenv("MANIFOLD_OCR_RUN_NAME", "")
    monkeypatch.setenv("RESUME_FROM", "")
    environment = {"RUN_NAME": "first", "OUTPUT_DIR": "copy"}
    playbook.run_step("train", ["--resume-from", "checkpoint-8"], environment)
    assert os.environ["MANIFOLD_OCR_RUN_NAME"] == "first"
    assert os.environ["RESUME_FROM"] == "checkpoint-8"
    assert (tmp_path / "copy/adapter_config.json").is_file()


def test_the_script_is_the_command(tmp_path):
    script = ROOT / "scripts/training/run_pipeline.py"
    done = subprocess.run(
        [sys.executable, str(script), "trian"], cwd=tmp_path, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 2 and "trian: unknown step" in done.stderr


def test_every_command_of_the_docs_exists():
    text = (ROOT / "docs/playbook.md").read_text()
    names = {c.name or c.callback.__name__ for c in build_app().registered_commands}
    assert set(re.findall(r"manifold-ocr ([a-z]+)", text)) <= names
    assert overrides(parsed([], {}), ["synthetic"]) == {}


def test_pin_writes_the_commit_that_the_hub_names(project, monkeypatch):
    from typer.testing import CliRunner

    class Api:
        def model_info(self, name, revision):
            assert (name, revision) == ("owner/name", "main")
            return type("Info", (), {"sha": "a" * 40})

    monkeypatch.setattr("huggingface_hub.HfApi", Api)
    done = CliRunner().invoke(build_app(), ["pin", "owner/name"])
    assert done.exit_code == 0, done.output
    model = read_yaml("params.yaml")["model"]
    assert (model["id"], model["revision"]) == ("owner/name", "a" * 40)


def test_another_model_leaves_no_commit_of_the_former_one(project):
    text = Path("params.yaml").read_text()
    Path("params.yaml").write_text(text.replace('  revision: ""', f"  revision: {'a' * 40}", 1))
    playbook.run_step("train", ["--model-id", "owner/name"], {})
    model = read_yaml("params.yaml")["model"]
    assert (model["id"], model["revision"]) == ("owner/name", "")
