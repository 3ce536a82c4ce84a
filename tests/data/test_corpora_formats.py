# ruff: noqa: E501 (fixtures are quoted as published)
"""Every corpus in the exact layout of its publisher, in small: fixtures made here."""

import json
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from manifold_ocr.data.readers.icdar import parse_box_line
from manifold_ocr.data.registry import resolve
from manifold_ocr.records import RawRow, Rejection


def image(path, size=(60, 40)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size, 255).save(path)


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text if isinstance(text, str) else json.dumps(text), encoding="utf-8")


def read(root, kind, **options):
    corpus = resolve("mine", {"kind": kind, **options})
    rows = list(corpus.adapter.rows(Path(root), {"kind": kind, **options}))
    good = [row for row in rows if isinstance(row, RawRow)]
    return good, [row for row in rows if isinstance(row, Rejection)]


class TestSroie:
    def test_commas_line_ends_and_keys(self, tmp_path):
        image(tmp_path / "img/000.jpg")
        write(
            tmp_path / "box/000.csv",
            "1,2,30,2,30,9,1,9,TOTAL: 1,234.50, CASH\r\n5,10,9,10,9,19,5,19,X\r\n",
        )
        write(
            tmp_path / "key/000.json",
            {"company": "A, B", "date": "1/2/18", "total": "9.00", "x": "y"},
        )
        rows, rejected = read(tmp_path, "icdar_sroie")
        assert not rejected
        assert [row.text for row in rows[:3]] == [
            "TOTAL: 1,234.50, CASH",
            "X",
            "TOTAL: 1,234.50, CASH\nX",
        ]
        assert rows[0].box == (1, 2, 30, 9)
        assert rows[2].granularity == "page" and rows[2].box is None
        assert rows[3].task == "json"
        assert json.loads(rows[3].text) == {"company": "A, B", "date": "1/2/18", "total": "9.00"}
        assert {row.document for row in rows} == {"000"}

    def test_official_train_and_test_folders_are_splits(self, tmp_path):
        for split in ("train", "test"):
            image(tmp_path / split / "img/1.jpg")
            write(tmp_path / split / "box/1.txt", "1,2,30,2,30,9,1,9,A")
            write(tmp_path / split / "entities/1.txt", {"total": "1"})
        rows, _ = read(tmp_path, "icdar_sroie")
        assert {(row.document, row.split) for row in rows} == {
            ("train/1", "train_val"),
            ("test/1", "test"),
        }

    def test_bad_files_are_rejected_with_their_place(self, tmp_path):
        for name in ("a", "b", "c"):
            image(tmp_path / f"img/{name}.jpg")
        write(tmp_path / "box/a.csv", "1,2,3,4,5,6,7\n1,2,30,2,30,9,1,9,OK\none,2,3,4,5,6,7,8,T")
        (tmp_path / "box/b.csv").write_bytes("1,2,30,2,30,9,1,9,CAFÉ".encode("latin-1"))
        rows, rejected = read(tmp_path, "icdar_sroie")
        assert [row.text for row in rows] == ["OK", "OK"]
        assert {(r.source, r.reason) for r in rejected} == {
            ("box/a.csv:1", "broken_row"),
            ("box/a.csv:3", "broken_row"),
            ("box/b.csv", "wrong_encoding"),
            ("img/c.jpg", "missing_label"),
        }

    @given(
        corners=st.lists(st.integers(0, 9999), min_size=8, max_size=8),
        text=st.text(st.characters(exclude_categories=("C", "Z")), min_size=1),
    )
    def test_any_text_survives_the_line_format(self, corners, text):
        box, parsed = parse_box_line(",".join(map(str, corners)) + "," + text)
        assert parsed == text
        assert box == (min(corners[::2]), min(corners[1::2]), max(corners[::2]), max(corners[1::2]))

    @given(st.text())
    def test_any_line_parses_or_raises_value_error(self, line):
        try:
            box, _ = parse_box_line(line)
        except ValueError:
            return
        assert len(box) == 4


def test_icdar2015(tmp_path):
    image(tmp_path / "ch4_training_images/img_1.jpg")
    write(
        tmp_path / "ch4_training_gt/gt_img_1.txt",
        "\ufeff1,2,30,2,30,9,1,9,Genaxis, Ltd\n1,1,2,1,2,2,1,2,###\n",
    )
    rows, rejected = read(tmp_path, "icdar2015")
    assert [(row.text, row.split) for row in rows] == [("Genaxis, Ltd", "train_val")]
    assert [r.reason for r in rejected] == ["unreadable_text"]


def test_fox_reads_each_language_once(tmp_path):
    base = tmp_path / "focus_benchmark_test"
    for code, text in (("en", "FREEDOM"), ("cn", "自由")):
        image(base / f"{code}_pdf_png/{code}_1.png")
        entry = {
            "image": f"{code}_1.png",
            "len": 826,
            "conversations": [
                {"from": "human", "value": "<image>\nOCR this image: "},
                {"from": "gpt", "value": text},
            ],
        }
        write(base / f"{code}_page_ocr.json", [entry])
        write(base / f"{code}_line_ocr.json", [entry])  # other sub-tasks stay out
    rows, rejected = read(tmp_path, "fox")
    assert not rejected
    assert [(r.subset, r.language, r.text, r.granularity) for r in rows] == [
        ("en_page_ocr", "en", "FREEDOM", "page"),
        ("cn_page_ocr", "zh", "自由", "page"),
    ]
    assert (tmp_path / rows[0].image).is_file()
    assert resolve("fox", {}).role == "eval_only"
    assert rows[0].license == "CC-BY-NC-4.0"


def test_docvqa(tmp_path):
    image(tmp_path / "documents/xnbl0037_1.png")
    question = {
        "questionId": 337,
        "question": "what is the date mentioned in this letter?",
        "image": "documents/xnbl0037_1.png",
        "docId": 279,
        "ucsf_document_id": "xnbl0037",
        "ucsf_document_page_no": "1",
        "answers": ["1/8/93", "January 8, 1993"],
        "data_split": "train",
    }
    hidden = {key: value for key, value in question.items() if key != "answers"} | {
        "data_split": "test"
    }
    for split, data in (
        ("train", [question]),
        ("val", [question | {"data_split": "val"}]),
        ("test", [hidden]),
    ):
        write(
            tmp_path / f"{split}_v1.0.json",
            {"dataset_name": "SP-DocVQA", "dataset_split": split, "data": data},
        )
    rows, rejected = read(tmp_path, "docvqa")
    assert [(r.task, r.split, r.text, r.answers) for r in rows] == [
        ("qa", "train_val", "1/8/93", ("1/8/93", "January 8, 1993")),
        ("qa", "test", "1/8/93", ("1/8/93", "January 8, 1993")),
    ]
    assert [r.reason for r in rejected] == ["no_answer"]


def test_publaynet_is_layout_and_never_text(tmp_path):
    image(tmp_path / "val/PMC1234567_00003.jpg", (600, 800))
    write(
        tmp_path / "val.json",
        {
            "images": [
                {"file_name": "PMC1234567_00003.jpg", "width": 600, "height": 800, "id": 7},
                {"file_name": "PMC1234567_00004.jpg", "width": 600, "height": 800, "id": 8},
            ],
            "annotations": [
                {"id": 1, "image_id": 7, "category_id": 4, "bbox": [10, 20, 500, 400.5],
                 "segmentation": [[10, 20, 510, 20, 510, 420, 10, 420]], "area": 200250, "iscrowd": 0},
            ],
            "categories": [{"supercategory": "", "id": 4, "name": "table"}],
        },
    )  # fmt: skip
    rows, rejected = read(tmp_path, "publaynet")
    assert [(r.task, r.subset, r.split, r.document) for r in rows] == [
        ("layout", "table_page", "test", "PMC1234567")
    ]
    assert json.loads(rows[0].text) == [{"label": "table", "box": [10.0, 20.0, 510.0, 420.5]}]
    assert [r.reason for r in rejected] == ["empty_layout"]


def omnidocbench_page(**changes):
    def poly(x0, y0, x1, y1):
        return [x0, y0, x1, y0, x1, y1, x0, y1]

    span = {"category_type": "text_span", "poly": poly(1, 1, 50, 9), "text": "\\t - Indented"}
    inline = {"category_type": "equation_inline", "poly": poly(1, 11, 50, 19), "latex": "$x$"}
    blocks = [
        {"category_type": "text_block", "poly": poly(0, 0, 60, 20), "order": 2, "ignore": False,
         "anno_id": 1, "text": "second", "line_with_spans": [span, inline]},
        {"category_type": "title", "poly": poly(0, 0, 60, 5), "order": 1, "ignore": False,
         "anno_id": 2, "text": "first", "line_with_spans": []},
        {"category_type": "table", "poly": poly(0, 20, 60, 30), "order": 3, "ignore": False,
         "anno_id": 3, "html": "<table></table>", "latex": "x"},
        {"category_type": "header", "poly": poly(0, 0, 9, 9), "order": None, "ignore": False,
         "anno_id": 4, "text": "header"},
        {"category_type": "text_block", "poly": poly(0, 0, 9, 9), "order": 9, "ignore": True,
         "anno_id": 5, "text": "ignored"},
        {"category_type": "figure", "poly": poly(0, 0, 60, 20), "order": 4, "ignore": False, "anno_id": 6},
    ]  # fmt: skip
    attribute = {"data_source": "note", "language": "simplified_chinese", "layout": "single_column",
                 "special_issue": ["None"]}  # fmt: skip
    info = {
        "page_attribute": attribute,
        "page_no": 1,
        "height": 40,
        "width": 60,
        "image_path": "p.jpg",
    }
    return {"layout_dets": blocks, "page_info": info, "extra": {"relation": []}} | changes


def test_omnidocbench_order_spans_tables_and_shares(tmp_path):
    image(tmp_path / "images/p.jpg")
    write(tmp_path / "OmniDocBench.json", [omnidocbench_page(), {"layout_dets": []}])
    rows, rejected = read(tmp_path, "omnidocbench", chart_share=0.5)
    page = rows[0]
    assert page.text == "first\n\nsecond\n\n<table></table>"
    assert (page.language, page.subset) == ("zh", "note")
    assert page.tags == ("single_column", "handwritten", "chart_heavy")
    assert [(r.task, r.text) for r in rows[1:]] == [
        ("transcribe", "- Indented"),
        ("latex", "$x$"),
        ("table", "<table></table>"),
    ]
    assert [r.reason for r in rejected] == ["broken_row"]


def test_a_page_of_omnidocbench_without_blocks_is_counted(tmp_path):
    image(tmp_path / "images/p.jpg")
    write(tmp_path / "OmniDocBench.json", [omnidocbench_page() | {"layout_dets": []}])
    rows, rejected = read(tmp_path, "omnidocbench")
    assert not rows and [r.reason for r in rejected] == ["empty_label"]
    assert "p.jpg" in rejected[0].detail
