"""The download stage, the download command and the manifest stage as users run them."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from manifold_ocr.commands.download import add_corpora, changed_locally
from manifold_ocr.errors import UserError

SOURCE = Path(__file__).parents[2] / "src"
PARAMS = """# my project
download:
  corpora: [mine]     # the list
corpora:
  allowed_licences: [any]
  commercial: false
  mine: {kind: folder, path: %s, language: en}
manifest:
  seed: 1
  workers: 1
  max_rejected_fraction: 0.05
train:
  epochs: 1.0
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    scans = tmp_path / "scans"
    scans.mkdir()
    for number in range(12):
        Image.effect_noise((40, 20), 90).save(scans / f"{number:02d}.png")
        (scans / f"{number:02d}.txt").write_text(f"line {number}")
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "params.yaml").write_text(PARAMS % scans)
    monkeypatch.chdir(folder)
    return folder


def run(*arguments):
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    environment.pop("MANIFOLD_OCR_CACHE", None)
    command = [sys.executable, "-m", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_download_then_manifest(project):
    done = run("manifold_ocr.stages.download", "mine")
    assert done.returncode == 0, done.stderr
    metrics = json.loads((project / "metrics/download/mine.json").read_text())
    assert metrics["files"] == 24 and len(metrics["sha256"]) == 64
    (project / "metrics/download/dropped.json").write_text("{}")
    done = run("manifold_ocr.stages.manifest")
    assert done.returncode == 0, done.stderr
    assert "12" in (project / "data/manifest/card.md").read_text()
    assert not (project / "metrics/download/dropped.json").exists()
    written = json.loads((project / "metrics/manifest.json").read_text())
    assert written["by_corpus"]["mine"]["train"] + written["by_corpus"]["mine"]["test"] >= 10
    assert (project / "data/manifest/samples.png").is_file()
    assert (project / "data/manifest/plots/label_lengths.csv").is_file()


def test_a_failing_gate_leaves_the_reasons_and_no_manifest(project):
    run("manifold_ocr.stages.download", "mine")
    for number in range(4):
        (project / f"data/raw/mine/{number:02d}.png").write_bytes(b"")
    done = run("manifold_ocr.stages.manifest")
    assert done.returncode == 2
    assert "max_rejected_fraction" in done.stderr and "Traceback" not in done.stderr
    assert len((project / "data/manifest/rejected.jsonl").read_text().splitlines()) == 4
    assert not (project / "data/manifest/train.jsonl").exists()


def test_a_failing_download_keeps_what_was_there(project):
    assert run("manifold_ocr.stages.download", "mine").returncode == 0
    shutil.rmtree(project.parent / "scans")
    done = run("manifold_ocr.stages.download", "mine")
    assert done.returncode == 2 and "corpora.mine.path" in done.stderr
    assert len(list((project / "data/raw/mine").iterdir())) == 24
    assert [p.name for p in (project / "data/raw").iterdir()] == ["mine"]


def test_local_archives_are_unpacked_and_links_refused(project):
    archive = project.parent / "scans.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        for path in sorted((project.parent / "scans").iterdir()):
            packed.write(path, f"scans/{path.name}")
    params = project / "params.yaml"
    params.write_text(PARAMS % archive)
    assert run("manifold_ocr.stages.download", "mine").returncode == 0
    assert len(list((project / "data/raw/mine").iterdir())) == 24
    (project.parent / "scans/evil.txt").symlink_to("/etc/passwd")
    params.write_text(PARAMS % (project.parent / "scans"))
    done = run("manifold_ocr.stages.download", "mine")
    assert done.returncode == 2 and "link that leaves" in done.stderr


def test_licence_gate_of_the_download(project):
    params = project / "params.yaml"
    text = params.read_text().replace("commercial: false", "commercial: true")
    params.write_text(text.replace("[mine]", "[fox]").replace("  mine:", "  fox: {}\n  mine:"))
    done = run("manifold_ocr.stages.download", "fox")
    assert done.returncode == 2
    assert "CC-BY-NC-4.0" in done.stderr and "corpora.commercial" in done.stderr


def test_a_mounted_benchmark_is_found_by_its_name(project):
    root = project / "data/benchmark_corpus/bench"
    (root / "metadata").mkdir(parents=True)
    (root / "raw").mkdir()
    Image.effect_noise((40, 20), 90).save(root / "raw/1.png")
    row = {"doc_id": "1", "text": "one", "image_path": "1.png", "subset": "x", "language": "en"}
    (root / "metadata/text_manifest.jsonl").write_text(json.dumps(row) + "\n")
    params = project / "params.yaml"
    params.write_text(params.read_text().replace("[mine]", "[mine, bench]"))
    for name in ("mine", "bench"):
        assert run("manifold_ocr.stages.download", name).returncode == 0
    done = run("manifold_ocr.stages.manifest")
    assert done.returncode == 0, done.stderr
    assert "bench" in json.loads((project / "metrics/manifest.json").read_text())["by_corpus"]


class TestCommand:
    def test_corpora_are_added_and_comments_kept(self, project):
        params = project / "params.yaml"
        assert add_corpora(params, ["fox", "omnidocbench"]) == ["fox", "omnidocbench"]
        text = params.read_text()
        assert "# my project" in text and "# the list" in text
        assert "corpora: [mine, fox, omnidocbench]" in text
        assert add_corpora(params, ["fox"]) == []

    def test_unknown_names_write_nothing(self, project):
        params = project / "params.yaml"
        before = params.read_text()
        with pytest.raises(UserError, match="did you mean 'fox'"):
            add_corpora(params, ["foxx"])
        assert params.read_text() == before

    def test_own_folder_with_options(self, project):
        params = project / "params.yaml"
        add_corpora(params, ["letters"], {"kind": "folder", "path": "/scans"})
        assert "letters:" in params.read_text()

    def test_a_changed_local_folder_is_noticed(self, project):
        options = {"path": str(project.parent / "scans")}
        assert not changed_locally("mine", options)
        run("manifold_ocr.stages.download", "mine")
        assert not changed_locally("mine", options)
        (project.parent / "scans/new.txt").write_text("x")
        assert changed_locally("mine", options)
