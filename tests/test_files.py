import errno
import os

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
