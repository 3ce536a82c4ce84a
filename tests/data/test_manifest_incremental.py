"""Stretches of rows are kept between builds: never stale, and never a byte different."""

import json
import multiprocessing
import os
import random
import shutil
import sqlite3
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from manifold_ocr.config import ManifestConfig
from manifold_ocr.data import parts
from manifold_ocr.data.manifest import build_rows
from manifold_ocr.data.parts import (
    MEAN_LINES,
    StretchBuilder,
    StretchCache,
    line_stretches,
    pack,
    unpack,
)
from manifold_ocr.data.registry import resolve
from manifold_ocr.files import sha256_tree

PAGES, LINES = 150, 12
CONFIG = ManifestConfig(workers=1, samples_sheet=0, max_rejected_fraction=0.9)
SETTLED = 1_600_000_000  # a modification time that the image cache believes


def draw(path, seed):
    pixels = random.Random(seed).randbytes(64)
    Image.frombytes("L", (8, 8), pixels).resize((64, 64), Image.Resampling.NEAREST).save(path)
    os.utime(path, (SETTLED, SETTLED))


def rows_of(page, text="line"):
    return [
        {"document": f"d{page}", "image": f"p{page:03d}.png", "box": [0, 5 * n, 60, 5 * n + 5],
         "text": f"{text} {page} {n} of some length, long enough for a page", "language": "en"}
        for n in range(LINES)
    ]  # fmt: skip


def write(root, rows):
    (root / "manifest.jsonl").write_text(
        "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)
    )


@pytest.fixture
def raw(tmp_path, monkeypatch):
    """A corpus of 150 pages of 12 lines, and a cache of its own."""
    monkeypatch.setenv("MANIFOLD_OCR_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "raw/mine"
    root.mkdir(parents=True)
    for page in range(PAGES):
        draw(root / f"p{page:03d}.png", page)
    write(root, [row for page in range(PAGES) for row in rows_of(page)])
    return tmp_path / "raw"


@pytest.fixture
def built(monkeypatch):
    """Count the stretches that are built anew."""
    count = [0]
    collect = StretchBuilder.collect

    def counted(self, rows):
        count[0] += 1
        return collect(self, rows)

    monkeypatch.setattr(StretchBuilder, "collect", counted)

    def since():
        taken, count[0] = count[0], 0
        return taken

    return since


def build(raw, out, options=None, **changes):
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    corpus = resolve("mine", {"kind": "manifest", **(options or {})})
    build_rows([corpus], replace(CONFIG, **changes), raw, out, 512)
    return sha256_tree(out)


def from_nothing(raw, out, monkeypatch, **changes):
    """Build with an empty cache."""
    with monkeypatch.context() as patch:
        patch.setenv("MANIFOLD_OCR_CACHE", str(out.parent / f"{out.name}-cache"))
        return build(raw, out, **changes)


def test_a_rebuild_reads_only_what_changed(raw, tmp_path, monkeypatch, built):
    first = build(raw, tmp_path / "out")
    stretches = built()
    assert stretches > 10
    assert build(raw, tmp_path / "out") == first and built() == 0
    rows = [row for page in range(PAGES) for row in rows_of(page, "new" if page == 70 else "line")]
    write(raw / "mine", rows)
    second = build(raw, tmp_path / "out")
    assert second != first and 1 <= built() <= 3
    assert from_nothing(raw, tmp_path / "clean", monkeypatch) == second


@pytest.mark.parametrize("place", [0, 50, PAGES])
def test_pages_that_come_move_only_their_neighbours(raw, tmp_path, monkeypatch, built, place):
    build(raw, tmp_path / "out")
    stretches = built()
    draw(raw / "mine/p999.png", 999)
    order = [*range(place), 999, *range(place, PAGES)]
    write(raw / "mine", [row for page in order for row in rows_of(page)])
    second = build(raw, tmp_path / "out")
    # beside the new page, only the borders of the eight parts have moved
    assert built() <= 2 * parts.PARTS + 2 and stretches > 10
    assert from_nothing(raw, tmp_path / "clean", monkeypatch) == second


def test_a_changed_image_changes_its_rows(raw, tmp_path, monkeypatch, built):
    first = build(raw, tmp_path / "out")
    built()
    draw(raw / "mine/p030.png", "another look")
    os.utime(raw / "mine/p030.png", (SETTLED + 9, SETTLED + 9))
    (raw / "mine/p031.png").unlink()
    second = build(raw, tmp_path / "out")
    assert second != first and 1 <= built() <= 3
    assert "missing_image" in (tmp_path / "out/rejected.jsonl").read_text()
    assert from_nothing(raw, tmp_path / "clean", monkeypatch) == second


def test_rejections_name_the_lines_of_today(raw, tmp_path, monkeypatch):
    rows = [row for page in range(PAGES) for row in rows_of(page)]
    write(raw / "mine", [*rows[:900], "{broken", *rows[900:]])
    build(raw, tmp_path / "out")
    assert "manifest.jsonl:901" in (tmp_path / "out/rejected.jsonl").read_text()
    write(raw / "mine", [*rows[:12], "", *rows[12:900], "{broken", *rows[900:]])
    again = build(raw, tmp_path / "out")
    assert "manifest.jsonl:902" in (tmp_path / "out/rejected.jsonl").read_text()
    assert from_nothing(raw, tmp_path / "clean", monkeypatch) == again


@pytest.mark.parametrize(
    "changes",
    [{"seed": 7}, {"max_pixels": 900}, {"include_languages": ("zh", "en")}, {"test_split": 0.3},
     {"include_tasks": ("transcribe", "needle")}, {"options": {"license": "CC0-1.0"}},
     {"options": {"role": "eval_only"}}],
    ids=str,
)  # fmt: skip
def test_settings_that_decide_rows_build_them_anew(raw, tmp_path, monkeypatch, built, changes):
    build(raw, tmp_path / "out")
    stretches = built()
    other = build(raw, tmp_path / "out", **changes)
    assert built() == stretches
    assert from_nothing(raw, tmp_path / "clean", monkeypatch, **changes) == other


def test_other_code_builds_rows_anew(raw, tmp_path, monkeypatch, built):
    build(raw, tmp_path / "out")
    stretches = built()
    monkeypatch.setattr("manifold_ocr.data.manifest._code", lambda: "another release")
    build(raw, tmp_path / "out")
    assert built() == stretches


def test_texts_in_files_of_their_own_are_read_again(raw, tmp_path):
    for page in range(3):
        (raw / f"mine/t{page}.txt").write_text(f"the text of page {page}")
    rows = [
        {"doc_id": f"d{page}", "image": f"p{page:03d}.png", "text_path": f"t{page}.txt"}
        for page in range(3)
    ]
    spelled = json.dumps(rows[2]).replace("text_path", "\\u0074ext_path")
    write(raw / "mine", [*rows[:2], spelled])
    build(raw, tmp_path / "out")
    for page in range(3):
        (raw / f"mine/t{page}.txt").write_text(f"another text {page}")
    build(raw, tmp_path / "out")
    written = "".join(path.read_text() for path in (tmp_path / "out").glob("t*.jsonl"))
    written += (tmp_path / "out/val.jsonl").read_text()
    assert written.count("another text") == 3 and "the text of" not in written


def test_damaged_entries_are_built_anew(raw, tmp_path, built):
    first = build(raw, tmp_path / "out")
    stretches = built()
    file = sqlite3.connect(tmp_path / "cache/manifest/stretches.sqlite")
    for rowid, value in file.execute("SELECT rowid, value FROM stretches").fetchall():
        middle = len(value) // 2
        broken = value[:middle] + bytes([value[middle] ^ 1]) + value[middle + 1 :]
        file.execute("UPDATE stretches SET value = ? WHERE rowid = ?", (broken, rowid))
    file.commit()
    file.close()
    assert build(raw, tmp_path / "out") == first and built() == stretches
    assert build(raw, tmp_path / "out") == first and built() == 0


def test_an_interrupted_build_leaves_a_cache_that_serves(raw, tmp_path, monkeypatch, built):
    added = parts.PartWriter.add

    def interrupted(self, found):
        if built() and self._name.endswith("-05"):
            raise KeyboardInterrupt
        added(self, found)

    with monkeypatch.context() as patch:
        patch.setattr(parts.PartWriter, "add", interrupted)
        with pytest.raises(KeyboardInterrupt):
            build(raw, tmp_path / "out")
    built()
    again = build(raw, tmp_path / "out")
    assert 0 < built() < 15
    assert from_nothing(raw, tmp_path / "clean", monkeypatch) == again


def _build_there(raw, out, results):
    results.put(build(raw, out, workers=2))


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


def test_the_cache_is_bounded_and_drops_what_is_old(tmp_path):
    path = tmp_path / "stretches.sqlite"
    for now in range(3):
        cache = StretchCache(path, now)
        for number in range(10):
            cache.put(b"%d-%d" % (now, number), bytes([now]) * 100_000)
        assert cache.get(b"0-0") if now else True
        cache.close()
    cache = StretchCache(path, 3)
    cache.evict(1_200_000)
    cache.close()
    cache = StretchCache(path, 4)
    kept = {f"{n}-{k}" for n in range(3) for k in range(10) if cache.get(b"%d-%d" % (n, k))}
    cache.close()
    assert {f"2-{k}" for k in range(10)} | {"0-0"} <= kept and len(kept) == 12
    assert path.stat().st_size < 1_400_000


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.integers(1, 60), max_size=60),
    st.integers(1, 5),
    st.integers(0, 10**6),
)
def test_stretches_keep_every_line_once_and_pages_whole(tmp_path_factory, counts, shares, salt):
    path = tmp_path_factory.mktemp("lines") / "lines"
    lines = [f"{page}:{n}:{salt}\n".encode() for page, c in enumerate(counts) for n in range(c)]
    path.write_bytes(b"".join(lines))
    found = [
        stretch
        for part in range(shares)
        for stretch in line_stretches(path, part, shares, lambda line: line.split(b":")[0].decode())
    ]
    assert [line for stretch in found for line in stretch.lines] == lines
    number = 1
    pages = []
    for stretch in found:
        assert stretch.first == number and stretch.lines
        number += len(stretch.lines)
        pages.append({line.split(b":")[0] for line in stretch.lines})
    assert sum(map(len, pages)) == len(set().union(*pages)), "a page is in two stretches"


def test_stretches_have_the_length_they_are_meant_to_have(tmp_path):
    path = tmp_path / "lines"
    path.write_bytes(b"".join(b"%d:%d\n" % (page, n) for page in range(2000) for n in range(10)))
    found = list(line_stretches(path, 0, 1, lambda line: line.split(b":")[0].decode()))
    mean = 20_000 / len(found)
    assert MEAN_LINES / 2 < mean < 2 * MEAN_LINES


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


def test_what_is_packed_comes_back(raw, tmp_path, monkeypatch):
    seen = []
    collect = StretchBuilder.collect

    def kept(self, rows):
        seen.append(collect(self, rows))
        return seen[-1]

    monkeypatch.setattr(StretchBuilder, "collect", kept)
    rows = [row for page in range(20) for row in rows_of(page)]
    write(raw / "mine", [*rows, "{broken", rows[0] | {"text": ""}, rows[1] | {"task": "qa"}])
    build(raw, tmp_path / "out")
    for found in seen:
        stored = unpack(pack(found, "facts", 3))
        assert stored and stored.collected() == found
        assert stored.holds("facts", 3) and not stored.holds("other", 3)
        assert stored.holds("facts", 4) == (not found.rejections)
