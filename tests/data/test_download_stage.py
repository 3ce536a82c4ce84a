"""The download stage, the download command and the manifest stage as users run them."""

import json
import os
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from manifold_ocr.cli.pipeline import add_corpora, register_download
from manifold_ocr.data.fetch import changed, local_source, looks_changed
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


def test_license_gate_of_the_download(project):
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

    def test_only_corpora_with_a_changed_source_are_fetched_again(self, project, monkeypatch):
        other = project.parent / "other"
        shutil.copytree(project.parent / "scans", other)
        params = project / "params.yaml"
        text = params.read_text().replace("[mine]", "[mine, other, synthetic]")
        params.write_text(
            text.replace("  mine:", f"  other: {{kind: folder, path: {other}}}\n  mine:")
        )
        for name in ("mine", "other"):
            assert run("manifold_ocr.stages.download", name).returncode == 0
        (other / "03.txt").write_text("line 9")  # as long as before
        commands = []

        def record(command, check, env):
            commands.append(command[4:])
            return subprocess.CompletedProcess(command, 0)

        monkeypatch.setattr("manifold_ocr.cli.pipeline.subprocess.run", record)
        app = typer.Typer()
        app.callback()(lambda: None)
        register_download(app)
        done = CliRunner().invoke(app, ["download"])
        assert done.exit_code == 0, done.output
        assert commands == [
            ["download@mine"], ["download@other", "--force"], ["download@synthetic"]
        ]  # fmt: skip
        assert "other: its local source has changed" in done.output
        assert "mine:" not in done.output


class TestLocalSources:
    def edit(self, path, text):
        path.write_text(text)
        later = time.time() + 60
        os.utime(path, (later, later))

    def test_any_change_of_content_is_noticed(self, project):
        scans = project.parent / "scans"
        options = {"kind": "folder", "path": str(scans)}
        assert not changed("mine", options) and not looks_changed("mine", options)
        run("manifold_ocr.stages.download", "mine")
        metrics = json.loads((project / "metrics/download/mine.json").read_text())
        assert metrics["source_sha256"] == metrics["sha256"]
        assert not changed("mine", options) and not looks_changed("mine", options)
        (scans / ".hidden").write_text("is not copied")
        assert not changed("mine", options)
        self.edit(scans / "03.txt", "line 9")
        assert changed("mine", options) and looks_changed("mine", options)
        (scans / "03.txt").write_text("line 3")
        assert not changed("mine", options), "touched, yet the same"
        (scans / "03.txt").rename(scans / "99.txt")
        assert changed("mine", options)
        (scans / "03.png").unlink()
        assert looks_changed("mine", options)
        shutil.rmtree(scans)
        assert not changed("mine", options) and not looks_changed("mine", options)

    def test_archives_and_mounts(self, project):
        archive = project.parent / "scans.zip"
        shutil.make_archive(str(archive.with_suffix("")), "zip", project.parent / "scans")
        (project / "params.yaml").write_text(PARAMS % archive)
        options = {"kind": "folder", "path": str(archive)}
        run("manifold_ocr.stages.download", "mine")
        assert not changed("mine", options) and not looks_changed("mine", options)
        with zipfile.ZipFile(archive, "a") as packed:
            packed.writestr("new.txt", "new")
        assert changed("mine", options)
        mounted = project / "data/benchmark_corpus/bench"
        mounted.mkdir(parents=True)
        (mounted / "a.txt").write_text("a")
        params = project / "params.yaml"
        params.write_text(params.read_text().replace("[mine]", "[mine, bench]"))
        assert run("manifold_ocr.stages.download", "bench").returncode == 0
        assert not changed("bench", {})
        (mounted / "a.txt").write_text("b")
        assert changed("bench", {}) and not changed("bench", {"repo": "a/b"})

    def test_corpora_without_local_source(self, project):
        assert local_source("fox", {}) is None
        (project / "metrics/download").mkdir(parents=True)
        (project / "metrics/download/fox.json").write_text('{"sha256": "0"}')
        assert not changed("fox", {}) and not looks_changed("fox", {})

    def test_the_manifest_stage_warns_of_edits(self, project):
        run("manifold_ocr.stages.download", "mine")
        assert "warning" not in run("manifold_ocr.stages.manifest").stdout
        self.edit(project.parent / "scans/03.txt", "line 9")
        done = run("manifold_ocr.stages.manifest")
        assert done.returncode == 0
        assert "local source of mine" in done.stdout
        assert "manifold-ocr download mine" in done.stdout
