import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageDraw

from manifold_ocr.augment import variants as variants_module
from manifold_ocr.augment.recipe import OPERATIONS
from manifold_ocr.augment.train_set import write_augmented
from manifold_ocr.augment.variants import still_printed
from manifold_ocr.augment_config import AugmentConfig, Recipe, Step
from manifold_ocr.files import sha256_file, sha256_tree
from manifold_ocr.images import load_sample
from manifold_ocr.records import Sample, read_samples, write_rows
from manifold_ocr.stages import augment as stage

BENT = Recipe(
    max_steps=9,
    **{
        name: Step(p=1.0, low=8, high=8) if name in ("slant", "warp", "perspective") else Step()
        for name in OPERATIONS
    },
)


def row(document, number, **values):
    fields = {
        "id": f"own/{document}/{number}",
        "document": document,
        "corpus": "own",
        "subset": "letters",
        "image": f"own/{document}.png",
        "text": f"Line {number}",
        "split": "train",
        "box": (20.0, 40.0 * number + 10, 380.0, 40.0 * number + 34),
    }
    return Sample(**{**fields, **values})


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Two pages with three bars of ink each, a row per bar and one per page."""
    monkeypatch.chdir(tmp_path)
    rows = []
    for document in ("a", "b"):
        page = Image.new("L", (400, 140), 255)
        for number in range(3):
            ImageDraw.Draw(page).rectangle((24, 40 * number + 14, 375, 40 * number + 29), fill=0)
        path = tmp_path / f"data/raw/own/{document}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        page.save(path)
        rows += [row(document, number) for number in range(3)]
        whole = {"id": f"own/{document}/page", "granularity": "page", "box": None}
        rows.append(row(document, 0, **whole, text="Line 0\nLine 1\nLine 2"))
    write_rows("data/manifest/train.jsonl", rows)
    return tmp_path, rows


def run(root, config, folder="data/augmented", workers=1):
    return write_augmented(
        root / "data/manifest/train.jsonl", root / "data/raw", root / folder, config, workers
    )


def degraded(root, folder="data/augmented"):
    return [r for r in read_samples(root / folder / "train.jsonl") if "~p" in r.id]


def test_pages_and_their_lines_are_written_and_counted(project):
    root, _ = project
    metrics = run(root, AugmentConfig(pages=True, variants=2, recipe=BENT))
    assert metrics["rows"] == {
        "clean": 8, "augmented": 12, "unreadable": 0,
        "pages": 4, "page_lines": 12, "bent": 0, "illegible": 0, "too_large": 0,
    }  # fmt: skip
    found = degraded(root)
    assert len({r.image for r in found}) == 4, "a page's rows share its copies"
    for item in found:
        assert sha256_file(root / "data/raw" / item.image) == item.image_sha256
        with Image.open(root / "data/raw" / item.image) as image:
            assert image.size == (item.width, item.height)
        assert "augmented" in item.tags
    log = [json.loads(x) for x in (root / "data/augmented/augment.jsonl").read_text().splitlines()]
    assert {entry["id"] for entry in log} >= {item.id for item in found}


def test_boxes_hold_the_ink_of_their_line_and_of_no_other(project):
    root, rows = project
    run(root, AugmentConfig(pages=True, variants=3, recipe=BENT))
    clean = {r.id: r for r in rows}
    for item in degraded(root):
        origin = clean[item.id.partition("~")[0]]
        image = np.asarray(load_sample(item, root / "data/raw").convert("L")) < 100
        before = np.asarray(load_sample(origin, root / "data/raw").convert("L")) < 100
        assert image.sum() == pytest.approx(before.sum(), rel=0.06)
        assert (item.text, item.granularity) == (origin.text, origin.granularity)


def test_pages_are_off_by_default_and_lines_do_not_depend_on_them(project):
    root, _ = project
    without = run(root, AugmentConfig(), folder="off")
    assert "pages" not in without["rows"]
    assert not degraded(root, "off")
    run(root, AugmentConfig(pages=True), folder="on")
    lines = [r for r in read_samples(root / "on/train.jsonl") if "~p" not in r.id]
    assert lines == list(read_samples(root / "off/train.jsonl"))


def test_workers_and_neighbors_change_no_byte(project, monkeypatch):
    root, rows = project
    monkeypatch.setattr("manifold_ocr.augment.train_set.PARALLEL_FROM", 1)
    monkeypatch.setattr("manifold_ocr.augment.train_set.BATCH", 3)
    config = AugmentConfig(pages=True)
    for workers in (1, 2):
        run(root, config, folder=str(workers), workers=workers)
    assert sha256_tree(root / "1") == sha256_tree(root / "2")
    write_rows("data/manifest/train.jsonl", rows[5:6])
    run(root, config, folder="few")
    images = {p.name: p.read_bytes() for p in (root / "1/images").rglob("*.png")}
    for path in (root / "few/images").rglob("*.png"):
        assert images[path.name] == path.read_bytes()


def test_a_second_run_into_an_empty_folder_draws_again(project):
    root, _ = project
    config = AugmentConfig(pages=True)
    run(root, config)
    (root / "data/augmented").rename(root / "old")
    run(root, config)
    assert sha256_tree(root / "old") == sha256_tree(root / "data/augmented")


def test_what_is_too_large_or_too_bent_is_counted_and_listed(project, monkeypatch):
    root, _ = project
    steep = replace(BENT, slant=Step(p=1.0, low=150, high=150))
    metrics = run(root, AugmentConfig(pages=True, recipe=steep), folder="steep")
    assert (metrics["rows"]["bent"], metrics["rows"]["pages"]) == (6, 2)
    monkeypatch.setattr(variants_module, "MOST_PIXELS", 10)
    metrics = run(root, AugmentConfig(pages=True), folder="large")
    assert (metrics["rows"]["too_large"], metrics["rows"]["pages"]) == (8, 0)
    assert metrics["rows"]["clean"] == 8
    log = (root / "large/augment.jsonl").read_text()
    assert log.count('"skipped": "too_large"') == 8


def test_lines_that_lost_their_print_are_left_off_and_counted(project):
    root, _ = project
    page = Image.new("L", (400, 140), 250)
    ImageDraw.Draw(page).rectangle((24, 14, 375, 29), fill=0)
    for number in (1, 2):  # pale print, which a hard threshold takes away
        ImageDraw.Draw(page).rectangle((24, 40 * number + 14, 375, 40 * number + 29), fill=200)
    for document in ("a", "b"):
        page.save(root / f"data/raw/own/{document}.png")
    hard = Recipe(**{name: Step() for name in OPERATIONS})
    hard = replace(hard, binarise=Step(p=1.0, low=150, high=150))
    rows = run(root, AugmentConfig(pages=True, recipe=hard))["rows"]
    assert (rows["pages"], rows["page_lines"], rows["illegible"]) == (0, 2, 6)


def test_print_that_is_lost_or_drowns_is_told_from_print_that_pales():
    clean = Image.new("L", (100, 40), 240)
    clean.paste(20, (10, 10, 90, 30))
    assert still_printed(clean, clean.point([v // 2 + 120 for v in range(256)]))
    assert not still_printed(clean, Image.new("L", (100, 40), 255))
    fleck = Image.new("L", (100, 40), 255)
    fleck.paste(0, (10, 10, 20, 30))
    assert not still_printed(clean, fleck)
    assert not still_printed(fleck, Image.eval(fleck, lambda v: 255 - v).convert("L"))
    assert still_printed(Image.new("L", (100, 40), 255), fleck), "nothing was there to lose"


def test_a_page_that_cannot_be_read_is_left_out_and_told(project, capsys):
    root, _ = project
    (root / "data/raw/own/a.png").write_bytes(b"\x89PNG broken")
    (root / "params.yaml").write_text("augment: {pages: true}\n")
    stage.main()
    metrics = json.loads((root / "metrics/augment.json").read_text())["rows"]
    assert (metrics["unreadable"], metrics["clean"], metrics["pages"]) == (4, 4, 1)
    assert "1 degraded pages, 3 lines on them" in capsys.readouterr().out
