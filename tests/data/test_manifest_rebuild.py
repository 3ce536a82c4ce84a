"""A rebuild never takes anything stale: images, texts and line numbers are those of today."""

import json
import multiprocessing
import os
import random
import shutil

import pytest
from PIL import Image

from manifold_ocr.config import ManifestConfig
from manifold_ocr.data.manifest import build_rows
from manifold_ocr.data.registry import resolve
from manifold_ocr.files import sha256_tree

PAGES, LINES = 40, 12
CONFIG = ManifestConfig(workers=1, samples_sheet=0, max_rejected_fraction=0.9)
SETTLED = 1_600_000_000  # a modification time that the image cache believes


def draw(path, seed):
    pixels = random.Random(seed).randbytes(64)
    Image.frombytes("L", (8, 8), pixels).resize((64, 64), Image.Resampling.NEAREST).save(path)
    os.utime(path, (SETTLED, SETTLED))


def rows_of(page):
    return [
        {"document": f"d{page}", "image": f"p{page:03d}.png", "box": [0, 5 * n, 60, 5 * n + 5],
         "text": f"line {page} {n} of some length, long enough for a page", "language": "en"}
        for n in range(LINES)
    ]  # fmt: skip


def write(root, rows):
    (root / "manifest.jsonl").write_text(
        "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)
    )


@pytest.fixture
def raw(tmp_path, monkeypatch):
    """A corpus of 40 pages of 12 lines, and a cache of its own."""
    monkeypatch.setenv("MANIFOLD_OCR_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "raw/mine"
    root.mkdir(parents=True)
    for page in range(PAGES):
        draw(root / f"p{page:03d}.png", page)
    write(root, [row for page in range(PAGES) for row in rows_of(page)])
    return tmp_path / "raw"


def build(raw, out, config=CONFIG):
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    build_rows([resolve("mine", {"kind": "manifest"})], config, raw, out, 512)
    return sha256_tree(out)


def from_nothing(raw, out, monkeypatch):
    """Build with an empty cache."""
    with monkeypatch.context() as patch:
        patch.setenv("MANIFOLD_OCR_CACHE", str(out.parent / f"{out.name}-cache"))
        return build(raw, out)


def test_a_changed_image_changes_its_rows(raw, tmp_path, monkeypatch):
    first = build(raw, tmp_path / "out")
    assert build(raw, tmp_path / "out") == first
    draw(raw / "mine/p030.png", "another look")
    os.utime(raw / "mine/p030.png", (SETTLED + 9, SETTLED + 9))
    (raw / "mine/p031.png").unlink()
    second = build(raw, tmp_path / "out")
    assert second != first
    assert "missing_image" in (tmp_path / "out/rejected.jsonl").read_text()
    assert from_nothing(raw, tmp_path / "clean", monkeypatch) == second


def test_texts_in_files_of_their_own_are_read_again(raw, tmp_path):
    rows = [
        {"doc_id": f"d{page}", "image": f"p{page:03d}.png", "text_path": f"t{page}.txt"}
        for page in range(3)
    ]
    write(raw / "mine", rows)
    for words in ("the text of", "another text"):
        for page in range(3):
            (raw / f"mine/t{page}.txt").write_text(f"{words} {page}")
        build(raw, tmp_path / "out")
    written = "".join(
        (tmp_path / f"out/{split}.jsonl").read_text() for split in ("train", "val", "test")
    )
    assert written.count("another text") == 3 and "the text of" not in written


def _build_there(raw, out, results):
    results.put(build(raw, out, CONFIG.__class__(**{**vars(CONFIG), "workers": 2})))


def test_two_builds_at_once_agree(raw, tmp_path, monkeypatch):
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    running = [
        context.Process(target=_build_there, args=(raw, tmp_path / name, results))
        for name in ("one", "two")
    ]
    for process in running:
        process.start()
    hashes = {results.get(timeout=60) for _ in running}
    for process in running:
        process.join()
    assert hashes == {from_nothing(raw, tmp_path / "clean", monkeypatch)}


def test_names_with_line_breaks_are_rejected(raw, tmp_path):
    rows = rows_of(0) + [
        {"document": "x", "image": name, "text": "a"} for name in ("a\nb.png", "a\0b.png")
    ]
    write(raw / "mine", rows)
    draw(raw / "mine/a\nb.png", "x")
    for _ in range(2):
        build(raw, tmp_path / "out")
        listed = [
            json.loads(line) for line in (tmp_path / "out/rejected.jsonl").read_text().splitlines()
        ]
        assert [row["reason"] for row in listed] == ["broken_row"] * 2
