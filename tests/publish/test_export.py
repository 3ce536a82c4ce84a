"""Exports read the same texts as the checkpoint here, without this project."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from finished_run import finish_run
from published import write_published
from typer.testing import CliRunner

import manifold_ocr.publish.export as exporting
from manifold_ocr.cli.main import build_app
from manifold_ocr.errors import UserError
from manifold_ocr.models.base import Recognition
from manifold_ocr.models.ctc.speller import SETTINGS
from manifold_ocr.models.promoted import load_promoted
from manifold_ocr.publish.export import export_checkpoint
from manifold_ocr.publish.parity import DRAWN, compare, drawn_line
from manifold_ocr.publish.promote import promote
from manifold_ocr.publish.space import required

pytestmark = pytest.mark.torch
IMAGES = [drawn_line(text) for text in DRAWN[:3]]


@pytest.fixture(scope="module")
def promoted(base_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A promoted adapter of the embedded model, whose graphs every ONNX export needs."""
    root = tmp_path_factory.mktemp("export")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        finish_run(root, base_model, targets=["head.head"])
        weaken(root / "output/adapter")
        folder = promote("lines").folder.resolve()
    return folder


def weaken(adapter: Path) -> None:
    """Make random LoRA weights so small that lines are still read."""
    from safetensors.numpy import load_file, save_file

    path = adapter / "adapter_model.safetensors"
    values = {k: v * (0.02 if "lora_B" in k else 1) for k, v in load_file(path).items()}
    save_file({k: v.astype(np.float32) for k, v in values.items()}, path)


@pytest.fixture(scope="module")
def texts(promoted: Path) -> list[str]:
    return [found.text for found in load_promoted(promoted).recognize(IMAGES)]


def test_merged_reads_the_same_and_loads_in_plain_transformers(
    promoted: Path, tmp_path: Path
) -> None:
    from transformers import AutoModelForTextRecognition

    made = export_checkpoint(promoted, "merged", tmp_path / "merged", IMAGES)
    assert str(made.parity).startswith("parity: 3 of 3 rows read the same")
    assert made.parity.largest < 1e-3
    AutoModelForTextRecognition.from_pretrained(made.path)
    assert (made.path / "README.md").is_file()


def test_a_wheel_reads_in_an_environment_without_this_project(
    promoted: Path, tmp_path: Path, texts: list[str]
) -> None:
    made = export_checkpoint(promoted, "wheel", tmp_path / "wheel", IMAGES)
    (wheel,) = made.path.iterdir()
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        assert archive.testzip() is None
        archive.extractall(site)
        record = archive.read(next(n for n in archive.namelist() if n.endswith("RECORD")))
    assert record.count(b"sha256=") == 5
    IMAGES[0].save(tmp_path / "line.png")
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import manifold_ocr_lines as m; "
        "print(m.read(sys.argv[2])); assert 'torch' not in sys.modules; "
        "assert 'manifold_ocr' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(site), str(tmp_path / "line.png")],
        capture_output=True, text=True, check=False, cwd=tmp_path, env={},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == texts[0]


def test_onnx_carries_preparation_and_vocabulary_and_an_8_bit_form(
    promoted: Path, tmp_path: Path
) -> None:
    made = export_checkpoint(promoted, "onnx", tmp_path / "onnx", IMAGES)
    graph = onnx.load(made.path / "model.onnx")
    onnx.checker.check_model(graph)
    facts = {entry.key: entry.value for entry in graph.metadata_props}
    assert facts["height"] == "48" and "greedy CTC" in facts["decoder"]
    assert len(json.loads(facts["characters"])) == 18710
    small = export_checkpoint(promoted, "onnx", tmp_path / "int8", IMAGES[:1], int8=True)
    sizes = [(m.path / "model.onnx").stat().st_size for m in (made, small)]
    assert sizes[1] < 0.8 * sizes[0]


def test_a_space_starts_with_what_is_in_its_folder(promoted: Path, tmp_path: Path) -> None:
    from huggingface_hub import SpaceCard

    made = export_checkpoint(promoted, "space", tmp_path / "space", IMAGES[:1])
    names = {path.name for path in made.path.iterdir()}
    assert names >= {"app.py", "manifold_ocr", "requirements.txt", "README.md"}
    card = SpaceCard.load(made.path / "README.md")
    assert (card.data.sdk, card.data.app_file) == ("gradio", "app.py")
    compile((made.path / "app.py").read_text(), "app.py", "exec")
    asked = [line.split("==")[0] for line in (made.path / "requirements.txt").read_text().split()]
    done = subprocess.run(
        [sys.executable, "-c", DEMO, *sorted(needed(asked))], capture_output=True, text=True,
        check=False, cwd=made.path,
        env={"PATH": "", "PYTHONPATH": str(made.path), "MANIFOLD_OCR_CACHE": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    read, files, rows, choices = json.loads(done.stdout.splitlines()[-1])
    assert read.startswith("NORTHWIND") and "receipt.ocr.pdf" in files and rows
    assert choices == ["base model", "default (promoted)"]


def test_a_space_whose_language_model_knows_words_asks_for_them(tmp_path: Path) -> None:
    assert "wordfreq" not in required(tmp_path)
    (tmp_path / SETTINGS).write_text(json.dumps({"weight": 0.4, "words": []}))
    assert "wordfreq" not in required(tmp_path)
    (tmp_path / SETTINGS).write_text(json.dumps({"weight": 0.4, "words": ["en"]}))
    assert required(tmp_path)[-1] == "wordfreq"


def needed(names: list[str]) -> set[str]:
    """The distributions that pip would install for these, found in this environment."""
    from importlib.metadata import PackageNotFoundError, requires

    from packaging.requirements import Requirement

    found: set[str] = set()
    waiting = [Requirement(name) for name in names]
    while waiting:
        wanted = waiting.pop()
        name = wanted.name.lower().replace("_", "-")
        if name in found or name == "torch":
            continue
        try:
            parts = [Requirement(part) for part in requires(name) or []]
        except PackageNotFoundError:  # of another platform
            continue
        found.add(name)
        waiting += [p for p in parts if not p.marker or p.marker.evaluate({"extra": ""})]
    return found


# Reads, writes and measures as the demo does where nothing else is installed.
DEMO = """
import importlib.metadata, json, sys
there = importlib.metadata.packages_distributions()
allowed = set(sys.argv[1:])

class OnlyWhatIsAskedFor:
    def find_spec(self, name, path=None, target=None):
        owners = {n.lower().replace("_", "-") for n in there.get(name.split(".")[0], [])}
        if owners and not owners & (allowed | {"manifold-ocr"}):
            raise ModuleNotFoundError(f"{name} of {owners} is not in requirements.txt", name=name)

sys.meta_path.insert(0, OnlyWhatIsAskedFor())
from pathlib import Path
from manifold_ocr.serving.demo import app, panels
session = app.Session(app.DemoSettings(promoted=Path("checkpoints"), corrections=None, threads=1))
drawn = str(app.write_examples(session.folder())[1])
model = session.preferred()
shown, problems = app.read_files(session, [drawn], model, "auto", lambda *a, **k: None)
files = app.write_downloads([drawn], shown, session.folder())
rows, _ = panels.sizes([shown[0].page], session.reader(model).recognizer)
panels.compare("a page", [(model, shown[0].page.text)])
rows += panels.field_rows(app.extract_fields([(1, shown[0].page)], "receipt").as_json())
choices = [name for name in session.choices() if session.reader(name)]
print(json.dumps([shown[0].page.text, [Path(f).name for f in files], rows, choices]))
"""


def test_an_export_that_reads_otherwise_is_refused_and_leaves_nothing(
    promoted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = [Recognition("other", 0.9) for _ in IMAGES]
    monkeypatch.setattr(exporting, "_read_alone", lambda *_: wrong)
    with pytest.raises(UserError, match="is refused: 3 of 3 rows differ; row 1 reads 'other'"):
        export_checkpoint(promoted, "onnx", tmp_path / "onnx", IMAGES)
    assert not list(tmp_path.iterdir())
    with pytest.raises(UserError, match=r"a probability differs by 1\.0e-01"):
        compare("it", [Recognition("a", 0.9)], [Recognition("a", 0.8)])
    ours, theirs = ([Recognition(t, 0.9) for t in texts] for texts in ("abcdefghij", "abcdefghiX"))
    assert compare("8-bit", ours, theirs, differing=0.1).same == 9


def test_unknown_kinds_and_folders_are_named(promoted: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such export; known: hf, merged, onnx"):
        export_checkpoint(promoted, "pickle", tmp_path / "x", IMAGES)
    with pytest.raises(UserError, match="--to space has no 8-bit form"):
        export_checkpoint(promoted, "space", tmp_path / "x", IMAGES, int8=True)
    with pytest.raises(UserError, match="is no promoted checkpoint"):
        export_checkpoint(tmp_path, "hf", tmp_path / "x", IMAGES)


def test_the_adapter_of_a_hub_model_names_base_and_revision_and_no_class_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """AutoPeftModel loads it where the base is to be had (here: a folder)."""
    import torch
    from peft import AutoPeftModel

    from manifold_ocr.config import LoraConfig, ModelConfig, TrainConfig
    from manifold_ocr.models.base import RunSpec
    from manifold_ocr.models.family import family_for

    base = write_published(tmp_path / "base", "trocr-base-printed")
    settings = RunSpec(
        model=ModelConfig(id=str(base)), lora=LoraConfig(rank=2, alpha=4), train=TrainConfig(),
        base=base, image_root=tmp_path,
    )  # fmt: skip
    torch.manual_seed(0)
    family = family_for("encoder_decoder", settings)
    project = tmp_path / "project"
    finish_run(project, base, targets=["q_proj"])
    for path in (project / "output/adapter").iterdir():
        path.unlink()
    family.save(family.build(), project / "output/adapter")
    monkeypatch.chdir(project)
    made = promote("words")
    config: dict[str, Any] = json.loads((made.folder / "adapter_config.json").read_text())
    assert "manifold_ocr" not in json.dumps(config["auto_mapping"])
    loaded = AutoPeftModel.from_pretrained(str(made.folder))
    assert type(loaded.get_base_model()).__module__.startswith("transformers.")


def test_the_command_prints_the_parity(
    promoted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    IMAGES[0].save("line.png")
    arguments = ["export", str(promoted), "--to", "onnx", "--images", "line.png"]
    done = CliRunner().invoke(build_app(), arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "parity: 1 of 1 rows read the same, largest difference of a probability" in done.output
    assert Path("dist/lines-onnx/model.onnx").is_file()
