import errno
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from manifold_ocr import files
from manifold_ocr.errors import UserError


def test_a_full_disk_keeps_the_old_file_and_leaves_nothing_behind(tmp_path, monkeypatch):
    target = tmp_path / "rows.jsonl"
    target.write_text("old\n")

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    refused = pytest.raises(UserError, match=r"rows\.jsonl: could not be written \(No space left")
    with refused, files.atomic_write(target) as file:
        file.write("new\n")
    assert target.read_text() == "old\n"
    assert [p.name for p in tmp_path.iterdir()] == ["rows.jsonl"]


def test_an_exception_in_the_block_keeps_the_old_folder(tmp_path):
    target = tmp_path / "corpus"
    target.mkdir()
    (target / "a").write_text("old")
    with pytest.raises(KeyError), files.atomic_directory(target) as folder:
        (folder / "b").write_text("new")
        raise KeyError
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["a", "corpus"]


def test_atomic_directory_replaces_whole(tmp_path):
    target = tmp_path / "corpus"
    for name in ("a", "b"):
        with files.atomic_directory(target) as folder:
            (folder / name).write_text(name)
    assert [p.name for p in target.iterdir()] == ["b"]


def test_tree_hash_sees_names_and_contents_but_not_times(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    for root in (one, two):
        (root / "sub").mkdir(parents=True)
        (root / "sub" / "x").write_text("x")
    os.utime(two / "sub" / "x", (1, 1))
    assert files.sha256_tree(one) == files.sha256_tree(two)
    (two / "sub" / "x").rename(two / "sub" / "y")
    assert files.sha256_tree(one) != files.sha256_tree(two)


def test_json_refuses_nan_and_names_broken_input(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(tmp_path / "m.json", {"cer": float("nan")})
    (tmp_path / "broken.json").write_text('{"a": 1,\n"b" 2}')
    with pytest.raises(UserError, match=r"broken\.json:2: not valid JSON"):
        files.read_json(tmp_path / "broken.json")


def test_cache_is_shared_with_temporary_experiments(tmp_path, monkeypatch):
    monkeypatch.delenv("MANIFOLD_OCR_CACHE", raising=False)
    workspace = tmp_path / "project"
    queued = workspace / ".dvc" / "tmp" / "exps" / "tmp123"
    queued.mkdir(parents=True)
    monkeypatch.chdir(queued)
    assert files.workspace() == workspace
    assert files.cache_root() == workspace / "output" / "cache"
    monkeypatch.chdir(workspace)
    assert files.cache_root().resolve() == workspace / "output" / "cache"


def test_a_clone_below_another_tmp_exps_is_its_own_workspace(tmp_path, monkeypatch):
    """Only DVC's .dvc/tmp/exps holds temporary experiments; other folders may have such names."""
    monkeypatch.delenv("MANIFOLD_OCR_CACHE", raising=False)
    clone = tmp_path / "any" / "tmp" / "exps" / "manifold-ocr"
    (clone / "src").mkdir(parents=True)
    monkeypatch.chdir(clone)
    assert files.cache_root().resolve() == clone / "output" / "cache"


@pytest.mark.parametrize(
    ("sent", "left"), [(signal.SIGKILL, 1), (signal.SIGTERM, 0), (signal.SIGINT, 0)]
)
def test_a_stopped_stage_leaves_nothing_that_git_sees(tmp_path, sent, left):
    """SIGTERM and Ctrl-C remove the temporary folder; what kill -9 leaves is ignored by git."""
    code = (
        "import signal, time\nfrom manifold_ocr.files import atomic_directory\n"
        "from manifold_ocr.stages.runner import run_stage\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a shell's & ignores it
        "def main():\n"
        "    with atomic_directory('data/augmented') as folder:\n"
        "        (folder / 'a.png').write_bytes(b'x')\n"
        "        print('ready', flush=True)\n"
        "        time.sleep(60)\n"
        "run_stage('augment', main)"
    )
    shutil.copy(Path(__file__).parents[1] / ".gitignore", tmp_path)
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    stage = subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert stage.stdout.readline() == b"ready\n"
    stage.send_signal(sent)
    _, told = stage.communicate(timeout=20)
    assert stage.returncode == (-sent if left else 130)
    assert b"Traceback" not in told and (left or b"augment: interrupted" in told)
    assert len(list((tmp_path / "data").iterdir())) == left
    status = ["git", "status", "--porcelain", "--untracked-files=all"]
    shown = subprocess.run(status, cwd=tmp_path, check=True, capture_output=True).stdout
    assert shown == b"?? .gitignore\n"
