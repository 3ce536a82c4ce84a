"""The batch in several processes and through Ray Data: the same work, the same bytes."""

import os
import sys
from pathlib import Path

import pytest
from drawn_pages import SizeReader, plain_pdf
from PIL import Image

from manifold_ocr.errors import UserError
from manifold_ocr.serving.batch import BatchSettings, read_file, run_batch
from manifold_ocr.serving.workers import processes, ray_data

SETTINGS = BatchSettings(formats=("jsonl", "text", "markdown", "hocr", "alto", "pdf"))


def size_reader(model, threads):
    return SizeReader()


def here(sources, settings, out):
    for source in sources:
        yield read_file(source, SizeReader(), settings, out)


def make_folder(root):
    root.mkdir()
    for number in range(5):
        Image.new("RGB", (100 + number, 50), (number, 0, 0)).save(root / f"{number}.png")
    plain_pdf(root / "three.pdf", 3)
    (root / "broken.pdf").write_bytes(b"%PDF-1.7\nno more")
    return root


def outputs(out):
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in out.rglob("*")
        if path.is_file() and path.name not in (".lock", "journal.jsonl")
    }


def test_ray_data_writes_the_bytes_of_a_local_run(tmp_path, monkeypatch):
    ray = pytest.importorskip("ray", reason="Ray is absent: pip install 'manifold-ocr[ray]'")
    support = str(Path(__file__).parents[1] / "support")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([support, os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    root = make_folder(tmp_path / "in")
    try:
        through_ray = run_batch([root], tmp_path / "ray", SETTINGS, ray_data(1, size_reader))
    finally:
        ray.shutdown()
    local = run_batch([root], tmp_path / "local", SETTINGS, here)
    assert through_ray == local and (local.files, local.pages, local.bad_files) == (6, 8, 1)
    assert outputs(tmp_path / "ray") == outputs(tmp_path / "local")


def test_without_ray_the_message_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)  # as if it were not installed
    root = make_folder(tmp_path / "in")
    with pytest.raises(
        UserError, match=r"--engine ray needs Ray: pip install 'manifold-ocr\[ray]'"
    ):
        run_batch([root], tmp_path / "out", SETTINGS, ray_data(1))


def test_a_model_that_cannot_be_loaded_is_no_fault_of_the_files(tmp_path):
    root, model = make_folder(tmp_path / "in"), tmp_path / "model"
    model.mkdir()
    (model / "note.txt").write_text("no weights here")
    settings = BatchSettings(formats=("text",), model=model)
    with pytest.raises(UserError, match="model: holds no safetensors weights"):
        run_batch([root], tmp_path / "out", settings, processes(2))
    lines = (tmp_path / "out/journal.jsonl").read_text().splitlines()
    assert len(lines) == 1  # its settings; no file is taken for read or bad
