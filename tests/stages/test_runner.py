"""A stage that is stopped leaves nothing half done, and says so."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
STAGE = """
import signal, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a test in the background ignores it
from manifold_ocr.files import atomic_directory
from manifold_ocr.stages.runner import run_stage

def stage():
    with atomic_directory("data/augmented") as folder:
        (folder / "half").write_text("half")
        print("busy", flush=True)
        time.sleep(60)

run_stage("augment", stage)
"""


def started(folder: Path, command: list[str]) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    process = subprocess.Popen(
        command, cwd=folder, env=environment, stdout=-1, stderr=-1, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "busy\n"
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_removes_the_temporary_folder_and_is_told(number, tmp_path):
    process = started(tmp_path, [sys.executable, "-c", STAGE])
    process.send_signal(number)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert errors == "augment: interrupted; run `dvc repro` again to go on\n"
    assert list((tmp_path / "data").iterdir()) == []


def test_a_stage_ends_with_the_dvc_that_started_it(tmp_path):
    (tmp_path / "stage.py").write_text(STAGE)
    (tmp_path / "dvc").write_text(f"{sys.executable} stage.py & wait\n")
    dvc = started(tmp_path, ["/bin/sh", str(tmp_path / "dvc")])
    dvc.kill()
    deadline = time.monotonic() + 30
    while list((tmp_path / "data").iterdir()):
        assert time.monotonic() < deadline, "the stage outlived its dvc"
        time.sleep(0.1)


def test_git_ignores_what_a_killed_stage_leaves(tmp_path):
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    shutil.copyfile(ROOT / ".gitignore", tmp_path / ".gitignore")
    process = started(tmp_path, [sys.executable, "-c", STAGE])
    process.kill()
    process.wait()
    assert list((tmp_path / "data").rglob("half"))
    command = ["git", "-C", str(tmp_path), "status", "--porcelain", "-uall"]
    seen = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert seen == "?? .gitignore\n"


def test_doctor_tells_a_shallow_clone_a_missing_repository_and_a_missing_git(tmp_path, monkeypatch):
    from manifold_ocr.cli.system import repository_problems

    assert "no git repository" in repository_problems(tmp_path)[0]
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    assert repository_problems(tmp_path) == []
    (tmp_path / ".git/shallow").write_text("0" * 40)
    assert "git fetch --unshallow" in repository_problems(tmp_path)[0]
    monkeypatch.setenv("PATH", "")
    assert "git is missing" in repository_problems(tmp_path)[0]
