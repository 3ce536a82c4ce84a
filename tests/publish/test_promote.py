"""Promotion: gates, contamination, history, rollback, and a folder that is read anywhere."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from finished_run import ROOT, finish_run
from tiny_models import text_image
from typer.testing import CliRunner

from manifold_ocr.cli.main import build_app
from manifold_ocr.errors import UserError
from manifold_ocr.files import sha256_file
from manifold_ocr.publish.promote import promote, rollback

pytestmark = pytest.mark.torch


@pytest.fixture
def project(tiny_ctc: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    finish_run(tmp_path / "project", tiny_ctc)
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path / "project"


def test_a_promoted_folder_says_where_it_comes_from(project: Path) -> None:
    made = promote("receipts")
    assert (made.folder, made.version) == (Path("external/checkpoints/receipts"), 1)
    found = json.loads((made.folder / "provenance.json").read_text())
    assert found["metrics"]["adapter"]["cer"] == 0.0
    assert found["metrics"]["base"]["cer_low"] <= found["metrics"]["base"]["cer"]
    assert found["data"]["synthetic"] == {"license": "Apache-2.0", "sha256": "ab" * 32}
    assert found["forced_past"] == [] and found["contaminated"] is False
    assert found["params"]["lora"]["rank"] == 8
    weights = (made.folder / "adapter_model.safetensors").read_bytes()
    assert weights == (project / "output/adapter/adapter_model.safetensors").read_bytes()


def test_the_card_is_read_back_by_the_hubs_own_library(project: Path) -> None:
    from huggingface_hub import ModelCard

    card = ModelCard.load(promote("receipts").folder / "README.md")
    assert card.data.pipeline_tag == "image-to-text"
    assert card.data.license == "apache-2.0" or card.data.license == "other"
    values = {result.metric_type: result.metric_value for result in card.data.eval_results}
    assert values["cer"] == 0.0
    for part in ("Intended use and limits", "| synthetic | Apache-2.0 |", "difference"):
        assert part in card.text


def test_a_failed_gate_is_refused_and_a_forced_one_is_on_the_card(
    tiny_ctc: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish_run(tmp_path, tiny_ctc, adapter_errors=5, base_errors=1)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"not promoted: gate: REFUSED.*--force"):
        promote("worse")
    assert not Path("external/checkpoints/worse").exists()
    made = promote("worse", force=True)
    assert (
        "**Promoted by force.** The checks said: gate: REFUSED"
        in (made.folder / "README.md").read_text()
    )


def test_a_contaminated_or_unmeasured_run_is_refused(project: Path) -> None:
    path = Path("metrics/manifest.json")
    known = json.loads(path.read_text())
    path.write_text(json.dumps({**known, "contaminated_benchmarks": 1}))
    with pytest.raises(UserError, match="contaminated: a benchmark was among"):
        promote("dirty")
    path.unlink()
    with pytest.raises(UserError, match="never evaluated"):
        promote("dirty")
    with pytest.raises(UserError, match="is no artifact name"):
        promote("../dirty")


def test_versions_are_kept_and_rolled_back(project: Path, tiny_ctc: Path) -> None:
    first = promote("receipts")
    before = (first.folder / "adapter_model.safetensors").read_bytes()
    finish_run(project, tiny_ctc, targets=["head.head"])
    assert promote("receipts").version == 2
    assert (first.folder / "adapter_model.safetensors").read_bytes() != before
    assert rollback("receipts") == 1
    assert (first.folder / "adapter_model.safetensors").read_bytes() == before
    assert promote("receipts").version == 3, "a number is never used twice"
    assert rollback("receipts") == 2
    assert rollback("receipts") == 1
    with pytest.raises(UserError, match="no version before 1 is kept"):
        rollback("receipts")


def test_a_failure_while_writing_leaves_the_old_version(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = promote("receipts").folder
    monkeypatch.setattr("manifold_ocr.publish.promote.model_card", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        promote("receipts")
    assert json.loads((folder / "provenance.json").read_text())["version"] == 1
    assert sorted(p.name for p in folder.parent.iterdir()) == [".history", "receipts"]


@pytest.mark.parametrize("call", ["copyfile", "rmtree"])
def test_a_kill_in_the_middle_leaves_one_whole_version(project: Path, call: str) -> None:
    """`copyfile` ends while the new version is written, `rmtree` while the old one is removed."""
    folder = promote("receipts").folder
    code = (
        "import os, shutil, signal; from manifold_ocr.publish.promote import promote; "
        f"shutil.{call} = lambda *a, **k: os.kill(os.getpid(), signal.SIGKILL); promote('receipts')"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    version = {"copyfile": 1, "rmtree": 2}[call]
    found = json.loads((folder / "provenance.json").read_text())
    assert found["version"] == version
    weights = folder / "adapter_model.safetensors"
    assert found["weights_sha256"] == {weights.name: sha256_file(weights)}
    assert promote("receipts").version == version + 1


def test_it_is_read_from_an_empty_folder_and_whatever_params_say(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = promote("receipts").folder.resolve()
    text_image("abc 12").save(tmp_path / "line.png")
    command = ["read", str(tmp_path / "line.png"), "--model", str(folder), "--mode", "line"]
    empty = tmp_path / "empty"
    empty.mkdir()
    texts = []
    for place in (project, empty):
        monkeypatch.chdir(place)
        done = CliRunner().invoke(build_app(), command, catch_exceptions=False)
        assert done.exit_code == 0, done.output
        texts.append(done.stdout)
    (empty / "params.yaml").write_text("model: {id: microsoft/trocr-base-printed}\n")
    done = CliRunner().invoke(build_app(), command, catch_exceptions=False)
    assert [*texts, done.stdout] == [texts[0]] * 3


def test_the_command_tracks_with_dvc_and_tags_for_gto(project: Path) -> None:
    from gto.tag import parse_name

    for command in (["git", "init", "-q"], ["dvc", "init", "-q"], ["git", "add", "-A"],
                    ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", "commit",
                     "-q", "-m", "Run"],
                    ["git", "config", "user.name", "t"],
                    ["git", "config", "user.email", "t@example.org"]):  # fmt: skip
        subprocess.run(command, check=True, capture_output=True)
    done = CliRunner().invoke(build_app(), ["promote", "receipts"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert Path("external/checkpoints/receipts.dvc").is_file()
    tags = subprocess.run(["git", "tag"], capture_output=True, text=True, check=True).stdout.split()
    assert tags == ["receipts@v0.0.1"]
    parsed = parse_name(tags[0])
    assert (parsed["name"], parsed["version"]) == ("receipts", "v0.0.1")
    again = CliRunner().invoke(build_app(), ["promote", "receipts"], catch_exceptions=False)
    assert "version 2" in again.output
    back = CliRunner().invoke(
        build_app(), ["promote", "receipts", "--rollback"], catch_exceptions=False
    )
    assert "version 1 again" in back.output


def test_the_checkpoint_that_comes_with_the_project_is_of_the_default_model() -> None:
    from huggingface_hub import ModelCard

    folder = ROOT / "external/checkpoints/default"
    origin = json.loads((folder / "manifold.json").read_text())
    assert origin["base_id"] == yaml.safe_load((ROOT / "params.yaml").read_text())["model"]["id"]
    found = json.loads((folder / "provenance.json").read_text())
    weights = folder / "adapter_model.safetensors"
    assert found["weights_sha256"] == {weights.name: sha256_file(weights)}
    assert weights.stat().st_size < 1_000_000, "small enough for git"
    assert found["forced_past"] == [] and not found["contaminated"]
    assert ModelCard.load(folder / "README.md").data.license == "apache-2.0"
