"""Real receipts, pages and lines parse completely: counts by independent short scripts."""

import json
import os
from collections import Counter
from pathlib import Path

import pytest

from manifold_ocr.data.registry import resolve
from manifold_ocr.records import RawRow

pytestmark = pytest.mark.real_data
ROOT = os.environ.get("MANIFOLD_OCR_REAL_DATA", "")
if not ROOT:
    pytest.skip("MANIFOLD_OCR_REAL_DATA is not set", allow_module_level=True)


def parse(name, kind):
    options = {"kind": kind}
    rows = list(resolve(name, options).adapter.rows(Path(ROOT) / name, options))
    assert all(isinstance(row, RawRow) for row in rows), [
        r for r in rows if not isinstance(r, RawRow)
    ][:3]
    return rows


def test_sroie_counts():
    rows = Counter((row.task, row.granularity) for row in parse("sroie", "icdar_sroie"))
    boxes = sorted((Path(ROOT) / "sroie/box").glob("*.csv"))
    lines = sum(1 for box in boxes for line in box.read_bytes().splitlines() if line.strip())
    keys = len(list((Path(ROOT) / "sroie/key").glob("*.json")))
    assert rows == {
        ("transcribe", "line"): lines,
        ("transcribe", "page"): len(boxes),
        ("json", "page"): keys,
    }
    assert lines == 12_512


def test_sroie_texts_are_the_bytes_of_the_files():
    texts = [row.text for row in parse("sroie", "icdar_sroie") if row.granularity == "line"]
    expected = []
    for box in sorted((Path(ROOT) / "sroie/box").glob("*.csv")):
        expected += [
            x.split(",", 8)[8].strip() for x in box.read_text("utf-8").splitlines() if x.strip()
        ]
    assert texts == expected


def test_omnidocbench_counts_by_category():
    rows = parse("omnidocbench", "omnidocbench")
    pages = json.loads((Path(ROOT) / "omnidocbench/OmniDocBench.json").read_text("utf-8"))
    blocks = [b for page in pages for b in page["layout_dets"]]
    spans = Counter()
    for block in blocks:
        for owner in [block, *block.get("merge_list", [])]:
            spans.update(s["category_type"] for s in owner.get("line_with_spans", []))
    found = Counter((row.task, row.granularity, row.box is not None) for row in rows)
    lines = spans["text_span"] + spans["equation_ignore"]
    assert found[("transcribe", "page", False)] == len(pages)
    assert found[("transcribe", "line", True)] == lines
    formulas = sum(b["category_type"] == "equation_isolated" for b in blocks)
    assert (
        found[("latex", "line", True)]
        == spans["equation_inline"] + spans["footnote_mark"] + formulas
    )
    assert found[("table", "line", True)] == sum(b["category_type"] == "table" for b in blocks)
    by_source = Counter(p["page_info"]["page_attribute"]["data_source"].lower() for p in pages)
    assert Counter(r.subset for r in rows if r.granularity == "page") == by_source


def test_omnidocbench_boxes_lie_on_their_pages():
    from PIL import Image

    from manifold_ocr.data.formats import fit_box

    sizes = {}
    for row in parse("omnidocbench", "omnidocbench"):
        if row.box is None:
            continue
        if row.image not in sizes:
            with Image.open(Path(ROOT) / "omnidocbench" / row.image) as image:
                sizes[row.image] = image.size
        assert fit_box(row.box, sizes[row.image], 3.0), row


def test_uw3_lines():
    rows = parse("uw3", "folder")
    assert len(rows) == len(list((Path(ROOT) / "uw3").glob("*.gt.txt"))) == 50
    assert {row.granularity for row in rows} == {"line"}
