"""The first day: mounted corpora under any name, benchmarks alone, models that are not pinned."""

import json
import shutil
from pathlib import Path

import pytest
import yaml
from dvc.utils.hydra import apply_overrides
from PIL import Image

from manifold_ocr.config import ModelConfig
from manifold_ocr.data.registry import select_corpora
from manifold_ocr.errors import UserError
from manifold_ocr.files import read_yaml
from manifold_ocr.models.pretrained import fetch_base
from manifold_ocr.stages import manifest

ROOT = Path(__file__).parents[2]
PUBLISHERS = ("publaynet", "docvqa", "icdar2015", "fox", "omnidocbench")
BENCHMARKS = ("fox", "omnidocbench")  # published to be tested on


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "params.yaml", tmp_path)
    return tmp_path


def mount(name, texts):
    """Put pages with older rows where the playbook keeps its corpora."""
    root = Path("data/benchmark_corpus") / name
    (root / "metadata").mkdir(parents=True)
    (root / "raw").mkdir()
    lines = []
    for number, text in enumerate(texts):
        Image.effect_noise((60, 20), 90).save(root / f"raw/{number}.png")
        lines.append(json.dumps({
            "doc_id": str(number), "text": text, "image_path": f"{number}.png", "subset": "x",
            "language": "en",
        }))  # fmt: skip
    (root / "metadata/text_manifest.jsonl").write_text("\n".join(lines) + "\n")


def select(*names):
    params = read_yaml("params.yaml")
    params["download"]["corpora"] = list(names)
    Path("params.yaml").write_text(yaml.safe_dump(params))
    return select_corpora(read_yaml("params.yaml"))


@pytest.mark.parametrize("name", [*PUBLISHERS, "letters"])
def test_a_mounted_corpus_with_our_rows_is_read_under_any_name(project, name):
    mount(name, ["one", "two"])
    (corpus,) = select(name)
    assert corpus.kind == "manifest"
    assert corpus.role == ("eval_only" if name in BENCHMARKS else "train")
    corpus.adapter.fetch(project / "fetched", corpus.options)
    rows = list(corpus.adapter.rows(project / "fetched", corpus.options))
    assert [row.text for row in rows] == ["one", "two"]


def test_a_mounted_corpus_in_its_publishers_layout_keeps_its_reader(project):
    (project / "data/benchmark_corpus/publaynet/val").mkdir(parents=True)
    assert [corpus.kind for corpus in select("publaynet")] == ["publaynet"]


def test_fox_alone_says_how_to_train_on_it_and_what_that_costs(project, capsys):
    mount("fox", [f"page {number}" for number in range(40)])
    (corpus,) = select("fox")
    corpus.adapter.fetch(project / "data/raw/fox", corpus.options)
    manifest.main()
    printed = capsys.readouterr().out
    assert "note: train is empty" in printed
    (note,) = [line for line in printed.splitlines() if "is a benchmark" in line]
    assert "contaminated" in note and "--force" in note
    option = note.split("`dvc exp run -S ")[1].split("`")[0]
    apply_overrides("params.yaml", [option])
    manifest.main()
    assert "benchmark fox is trained on; its scores mean nothing" in capsys.readouterr().out
    metrics = json.loads(Path("metrics/manifest.json").read_text())
    assert metrics["contaminated_benchmarks"] == 1 and metrics["train"]["rows"] > 20


@pytest.mark.parametrize("revision", ["", "main", "v1.0", "abc123"])
def test_a_hub_model_without_a_commit_is_refused_with_the_command_that_pins_it(project, revision):
    with pytest.raises(UserError, match="run `manifold-ocr pin owner/name`"):
        fetch_base(ModelConfig(id="owner/name", revision=revision))
    assert not Path("data/base").exists()


def test_every_preset_of_a_hub_model_is_pinned_or_refused_until_it_is(project):
    models = [read_yaml(path).get("model", {}) for path in sorted((ROOT / "presets").glob("*"))]
    hub = [model for model in models if "/" in model.get("id", "")]
    assert len(hub) > 9
    for model in hub:
        if revision := model.get("revision", ""):
            assert len(revision) == 40 and set(revision) <= set("0123456789abcdef")
            continue
        with pytest.raises(UserError, match=f"run `manifold-ocr pin {model['id']}`"):
            fetch_base(ModelConfig(id=model["id"]))
