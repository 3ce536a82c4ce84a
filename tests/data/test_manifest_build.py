"""Manifests: stable splits, quarantine, filters, caps, shards, caches, gates."""

import json
import os
import random
import shutil
from collections import Counter
from dataclasses import replace

import pytest
from PIL import Image

from manifold_ocr.config import ManifestConfig
from manifold_ocr.data.card import manifest_metrics
from manifold_ocr.data.manifest import build_rows, check_gates
from manifold_ocr.data.registry import resolve
from manifold_ocr.data.rows import FIELDS, Splitter
from manifold_ocr.errors import UserError
from manifold_ocr.errors import build as build_section
from manifold_ocr.files import sha256_tree
from manifold_ocr.images import load_sample
from manifold_ocr.records import (
    Rejection,
    iter_manifest,
    manifest_files,
    read_rows,
    to_json,
)

CONFIG = ManifestConfig(workers=1, samples_sheet=0)
LINES = 4


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MANIFOLD_OCR_CACHE", str(tmp_path / "cache"))


def page(path, seed, size=(64, 64)):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = random.Random(seed).randbytes(64)
    Image.frombytes("L", (8, 8), pixels).resize(size, Image.Resampling.NEAREST).save(path)


def corpus(raw, pages=30, name="mine", extra=()):
    """A manifest corpus: `pages` pages of four lines each."""
    root = raw / name
    rows = []
    for number in range(pages):
        image = f"p{number:03d}.png"
        page(root / image, f"{name}{number}")
        rows += [
            {"document": f"d{number}", "image": image, "box": [0, 9 * line, 60, 9 * line + 8],
             "text": f"{name} {number} {line}", "subset": "ab"[number % 2], "language": "en"}
            for line in range(LINES)
        ]  # fmt: skip
    rows += extra
    (root / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return resolve(name, {"kind": "manifest"})


def build(raw, out, corpora, **changes):
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    return build_rows(corpora, replace(CONFIG, **changes), raw, out, 512)


def samples(out):
    return [
        row for split in ("train", "val", "test") for row in iter_manifest(out / f"{split}.jsonl")
    ]


def rejected(out):
    return list(read_rows(Rejection, out / "rejected.jsonl"))


def test_rows_are_complete_sorted_and_readable(tmp_path):
    out = tmp_path / "out"
    report = build(tmp_path, out, [corpus(tmp_path)])
    rows = samples(out)
    assert len(rows) == 30 * LINES == sum(counts.rows for counts in report.splits.values())
    for split in ("train", "val", "test"):
        ids = [row.id for row in iter_manifest(out / f"{split}.jsonl")]
        assert ids == sorted(ids) and len(set(ids)) == len(ids)
    assert load_sample(rows[0], tmp_path).size == (60, 8)
    line = (out / "train.jsonl").read_text().splitlines()[0]
    assert tuple(json.loads(line)) == FIELDS
    first = next(iter_manifest(out / "train.jsonl"))
    assert json.loads(to_json(first)) == json.loads(line)


def test_documents_stay_together_and_never_move(tmp_path):
    out = tmp_path / "out"
    build(tmp_path, out, [corpus(tmp_path, 40)])
    before = {row.document: row.split for row in samples(out)}
    by_document = Counter((row.document, row.split) for row in samples(out))
    assert set(by_document.values()) == {LINES}
    build(tmp_path, out, [corpus(tmp_path, 60)])
    after = {row.document: row.split for row in samples(out)}
    assert before.items() <= after.items()


def test_shares_of_the_hash_split():
    splitter = Splitter("c", 1, 0.08, 0.15)
    counts = Counter(splitter.split(f"d{n}", None) for n in range(20_000))
    assert counts["test"] / 20_000 == pytest.approx(0.15, abs=0.01)
    assert counts["val"] / 20_000 == pytest.approx(0.08, abs=0.01)
    fixed = Counter(splitter.split(f"d{n}", "train_val") for n in range(20_000))
    assert fixed["test"] == 0
    assert fixed["val"] / 20_000 == pytest.approx(0.08 / 0.85, abs=0.01)
    assert splitter.split("d", "test") == "test"
    assert replace(splitter, seed=2) != splitter
    moved = [
        replace(splitter, seed=2).split(f"d{n}", None) != splitter.split(f"d{n}", None)
        for n in range(500)
    ]
    assert any(moved)


def test_benchmarks_and_explicit_validation_sets(tmp_path):
    corpora = [corpus(tmp_path, 20, name) for name in ("mine", "held", "bench")]
    corpora[2] = replace(corpora[2], role="eval_only")
    out = tmp_path / "out"
    build(tmp_path, out, corpora, validation_corpora=("held",))
    places = {(row.corpus, row.split) for row in samples(out)}
    assert places == {("mine", "train"), ("mine", "test"), ("held", "val"), ("bench", "test")}


def test_filters_and_caps_count_what_they_drop(tmp_path):
    mine = corpus(tmp_path)
    out = tmp_path / "out"
    report = build(tmp_path, out, [mine], include_subsets=("mine.a",))
    assert {row.subset for row in samples(out)} == {"a"}
    assert report.filtered == {"subset": 60}
    with pytest.raises(UserError, match="120 filtered out"):
        build(tmp_path, out, [mine], include_languages=("chinese",))
    report = build(tmp_path, out, [mine], include_languages=("English",), max_train_samples=10)
    assert report.splits["train"].rows == 10
    small = {row.id for row in iter_manifest(out / "train.jsonl")}
    build(tmp_path, out, [mine], max_train_samples=20)
    assert small < {row.id for row in iter_manifest(out / "train.jsonl")}, "caps are nested"


def test_bad_rows_are_quarantined_with_reasons(tmp_path):
    root = tmp_path / "mine"
    page(root / "whole.jpg", 1)
    (root / "cut.jpg").write_bytes((root / "whole.jpg").read_bytes()[:-200])
    (root / "zero.jpg").write_bytes(b"")
    (root / "text.png").write_text("no image")
    extra = [
        {"document": "x", "image": "cut.jpg", "text": "a"},
        {"document": "x", "image": "zero.jpg", "text": "a"},
        {"document": "x", "image": "text.png", "text": "a"},
        {"document": "x", "image": "gone.png", "text": "a"},
        {"document": "x", "image": "../../etc/passwd.png", "text": "a"},
        {"document": "x", "image": "whole.jpg", "text": "  "},
        {"document": "x", "image": "whole.jpg", "text": "a", "box": [0, 0, 90, 20]},
        {"document": "x", "image": "whole.jpg", "text": "a", "box": [-2, -2, 66, 20]},
        {"document": "x", "image": "whole.jpg", "text": "\ud800"},
    ]
    out = tmp_path / "out"
    report = build(tmp_path, out, [corpus(tmp_path, 5, extra=extra)])
    assert report.rejected == {
        "unreadable_image": 2,
        "empty_image": 1,
        "missing_image": 1,
        "outside_image": 1,
        "empty_text": 1,
        "box_outside": 1,
        "broken_row": 1,
    }
    assert all(row.source.startswith("manifest.jsonl:") for row in rejected(out))
    clipped = [row for row in samples(out) if row.image.endswith("whole.jpg")]
    assert [row.box for row in clipped] == [(0, 0, 64, 20)]
    failure = check_gates(report, manifest_metrics(report), CONFIG)
    assert "max_rejected_fraction" in failure and "rejected.jsonl" in failure


def test_duplicates_and_conflicts_within_a_split(tmp_path):
    line = {"document": "d0", "image": "p000.png", "box": [0, 0, 60, 8], "text": "mine 0 0"}
    extra = [line, line | {"text": "something else"}]
    out = tmp_path / "out"
    report = build(tmp_path, out, [corpus(tmp_path, 8, extra=extra)])
    assert sum(report.rejected.values()) == 2
    assert set(report.rejected) <= {"duplicate", "conflicting_label"}
    assert sum(1 for row in samples(out) if row.id.endswith("p000.png#00000-00000-60-8")) == 1


def test_exact_copies_across_splits_leave_train(tmp_path):
    mine = corpus(tmp_path, 20)
    bench = replace(corpus(tmp_path, 20, "bench"), role="eval_only")
    for number in range(3):
        shutil.copy(tmp_path / f"bench/p{number:03d}.png", tmp_path / f"mine/p{number:03d}.png")
    out = tmp_path / "out"
    report = build(tmp_path, out, [mine, bench])
    known = {row.image_sha256 for row in samples(out) if row.split == "test"}
    assert not [row for row in samples(out) if row.split != "test" and row.image_sha256 in known]
    leaks = [row for row in rejected(out) if row.reason == "leak_exact"]
    tested = {r.image for r in samples(out) if r.corpus == "mine" and r.image_sha256 in known}
    assert {f"mine/p00{n}.png" for n in range(3)} <= {
        r.source.split("#")[0] for r in leaks
    } | tested
    metrics = manifest_metrics(report)
    assert metrics["leakage"]["exact"] > 0
    strict = replace(CONFIG, leakage=replace(CONFIG.leakage, max_fraction=0.01))
    assert "leakage.max_fraction" in check_gates(report, metrics, strict)


def test_filtered_benchmark_pages_still_guard_training(tmp_path):
    mine = corpus(tmp_path, 6)
    bench = replace(corpus(tmp_path, 6, "bench"), role="eval_only")
    text = "The quick brown fox jumps over the lazy dog near the river bank. " * 6
    for name in ("mine", "bench"):
        page(tmp_path / name / "shared.png", name)
        with open(tmp_path / name / "manifest.jsonl", "a") as file:
            row = {
                "document": "s",
                "image": "shared.png",
                "text": text,
                "granularity": "page",
                "split": "train",
            }
            file.write(json.dumps(row) + "\n")
    out = tmp_path / "out"
    report = build(tmp_path, out, [mine, bench], include_subsets=("mine.a", "mine.b", "mine.all"))
    assert report.rejected == {"leak_text": 1}


@pytest.mark.parametrize("workers", [1, 2])
def test_exact_copies_of_filtered_pages_leave_train_and_validation(tmp_path, workers):
    mine, held = corpus(tmp_path, 6), corpus(tmp_path, 6, "held")
    bench = replace(corpus(tmp_path, 6, "bench"), role="eval_only")
    for name in ("mine", "held"):
        shutil.copy(tmp_path / "bench/p001.png", tmp_path / name / "p002.png")
    out = tmp_path / "out"
    report = build(
        tmp_path,
        out,
        [mine, held, bench],
        workers=workers,
        train_corpora=("mine",),
        validation_corpora=("held",),
        test_split=0.0,
        include_subsets=("mine.a", "mine.b", "held.a", "held.b"),
    )
    assert report.rejected == {"leak_exact": 2 * LINES}
    details = {row.detail for row in rejected(out)}
    assert details == {
        "its image is in the validation or test split too: held/p002.png",
        "its image is in the test split too: bench/p001.png",
    }


def test_max_pixels_scales_boxes_and_keeps_ids(tmp_path):
    mine = corpus(tmp_path, 6)
    full, small = tmp_path / "full", tmp_path / "small"
    build(tmp_path, full, [mine])
    build(tmp_path, small, [mine], max_pixels=32 * 32)
    for before, after in zip(samples(full), samples(small), strict=True):
        assert before.id == after.id and after.max_pixels == 1024
        assert after.box == tuple(value / 2 for value in before.box)
        assert load_sample(after, tmp_path).width == 30


@pytest.mark.parametrize("workers", [1, 2])
def test_same_bytes_for_any_number_of_workers_and_any_cache(tmp_path, monkeypatch, workers):
    mine = corpus(tmp_path / "raw", 40)
    build(tmp_path / "raw", tmp_path / "one", [mine], workers=1)
    build(tmp_path / "raw", tmp_path / "two", [mine], workers=workers)
    other = tmp_path / "clone"
    shutil.copytree(tmp_path / "raw", other)
    monkeypatch.setenv("MANIFOLD_OCR_CACHE", str(tmp_path / "other-cache"))
    build(other, tmp_path / "three", [mine], workers=workers)
    hashes = {sha256_tree(tmp_path / name) for name in ("one", "two", "three")}
    assert len(hashes) == 1


def test_cache_notices_changed_files_and_reads_nothing_twice(tmp_path):
    mine = corpus(tmp_path, 10)
    past = 1_600_000_000
    for path in (tmp_path / "mine").glob("*.png"):
        os.utime(path, (past, past))
    out = tmp_path / "out"
    assert build(tmp_path, out, [mine]).images.fresh == 10
    report = build(tmp_path, out, [mine])
    assert (report.images.known, report.images.fresh) == (10, 0)
    page(tmp_path / "mine/p003.png", "new look")
    report = build(tmp_path, out, [mine])
    assert (report.images.known, report.images.fresh) == (9, 1)
    first = {row.image: row.image_sha256 for row in samples(out)}
    page(tmp_path / "mine/p003.png", "newer look")  # within the clock tick that is not believed
    build(tmp_path, out, [mine])
    assert (
        first["mine/p003.png"] != {r.image: r.image_sha256 for r in samples(out)}["mine/p003.png"]
    )


def test_shards_read_like_one_file(tmp_path):
    mine = corpus(tmp_path, 30)
    one, many = tmp_path / "one", tmp_path / "many"
    build(tmp_path, one, [mine])
    build(tmp_path, many, [mine], shard_rows=25)
    assert (many / "train.jsonl").is_dir() and len(manifest_files(many / "train.jsonl")) >= 3
    assert list(iter_manifest(one / "train.jsonl")) == list(iter_manifest(many / "train.jsonl"))


def test_long_labels_are_counted_by_subset(tmp_path):
    extra = [
        {
            "document": f"d{n}",
            "image": f"p00{n}.png",
            "text": f"{n}{n}{n} very long label {n} " * 40,
            "subset": "b",
        }
        for n in range(3)
    ]
    report = build(tmp_path, tmp_path / "out", [corpus(tmp_path, 10, extra=extra)])
    assert manifest_metrics(report)["truncated"] == {"total": 3, "by_subset": {"mine.b": 3}}


def test_needles_are_rows_of_their_own_task(tmp_path):
    lines = [
        {
            "document": "d",
            "image": "p000.png",
            "box": [0, 9 * n, 60, 9 * n + 8],
            "text": f"{n} begins this long line",
        }
        for n in range(6)
    ]
    (tmp_path / "mine").mkdir()
    page(tmp_path / "mine/p000.png", 0)
    (tmp_path / "mine/manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in lines))
    out = tmp_path / "out"
    build(
        tmp_path,
        out,
        [resolve("mine", {"kind": "manifest"})],
        include_tasks=("transcribe", "needle"),
    )
    needles = [row for row in samples(out) if row.task == "needle"]
    assert len(needles) == 1
    assert repr(needles[0].text[:8]) in needles[0].question and needles[0].box is None


def test_unknown_tasks_are_rejected_and_misspelled_ones_refused(tmp_path):
    extra = [{"document": "x", "image": "p000.png", "text": "a", "task": "neddle"}]
    out = tmp_path / "out"
    assert build(tmp_path, out, [corpus(tmp_path, 8, extra=extra)]).rejected == {"broken_row": 1}
    assert "'neddle' is not one of transcribe, json" in rejected(out)[0].detail
    with pytest.raises(UserError, match="include_tasks"):
        build_section(ManifestConfig, {"include_tasks": ["neddle"]}, "params.yaml: manifest")


def test_a_corpus_that_is_not_there_says_what_to_run(tmp_path):
    with pytest.raises(UserError, match="dvc repro download@mine"):
        build(tmp_path, tmp_path / "out", [resolve("mine", {"kind": "manifest"})])
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/manifest.jsonl").write_text("")
    with pytest.raises(UserError, match="no row is left"):
        build(tmp_path, tmp_path / "out", [resolve("mine", {"kind": "manifest"})])


@pytest.mark.parametrize(
    "values",
    [
        {"val_split": 0.5, "test_split": 0.5},
        {"val_split": 1.0},
        {"max_pixels": -1},
        {"shard_rows": 0},
        {"validation_corpora": ("a",), "test_corpora": ("a",)},
    ],
)
def test_impossible_settings_are_refused(values):
    with pytest.raises(ValueError):
        ManifestConfig(**values)
