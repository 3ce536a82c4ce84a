import json
from dataclasses import replace

import pytest
from PIL import Image, ImageDraw

from manifold_ocr.augment.train_set import write_augmented
from manifold_ocr.augment_config import AugmentConfig
from manifold_ocr.errors import UserError
from manifold_ocr.files import sha256_file, sha256_tree
from manifold_ocr.images import load_sample
from manifold_ocr.records import Sample, read_samples, write_rows
from manifold_ocr.stages import augment as stage


def draw_page(path, lines):
    page = Image.new("L", (300, 40 * lines + 10), 255)
    for number in range(lines):
        ImageDraw.Draw(page).text((10, 40 * number + 14), f"Line {number} of {path.stem}", fill=0)
    path.parent.mkdir(parents=True, exist_ok=True)
    page.save(path)


def sample(document, number, subset):
    return Sample(
        id=f"own/{document}/{number}",
        document=document,
        corpus="own",
        subset=subset,
        image=f"own/{document}.png",
        text=f"Line {number} of {document}",
        split="train",
        box=(4.0, 40.0 * number + 6, 290.0, 40.0 * number + 36),
        license="CC0-1.0",
    )


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A manifest of six lines in two subsets, and a page row, in a project folder."""
    monkeypatch.chdir(tmp_path)
    rows = []
    for document, lines, subset in (("a", 4, "letters"), ("b", 2, "bills")):
        draw_page(tmp_path / f"data/raw/own/{document}.png", lines)
        rows += [sample(document, number, subset) for number in range(lines)]
    rows.append(replace(rows[0], id="own/a/page", granularity="page", box=None, text="Line"))
    write_rows("data/manifest/train.jsonl", rows)
    (tmp_path / "out").mkdir()
    return tmp_path, rows


def run(root, config=None, folder="out", workers=1):
    return write_augmented(
        root / "data/manifest/train.jsonl",
        root / "data/raw",
        root / folder,
        config or AugmentConfig(),
        workers,
    )


def test_clean_rows_keep_their_order_and_variants_follow_them(project):
    root, rows = project
    metrics = run(root, AugmentConfig(variants=2))
    written = list(read_samples(root / "out/train.jsonl"))
    assert [row for row in written if "~" not in row.id] == rows
    ids = [row.id for row in written]
    assert ids[:3] == ["own/a/0", "own/a/0~v1", "own/a/0~v2"]
    assert metrics["rows"] == {"clean": 7, "augmented": 12, "unreadable": 0}
    assert metrics["by_subset"]["letters"] == {"clean": 5, "augmented": 8, "unreadable": 0}
    assert sum(metrics["steps"].values()) >= 12


def test_variants_load_as_the_manifest_says(project):
    root, rows = project
    run(root)
    target = root / "data/augmented"
    (root / "out").rename(target)
    clean = {row.id: row for row in rows}
    for row in read_samples(target / "train.jsonl"):
        if "~v" not in row.id:
            continue
        origin = clean[row.id.partition("~")[0]]
        assert row.image.startswith("../augmented/images/")
        assert load_sample(row, root / "data/raw").size == (row.width, row.height)
        assert sha256_file(root / "data/raw" / row.image) == row.image_sha256
        assert (row.text, row.subset, row.split) == (origin.text, origin.subset, "train")
        assert row.box is None
        assert "augmented" in row.tags


def test_pages_stay_clean(project):
    root, _ = project
    run(root, AugmentConfig(variants=3))
    assert not [r for r in read_samples(root / "out/train.jsonl") if r.id.startswith("own/a/page~")]


def test_no_variants_keeps_the_clean_rows_and_reads_no_image(project):
    root, rows = project
    (root / "data/raw/own/a.png").unlink()
    metrics = run(root, AugmentConfig(variants=0))
    assert list(read_samples(root / "out/train.jsonl")) == rows
    assert metrics["rows"] == {"clean": 7, "augmented": 0, "unreadable": 0}
    assert not list((root / "out/images").iterdir())


def test_worker_count_and_order_of_other_rows_change_no_byte(project, monkeypatch):
    root, rows = project
    monkeypatch.setattr("manifold_ocr.augment.train_set.PARALLEL_FROM", 1)
    monkeypatch.setattr("manifold_ocr.augment.train_set.BATCH", 2)
    for workers in (1, 2):
        (root / str(workers)).mkdir()
        run(root, folder=str(workers), workers=workers)
    assert sha256_tree(root / "1") == sha256_tree(root / "2")
    images = {p.name: p.read_bytes() for p in (root / "1/images").rglob("*.png")}
    write_rows("data/manifest/train.jsonl", rows[4:6])
    (root / "few").mkdir()
    run(root, folder="few")
    for path in (root / "few/images").rglob("*.png"):
        assert images[path.name] == path.read_bytes()


def test_seed_changes_the_variants(project):
    root, _ = project
    (root / "b").mkdir()
    run(root)
    run(root, AugmentConfig(seed=2), folder="b")
    assert sha256_tree(root / "out/images") != sha256_tree(root / "b/images")


def test_rows_that_cannot_be_read_are_listed_and_counted(project):
    root, _ = project
    path = root / "data/raw/own/b.png"
    path.write_bytes(path.read_bytes()[:60])
    metrics = run(root)
    assert metrics["rows"] == {"clean": 5, "augmented": 4, "unreadable": 2}
    assert metrics["by_subset"]["bills"] == {"clean": 0, "augmented": 0, "unreadable": 2}
    log = [json.loads(line) for line in (root / "out/augment.jsonl").read_text().splitlines()]
    bad = [entry for entry in log if "error" in entry]
    assert [entry["id"] for entry in bad] == ["own/b/0", "own/b/1"]
    assert all("b.png" in entry["error"] for entry in bad)
    assert len([entry for entry in log if "steps" in entry]) == 4


def test_balance_brings_every_subset_to_the_size_of_the_largest(project):
    root, _ = project
    metrics = run(root, AugmentConfig(variants=1, balance="subset", max_variants=4))
    assert metrics["by_subset"]["letters"]["augmented"] == 4
    assert metrics["by_subset"]["bills"]["augmented"] == 6  # 2 clean + 6 = 4 clean + 4
    (root / "capped").mkdir()
    capped = AugmentConfig(variants=1, balance="subset", max_variants=2)
    assert run(root, capped, folder="capped")["by_subset"]["bills"]["augmented"] == 4


def test_balance_without_variants_only_fills_up_small_subsets(project):
    root, _ = project
    metrics = run(root, AugmentConfig(variants=0, balance="subset"))
    assert metrics["by_subset"]["letters"]["augmented"] == 0
    assert metrics["by_subset"]["bills"]["augmented"] == 2


def test_an_empty_manifest_is_an_error(project):
    root, _ = project
    (root / "data/manifest/train.jsonl").write_text("")
    with pytest.raises(UserError, match=r"train.jsonl: no rows"):
        run(root)


def test_nothing_readable_is_an_error_and_keeps_the_old_set(project):
    root, rows = project
    write_rows("data/manifest/train.jsonl", rows[:-1])
    (root / "data/augmented").mkdir(parents=True)
    (root / "data/augmented/train.jsonl").write_text("old\n")
    (root / "params.yaml").write_text("augment: {}\n")
    for path in (root / "data/raw/own").iterdir():
        path.write_bytes(b"")
    with pytest.raises(UserError, match="no row is usable"):
        stage.main()
    assert (root / "data/augmented/train.jsonl").read_text() == "old\n"
    assert names(root / "data") == ["augmented", "manifest", "raw"]


def test_stage_writes_the_declared_outs(project, capsys):
    root, _ = project
    (root / "params.yaml").write_text("augment: {variants: 1}\n")
    stage.main()
    assert names(root / "data/augmented") == ["augment.jsonl", "images", "train.jsonl"]
    metrics = json.loads((root / "metrics/augment.json").read_text())
    assert metrics["rows"]["augmented"] == 6
    assert "6 augmented lines" in capsys.readouterr().out


def test_a_sharded_manifest_gives_the_same_set(project):
    root, rows = project
    (root / "shards").mkdir()
    run(root)
    manifest = root / "data/manifest/train.jsonl"
    manifest.unlink()
    write_rows(manifest / "shard-00000.jsonl", rows[:3])
    write_rows(manifest / "shard-00001.jsonl", rows[3:])
    run(root, folder="shards")
    assert sha256_tree(root / "shards") == sha256_tree(root / "out")
