"""Pages of one file and turned photos, from the label to the pixels that a reader gets."""

import json

import pytest
from corpora import write
from PIL import Image

from manifold_ocr.augment.train_set import write_augmented
from manifold_ocr.augment_config import AugmentConfig
from manifold_ocr.config import ManifestConfig
from manifold_ocr.data.manifest import build_rows
from manifold_ocr.data.readers.folder import detect_layout
from manifold_ocr.data.registry import resolve
from manifold_ocr.images import load_sample
from manifold_ocr.records import Rejection, Sample, from_mapping, iter_manifest, read_rows, to_json


@pytest.fixture
def build(tmp_path, monkeypatch):
    """Return a function that builds the corpus tmp/raw/mine and gives rows and rejections."""
    monkeypatch.setenv("MANIFOLD_OCR_CACHE", str(tmp_path / "cache"))

    def run(**options):
        corpus = resolve("mine", {"kind": "folder", **options})
        out = tmp_path / "manifest"
        out.mkdir()
        config = ManifestConfig(workers=1, samples_sheet=0, val_split=0.0, test_split=0.0)
        build_rows([corpus], config, tmp_path / "raw", out, 512)
        return list(iter_manifest(out / "train.jsonl")), list(
            read_rows(Rejection, out / "rejected.jsonl")
        )

    return run


def shades(path, *levels):
    """Save a TIFF of one flat page per gray level."""
    path.parent.mkdir(parents=True)
    sheets = [Image.new("L", (40, 20), level) for level in levels]
    sheets[0].save(path, save_all=True, append_images=sheets[1:])


def test_each_page_of_a_file_is_a_row_of_its_own(tmp_path, build):
    root = tmp_path / "raw"
    shades(root / "mine/a.tif", 10, 10, 200)
    write(root / "mine/a.txt", "one\ftwo\fthree")
    rows, rejected = build()
    assert not rejected
    assert [(row.id, row.frame, row.text) for row in rows] == [
        ("mine/a.tif", 0, "one"), ("mine/a.tif@1", 1, "two"), ("mine/a.tif@2", 2, "three"),
    ]  # fmt: skip
    assert len({row.image_sha256 for row in rows}) == 3, "equal pages are pages of their own"
    assert {row.document for row in rows} == {"mine/a"}
    assert [load_sample(row, root).getpixel((5, 5))[0] for row in rows] == [10, 10, 200]
    lines = (tmp_path / "manifest/train.jsonl").read_text().splitlines()
    assert ["frame" in json.loads(line) for line in lines] == [False, True, True]
    for row in rows:
        assert from_mapping(Sample, json.loads(to_json(row)), "here") == row
    augmented = tmp_path / "augmented"
    augmented.mkdir()
    found = write_augmented(tmp_path / "manifest/train.jsonl", root, augmented, AugmentConfig())
    assert found["rows"] == {"clean": 3, "augmented": 3, "unreadable": 0}
    variants = [r for r in iter_manifest(augmented / "train.jsonl") if "augmented" in r.tags]
    assert [variant.frame for variant in variants] == [0, 0, 0]


def test_a_page_that_the_file_does_not_have_is_rejected(tmp_path, build):
    shades(tmp_path / "raw/mine/a.tif", 10, 20)
    rows = [{"image": "a.tif", "text": str(n), "frame": n} for n in (1, 2)]
    write(tmp_path / "raw/mine/manifest.jsonl", "".join(json.dumps(r) + "\n" for r in rows))
    rows, rejected = build(kind="manifest")
    assert [row.frame for row in rows] == [1]
    assert [r.reason for r in rejected] == ["unreadable_image"] and "page 3" in rejected[0].detail


@pytest.mark.parametrize("raw", [True, False])
def test_boxes_of_turned_photos(tmp_path, build, raw):
    """The file is 60 x 40 pixels with a black box; shown upright it is 40 x 60."""
    photo = Image.new("L", (60, 40), 255)
    photo.paste(0, (10, 5, 30, 15))
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "raw/mine").mkdir(parents=True)
    photo.save(tmp_path / "raw/mine/p.png", exif=exif)
    x0, y0, x1, y1 = (10, 5, 30, 15) if raw else (25, 10, 35, 30)
    ann = {"image_id": 1, "bbox": [x0, y0, x1 - x0, y1 - y0], "utf8_string": "x"}
    value = {"imgs": {"1": {"file_name": "p.png"}}, "anns": {"1": ann}}
    write(tmp_path / "raw/mine/COCO_Text.json", value)
    ((row,), rejected) = build(raw_boxes=raw)
    assert not rejected and row.box == (25, 10, 35, 30)
    assert set(load_sample(row, tmp_path / "raw").convert("L").tobytes()) == {0}


def test_labels_are_found_behind_many_images(tmp_path):
    (tmp_path / "images").mkdir()
    for number in range(10_050):
        (tmp_path / f"images/{number}.png").touch()
    write(tmp_path / "page/0.xml", '<PcGts><Page imageFilename="0.png"/></PcGts>')
    assert detect_layout(tmp_path) == "page_xml"
