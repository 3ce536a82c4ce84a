"""The leak gate on planted copies and on honest pages of one template."""

import io
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFont

from manifold_ocr.config import LeakageConfig, ManifestConfig
from manifold_ocr.data.card import manifest_metrics
from manifold_ocr.data.image_index import HashIndex, perceptual_hash
from manifold_ocr.data.leakage import PERMUTATIONS, fold, same_text, signature
from manifold_ocr.data.manifest import build_rows
from manifold_ocr.data.registry import resolve
from manifold_ocr.records import Rejection, Sample, read_rows, to_json

LETTERS = "abcdefghijklmnopqrstuvwxyz"


def words(rng, count):
    return " ".join(
        "".join(rng.choice(LETTERS) for _ in range(rng.randint(2, 9))) for _ in range(count)
    )


def text_of(seed):
    rng = random.Random(seed)
    return [
        "Form 12 Application",
        "Name and address:",
        *(words(rng, 9) for _ in range(20)),
        "Sign here",
    ]


def draw(lines, offset=0):
    image = Image.new("L", (500, 700), 255)
    pen = ImageDraw.Draw(image)
    for number, line in enumerate(lines):
        pen.text((30 + offset, 30 + offset + 27 * number), line, 0, font=ImageFont.load_default(12))
    return image


def jpeg(image, quality):
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(io.BytesIO(buffer.getvalue())).convert("L")


@pytest.fixture
def gate(tmp_path, monkeypatch):
    """Return a function that builds from (name, image, text, split) and gives rejections."""
    monkeypatch.setenv("MANIFOLD_OCR_CACHE", str(tmp_path / "cache"))

    def run(pages, **leakage):
        root = tmp_path / "raw/pages"
        root.mkdir(parents=True)
        with open(root / "manifest.jsonl", "w", encoding="utf-8") as file:
            for name, image, lines, split in pages:
                image.save(root / f"{name}.png")
                row = Sample(
                    id="",
                    document=name,
                    corpus="pages",
                    subset="all",
                    image=f"{name}.png",
                    text="\n".join(lines),
                    split=split,
                    granularity="page",
                )
                file.write(to_json(row) + "\n")
        out = tmp_path / "out"
        out.mkdir()
        config = ManifestConfig(workers=1, leakage=LeakageConfig(**leakage))
        report = build_rows([resolve("pages", {"kind": "manifest"})], config, tmp_path / "raw", out)
        return {
            r.source.split("/")[-1][:-4]: r for r in read_rows(Rejection, out / "rejected.jsonl")
        }, report

    return run


def test_copies_are_found_and_forms_of_one_template_are_not(gate):
    tests = {n: text_of(f"t{n}") for n in range(6)}
    pages = [(f"test{n}", draw(lines), lines, "test") for n, lines in tests.items()]
    pages += [(f"honest{n}", draw(text_of(f"h{n}")), text_of(f"h{n}"), "train") for n in range(12)]
    page = draw(tests[0])
    pages += [
        ("copy_jpeg", jpeg(page, 40), tests[0], "train"),
        (
            "copy_small",
            draw(tests[1]).resize((350, 490), Image.Resampling.BICUBIC),
            tests[1],
            "train",
        ),
        ("copy_crop", draw(tests[2]).crop((1, 1, 500, 700)), tests[2], "train"),
        ("copy_relabelled", jpeg(draw(tests[3]), 50), ["no label here"], "train"),
        (
            "copy_typos",
            draw(text_of("x"), 9),
            [line.replace("e", "c") for line in tests[4]],
            "train",
        ),
    ]
    found, report = gate(pages)
    assert set(found) == {"copy_jpeg", "copy_small", "copy_crop", "copy_relabelled", "copy_typos"}
    assert found["copy_typos"].reason == "leak_text" and "test4" in found["copy_typos"].detail
    assert {found[n].reason for n in ("copy_jpeg", "copy_small", "copy_crop")} == {"leak_image"}
    assert (report.leaks.index_pages, report.leaks.train_pages) == (6, 17)


def test_validation_pages_that_test_knows_are_removed_and_counted(gate):
    tests = {n: text_of(f"t{n}") for n in range(4)}
    pages = [(f"test{n}", draw(lines), lines, "test") for n, lines in tests.items()]
    pages += [(f"honest{n}", draw(text_of(f"h{n}")), text_of(f"h{n}"), "val") for n in range(6)]
    typos = [line.replace("e", "c") for line in tests[2]]
    pages += [
        ("val_same", draw(tests[0]), tests[0], "val"),
        ("val_jpeg", jpeg(draw(tests[1]), 40), tests[1], "val"),
        ("val_typos", draw(text_of("x"), 9), typos, "val"),
        ("train_same", draw(text_of("h0")), text_of("h0"), "train"),
        ("train_jpeg", jpeg(draw(text_of("h1")), 40), text_of("h1"), "train"),
        ("train_jpeg_test", jpeg(draw(tests[1]), 50), tests[1], "train"),
    ]
    found, report = gate(pages)
    assert {name: (row.reason, row.detail.rsplit("/", 1)[-1]) for name, row in found.items()} == {
        "val_same": ("leak_exact", "test0.png"),
        "val_jpeg": ("leak_image", "test1.png"),
        "val_typos": ("leak_text", "test2.png"),
        "train_same": ("leak_exact", "honest0.png"),
        "train_jpeg": ("leak_image", "honest1.png"),
        "train_jpeg_test": ("leak_image", found["train_jpeg_test"].detail.rsplit("/", 1)[-1]),
    }
    assert "test split" in found["val_jpeg"].detail and "test split" in found["val_typos"].detail
    metrics = manifest_metrics(report)
    assert metrics["leakage"]["validation"] == {
        "exact": 1, "near_image": 1, "near_text": 1, "rows": 3,
    }  # fmt: skip
    assert metrics["leakage"]["rows"] == 3 and metrics["val"]["rows"] == 6
    assert report.leaks.val_pages == 9


def test_validation_is_not_compared_with_itself(gate):
    lines = text_of("same")
    pages = [("a", draw(lines), lines, "val"), ("b", jpeg(draw(lines), 50), lines, "val")]
    pages.append(("t", draw(text_of("t")), text_of("t"), "test"))
    found, report = gate(pages)
    assert found == {} and report.leaks.index_pages == 3


def test_short_lines_repeat_by_nature(gate):
    def line(text):
        image = Image.new("L", (120, 20), 255)
        ImageDraw.Draw(image).text((2, 2), text, 0, font=ImageFont.load_default(12))
        return image

    pages = [("a", line("TOTAL 9.00"), ["TOTAL 9.00"], "test")]
    pages += [
        ("b", line("TOTAL 8.00"), ["TOTAL 8.00"], "train"),
        ("c", draw(["Date"]), ["TOTAL 9.00"], "train"),
    ]
    assert gate(pages)[0] == {}


def test_index_bound_is_reported(gate):
    pages = [(f"t{n}", draw(text_of(n)), text_of(n), "test") for n in range(5)]
    pages.append(("mine", draw(text_of("m")), text_of("m"), "train"))
    _, report = gate(pages, max_index=3)
    assert (report.leaks.index_pages, report.leaks.uncovered_pages) == (3, 2)


def test_forms_that_differ_in_their_numbers_are_other_documents():
    letters = fold("Syarikat Perniagaan invoice, goods sold are not returnable, thank you. " * 6)
    assert not same_text(letters + "1234567890" * 3, letters + "9876012345" * 3, 0.8)
    assert same_text(letters + "1234567890" * 3, letters.replace("v", "u") + "1234567890" * 3, 0.8)


def test_a_page_with_another_paragraph_is_another_text():
    rng = random.Random(0)
    shared, first, second = words(rng, 300), words(rng, 25), words(rng, 25)
    assert not same_text(fold(shared + first), fold(shared + second), 0.85)


@settings(max_examples=20, deadline=None)
@given(st.text(min_size=0, max_size=400))
def test_signatures_take_any_text(text):
    values = signature(fold(text))
    assert values.shape == (PERMUTATIONS,) and (values == signature(fold(text))).all()
    assert same_text(fold(text), fold(text), 0.9)


def test_hash_search_equals_the_plain_definition():
    import numpy as np

    pages = [draw(text_of(n)) for n in range(12)] + [Image.new("L", (50, 50), 255)]
    bits = np.array([np.frombuffer(perceptual_hash(p), dtype="<u8") for p in pages])
    index = HashIndex(bits)
    for query in bits[:-1]:
        differing = np.bitwise_count(bits ^ query).sum(axis=1)
        total = np.bitwise_count(bits).sum(axis=1) + np.bitwise_count(query).sum()
        expected = {i for i in range(len(bits)) if differing[i] / total[i] <= 0.4}
        assert {row for _, row in index.near(query, 0.4)} == expected
    assert index.near(bits[-1], 0.4) == [], "a blank page resembles nothing"
