import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from manifold_ocr.data.parts import needle_rows
from manifold_ocr.data.readers.synthetic import SyntheticCorpus
from manifold_ocr.errors import UserError
from manifold_ocr.files import sha256_tree
from manifold_ocr.images import open_image
from manifold_ocr.records import PLANTED, RawRow
from manifold_ocr.synthetic.generate import (
    LINES_PER_PAGE,
    SUBSETS,
    VERSION,
    Document,
    SyntheticConfig,
    documents,
    draw_document,
    generate,
    ink_kept,
)

SMALL = SyntheticConfig(train_lines=1, val_lines=1, test_lines=1)
PROJECT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    root = tmp_path_factory.mktemp("synthetic")
    generate(root, SMALL, workers=1)
    return root


@pytest.fixture(scope="module")
def rows(corpus):
    return list(SyntheticCorpus().rows(corpus, {}))


def test_every_subset_is_in_every_split_with_lines_and_pages(rows):
    for subset in SUBSETS:
        for split in ("train", "val", "test"):
            here = [r for r in rows if r.subset == subset and r.split == split]
            assert sum(r.granularity == "line" for r in here) == LINES_PER_PAGE
            assert sum(r.granularity == "page" for r in here) == 1


def test_default_counts_meet_the_promise_of_300_test_lines():
    todo = documents(SyntheticConfig())
    for subset in SUBSETS:
        pages = sum(d.subset == subset and d.split == "test" for d in todo)
        assert pages * LINES_PER_PAGE >= 300


def test_a_page_holds_its_lines_in_reading_order(rows):
    pages = {r.document: r for r in rows if r.granularity == "page"}
    for document, page in pages.items():
        lines = [r for r in rows if r.document == document and r.granularity == "line"]
        assert page.text == "\n".join(line.text for line in lines)
        tops = [line.box[1] for line in lines]
        assert tops == sorted(tops)
        assert len({r.image for r in [page, *lines]}) == 1


def test_boxes_lie_inside_their_page_and_hold_ink(rows, corpus):
    for row in rows:
        if row.granularity != "line":
            continue
        page = open_image(corpus / row.image)
        x0, y0, x1, y1 = row.box
        assert 0 <= x0 < x1 <= page.width
        assert 0 <= y0 < y1 <= page.height
        crop = np.asarray(page.convert("L").crop((int(x0), int(y0), int(x1), int(y1))))
        assert int(crop.max()) - int(crop.min()) >= 50, f"{row.document}: {row.text!r} is invisible"
        assert crop.shape[0] >= 8


def test_lines_of_a_page_hardly_overlap(rows):
    for before, after in pairwise(rows):
        if before.document == after.document and "page" not in after.tags:
            assert after.box[1] > (before.box[1] + before.box[3]) / 2


def test_images_are_small_gray_scans(corpus):
    for path in corpus.glob("images/*.png"):
        with Image.open(path) as image:
            assert image.mode == "L"
            assert len(image.getcolors()) <= 16
        assert path.stat().st_size < 250_000


def test_rows_state_license_language_and_source(rows):
    assert {r.license for r in rows} == {"CC0-1.0"}
    assert {r.language for r in rows if r.subset == "chinese"} == {"zh"}
    assert {r.language for r in rows if r.subset != "chinese"} == {"en"}
    assert all(isinstance(r, RawRow) and r.source for r in rows)


def test_worker_count_changes_no_byte(corpus, tmp_path):
    few = SyntheticConfig(train_lines=1, val_lines=0, test_lines=1, subsets=("code", "degraded"))
    hashes = []
    for workers in (1, 2, 4):
        generate(tmp_path / str(workers), few, workers=workers)
        hashes.append(sha256_tree(tmp_path / str(workers)))
    assert len(set(hashes)) == 1
    for path in (tmp_path / "2" / "images").iterdir():
        assert path.read_bytes() == (corpus / "images" / path.name).read_bytes()


def test_seed_changes_the_text_and_subsets_do_not_touch_each_other(corpus, tmp_path):
    only = SyntheticConfig(train_lines=1, val_lines=0, test_lines=0, subsets=("code",))
    generate(tmp_path / "a", only, workers=1)
    name = "images/code-train-0000.png"
    assert (tmp_path / "a" / name).read_bytes() == (corpus / name).read_bytes()
    other = SyntheticConfig(seed=1, train_lines=1, val_lines=0, test_lines=0, subsets=("code",))
    generate(tmp_path / "b", other, workers=1)
    assert (tmp_path / "b" / name).read_bytes() != (corpus / name).read_bytes()


def test_the_bytes_of_this_version_are_pinned(corpus):
    """A change of bytes needs a new VERSION (and this hash), so that DVC draws the corpus anew."""
    found = (VERSION, sha256_tree(corpus))
    assert found == (1, "e49cdb1e7b22e688c11fba838457ef01485b87dc2955874bc9e93921047fb07f")


def test_planted_needles_are_drawn_and_asked_for(corpus, rows, tmp_path):
    generate(tmp_path / "all", replace(SMALL, needles=1.0), workers=1)
    planted = list(SyntheticCorpus().rows(tmp_path / "all", {}))
    for document in {row.document for row in planted}:
        lines = [r for r in planted if r.document == document and r.granularity == "line"]
        page = next(r for r in planted if r.document == document and r.granularity == "page")
        (needle,) = [line for line in lines if PLANTED in line.tags]
        assert re.fullmatch(r"Passcode [A-Z]{5}-[2-9]{4}", needle.text)
        assert needle.text in page.text.splitlines() and len(lines) == LINES_PER_PAGE
        (probe,) = needle_rows(lines)
        assert (
            probe.task == "needle" and probe.text == needle.text and "'Passcode'" in probe.question
        )
    texts = [row.text for row in planted if PLANTED in row.tags]
    assert len(set(texts)) == len(texts)
    generate(tmp_path / "some", replace(SMALL, needles=0.5), workers=1)
    some = list(SyntheticCorpus().rows(tmp_path / "some", {}))
    with_needle = {row.document for row in some if PLANTED in row.tags}
    assert 0 < len(with_needle) < len({row.document for row in some})
    for document in {row.document for row in some} - with_needle:
        name = f"images/{document}.png"
        assert (tmp_path / "some" / name).read_bytes() == (corpus / name).read_bytes()
    with pytest.raises(ValueError, match="needles"):
        SyntheticConfig(needles=1.5)


SCRIPT = """
import sys
from itertools import pairwise
from pathlib import Path
from manifold_ocr.synthetic.generate import SUBSETS, VERSION, SyntheticConfig
from manifold_ocr.synthetic.generate import generate
from manifold_ocr.files import sha256_tree
root = Path(sys.argv[1])
generate(root, SyntheticConfig(train_lines=0, val_lines=0, test_lines=1,
    subsets=('degraded', 'receipts', 'handwriting', 'chinese')), workers=1)
print(sha256_tree(root))
"""


def cpu_features():
    """Return the vector units that numpy dispatches to here, by its own account."""
    from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__

    return [name for name in __cpu_dispatch__ if __cpu_features__.get(name)]


def test_vector_units_change_no_byte(tmp_path):
    features = cpu_features()
    if not features:
        pytest.skip("numpy dispatches to no vector unit beyond its baseline here")
    hashes = []
    for number, disabled in enumerate(("", " ".join(features))):
        environment = {**os.environ, "PYTHONPATH": str(PROJECT / "src")}
        environment["NPY_DISABLE_CPU_FEATURES"] = disabled
        command = [sys.executable, "-c", SCRIPT, str(tmp_path / str(number))]
        run = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        hashes.append(run.stdout.strip())
    assert hashes[0] == hashes[1]
    assert len(hashes[0]) == 64


def test_a_document_can_be_drawn_alone(corpus, tmp_path):
    (tmp_path / "images").mkdir()
    rows = draw_document(tmp_path, SMALL, Document("charts", "val", 0))
    stored = [json.loads(line) for line in (corpus / "rows.jsonl").read_text("utf-8").splitlines()]
    assert [r.text for r in rows] == [
        r["text"] for r in stored if r["document"] == "charts-val-0000"
    ]


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"sed": 1}, "did you mean 'seed'"),
        ({"subsets": ["printd"]}, "'printd' is not one of printed"),
        ({"test_lines": -1}, "must be greater than or equal to 0"),
        ({"train_lines": "many"}, "must be int"),
        ({"path": "/somewhere"}, "drawn, not fetched"),
    ],
)
def test_bad_options_are_one_clear_error(options, word, tmp_path):
    with pytest.raises(UserError, match=word):
        SyntheticCorpus().fetch(tmp_path, options)


def test_a_damaged_or_missing_rows_file_names_itself(tmp_path):
    with pytest.raises(UserError, match=r"rows.jsonl: no such file; run the stage download"):
        list(SyntheticCorpus().rows(tmp_path, {}))
    (tmp_path / "rows.jsonl").write_text('{"document": "x"\n', encoding="utf-8")
    with pytest.raises(UserError, match=r"rows.jsonl:1: damaged row"):
        list(SyntheticCorpus().rows(tmp_path, {}))


def test_a_missing_font_package_names_the_remedy(monkeypatch):
    from manifold_ocr.synthetic import fonts

    monkeypatch.setitem(fonts.SHARED, "roboto", fonts.Face("no_such_font_package", "x.ttf"))
    with pytest.raises(UserError, match="no-such-font-package is missing; run `make install`"):
        fonts.font_path("roboto")


def drawn(folder, document, **options):
    """The rows and the image's bytes of one document."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    rows = draw_document(folder, SyntheticConfig(**options), document)
    return rows, (folder / f"images/{document.name}.png").read_bytes()


def test_a_price_at_the_right_edge_can_be_a_row_of_its_own(tmp_path):
    document = Document("receipts", "val", 0)
    whole, image = drawn(tmp_path / "whole", document)
    cut, same = drawn(tmp_path / "cut", document, apart=2.0)
    assert image == same and whole[-1].text == cut[-1].text  # the page itself stays as it is
    assert len(cut) > len(whole) + 4
    texts = [row.text for row in cut[:-1]]
    assert " ".join(texts) == " ".join(row.text for row in whole[:-1])
    prices = [text for text in texts if re.fullmatch(r"[^A-Za-z]*\d[.,]\d\d[^A-Za-z]*", text)]
    assert len(prices) >= 4
    for row in cut[:-1]:
        x0, y0, x1, y1 = row.box
        assert 0 <= x0 < x1 and 0 <= y0 < y1
        inside = [w for w in whole[:-1] if row.text in w.text and abs(w.box[1] - y0) < 20]
        assert inside


def test_a_page_that_lost_its_ink_is_damaged_anew_and_others_keep_every_byte(tmp_path):
    lost, kept = Document("chinese", "val", 1), Document("chinese", "val", 0)
    before, bad = drawn(tmp_path / "a", lost)
    after, good = drawn(tmp_path / "b", lost, legible=0.5)
    assert [row.text for row in before] == [row.text for row in after] and bad != good
    pages = [np.asarray(open_image(tmp_path / f / before[0].image), float) for f in "ab"]
    shares = [(p < np.median(p) - (np.median(p) - p.min()) / 4).mean() for p in pages]
    assert shares[1] > 1.5 * shares[0]  # thin strokes were gone
    assert drawn(tmp_path / "c", kept)[1] == drawn(tmp_path / "d", kept, legible=0.5)[1]


def test_kept_ink_is_seen_on_dark_pages_too():
    clean = Image.new("L", (40, 40), 255)
    clean.paste(0, (10, 10, 30, 20))
    half = clean.copy()
    half.paste(255, (10, 10, 20, 20))
    assert (ink_kept(clean, clean), ink_kept(clean, half)) == (1.0, 0.5)
    assert ink_kept(clean, clean.point(lambda v: 255 - v)) == 1.0
    assert ink_kept(clean, Image.new("L", (40, 40), 200)) == 0.0
