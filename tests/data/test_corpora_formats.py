# ruff: noqa: E501 (fixtures are quoted as published)
"""Every corpus in the exact layout of its publisher, in small: fixtures made here."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from manifold_ocr.data.readers.icdar import parse_box_line
from manifold_ocr.data.registry import resolve, select_corpora
from manifold_ocr.errors import UserError
from manifold_ocr.records import RawRow, Rejection, language_tag


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


PAGE = """<?xml version="1.0"?><PcGts xmlns="http://schema.primaresearch.org/PAGE/gts/pagecontent/2019-07-15">
<Page imageFilename="scan 1.png" imageWidth="60" imageHeight="40" primaryLanguage="German">
<ReadingOrder><OrderedGroup id="g"><RegionRefIndexed index="0" regionRef="r2"/>
<RegionRefIndexed index="1" regionRef="r1"/></OrderedGroup></ReadingOrder>
<TextRegion id="r1"><TextLine id="l1"><Coords points="1,2 30,2 30,9 1,9"/>
<TextEquiv index="1"><Unicode>worse</Unicode></TextEquiv><TextEquiv index="0"><Unicode>zweite</Unicode></TextEquiv>
</TextLine></TextRegion>
<TextRegion id="r2"><TextLine id="l2"><Coords points="1,12 30,12 30,19 1,19"/>
<Word><TextEquiv><Unicode>erste</Unicode></TextEquiv></Word><Word><TextEquiv><Unicode>Zeile</Unicode></TextEquiv></Word>
</TextLine><TextLine id="l3"><TextEquiv><Unicode>no place</Unicode></TextEquiv></TextLine></TextRegion>
</Page></PcGts>"""
ALTO = """<?xml version="1.0"?><alto xmlns="http://www.loc.gov/standards/alto/ns-v4#">
<Description><sourceImageInformation><fileName>scan 1.png</fileName></sourceImageInformation></Description>
<Layout><Page><PrintSpace><TextBlock LANG="fr"><TextLine ID="a" HPOS="1" VPOS="2" WIDTH="30" HEIGHT="7">
<String CONTENT="deux"/><SP/><String CONTENT="mots"/><HYP CONTENT="-"/></TextLine></TextBlock></PrintSpace></Page></Layout></alto>"""


class TestFolder:
    def test_pairs_line_images_and_subsets(self, tmp_path):
        image(tmp_path / "letters/a.png")
        write(tmp_path / "letters/a.txt", "\ufeffDear Sir\nsecond line\n")
        image(tmp_path / "l1.bin.png")
        write(tmp_path / "l1.gt.txt", "one line\n")
        image(tmp_path / "alone.png")
        write(tmp_path / "orphan.txt", "text")
        rows, rejected = read(tmp_path, "folder", language="english")
        assert [(r.document, r.subset, r.granularity, r.text) for r in rows] == [
            ("l1", "all", "line", "one line"),
            ("letters/a", "letters", "page", "Dear Sir\nsecond line"),
        ]
        assert {r.language for r in rows} == {"en"}
        assert {(r.source, r.reason) for r in rejected} == {
            ("alone.png", "missing_label"),
            ("orphan.txt", "missing_image"),
        }

    def test_document_pattern_and_split_folders(self, tmp_path):
        for split in ("train", "test"):
            image(tmp_path / split / "forms/p7_line2.png")
            write(tmp_path / split / "forms/p7_line2.txt", "x")
        rows, _ = read(tmp_path, "folder", document_pattern=r"(p\d+)_", splits_from_folders=True)
        assert {(r.document, r.split, r.subset) for r in rows} == {
            ("p7", "train", "forms"),
            ("p7", "test", "forms"),
        }

    def test_wrong_encoding_is_rejected_with_advice(self, tmp_path):
        image(tmp_path / "a.png")
        (tmp_path / "a.txt").write_bytes("Größe".encode("cp1252"))
        image(tmp_path / "b.png")
        (tmp_path / "b.txt").write_bytes("Größe".encode("utf-16"))
        rows, rejected = read(tmp_path, "folder")
        assert not rows
        assert all(r.reason == "wrong_encoding" and "iconv" in r.detail for r in rejected)

    def test_page_xml_in_reading_order(self, tmp_path):
        image(tmp_path / "scan 1.png")
        write(tmp_path / "page/scan 1.xml", PAGE)
        rows, rejected = read(tmp_path, "folder")
        assert [(r.text, r.box) for r in rows] == [
            ("erste Zeile", (1, 12, 30, 19)),
            ("zweite", (1, 2, 30, 9)),
            ("erste Zeile\nzweite", None),
        ]
        assert {r.language for r in rows} == {"de"}
        assert [r.source for r in rejected] == ["page/scan 1.xml#l3"]

    def test_alto(self, tmp_path):
        image(tmp_path / "scan 1.png")
        write(tmp_path / "scan 1.xml", ALTO)
        rows, _ = read(tmp_path, "folder")
        assert (rows[0].text, rows[0].box, rows[0].language) == ("deux mots-", (1, 2, 31, 9), "fr")

    def test_xml_entities_are_not_expanded(self, tmp_path):
        secret = tmp_path / "secret"
        secret.write_text("password")
        image(tmp_path / "scan 1.png")
        evil = ALTO.replace("<alto", f'<!DOCTYPE x [<!ENTITY e SYSTEM "{secret}">]><alto', 1)
        write(
            tmp_path / "scan 1.xml",
            evil.replace('CONTENT="deux"', 'CONTENT="a"').replace("<SP/>", "&e;<SP/>"),
        )
        rows, _ = read(tmp_path, "folder")
        assert "password" not in repr(rows)

    def test_coco_text(self, tmp_path):
        image(tmp_path / "train2014/COCO_1.jpg")
        base = {
            "image_id": 1,
            "bbox": [1.5, 2, 10, 5],
            "class": "machine printed",
            "language": "english",
        }
        anns = {"5": base | {"legibility": "legible", "utf8_string": "STOP"},
                "6": base | {"legibility": "illegible"}}  # fmt: skip
        imgs = {"1": {"id": 1, "file_name": "COCO_1.jpg", "width": 60, "height": 40, "set": "val"}}
        write(
            tmp_path / "cocotext.v2.json",
            {"imgs": imgs, "anns": anns, "cats": {}, "imgToAnns": {}, "info": {}},
        )
        rows, rejected = read(tmp_path, "folder")
        assert [(r.text, r.box, r.split, r.tags, r.language) for r in rows] == [
            ("STOP", (1.5, 2, 11.5, 7), "val", ("machine_printed",), "en")
        ]
        assert [r.reason for r in rejected] == ["empty_text"]

    def test_imagefolder(self, tmp_path):
        image(tmp_path / "train/a.png")
        good = json.dumps({"file_name": "a.png", "text": "hello", "language": "cn"})
        write(tmp_path / "train/metadata.jsonl", f'{good}\n{{"file_name": "a.png"}}\nnot json\n')
        rows, rejected = read(tmp_path, "folder", splits_from_folders=True)
        assert [(r.image, r.text, r.split, r.language) for r in rows] == [
            ("train/a.png", "hello", "train", "zh")
        ]
        assert [r.source for r in rejected] == ["train/metadata.jsonl:2", "train/metadata.jsonl:3"]

    @pytest.mark.parametrize("text", [None, "a.docx"])
    def test_a_folder_without_text_or_images_is_one_clear_error(self, tmp_path, text):
        write(tmp_path / (text or "notes.txt"), "x")
        if text:
            image(tmp_path / "a.png")
        with pytest.raises(UserError, match=r"no images|no text"):
            read(tmp_path, "folder")


class TestManifestCorpus:
    def test_older_rows_and_text_files(self, tmp_path):
        image(tmp_path / "raw/en/1.png")
        write(tmp_path / "raw/en/1.txt", "from a file")
        lines = [
            {
                "doc_id": "d1",
                "text": "inline",
                "source_path": "en/1.png",
                "subset": "s",
                "language": "chinese",
            },
            {"doc_id": "d1", "text_path": "en/1.txt", "image_path": "en/1.png"},
            {"doc_id": "d2", "text_path": "../../../etc/passwd", "image_path": "en/1.png"},
            {"doc_id": "d3", "text": 5, "image_path": "en/1.png"},
            {"doc_id": "d4", "text": "x", "image_path": "en/1.png", "box": [1, 2]},
            {"doc_id": "d5", "text": "x", "image_path": "en/1.png", "split": "dev"},
            {"doc_id": "d6", "text": "x", "image_path": "en/1.png", "split": "holdout"},
        ]
        body = "\n".join(map(json.dumps, lines)) + "\n{broken\n"
        write(tmp_path / "metadata/text_manifest.jsonl", body)
        rows, rejected = read(tmp_path, "manifest")
        assert [(r.document, r.text, r.subset, r.language, r.split) for r in rows] == [
            ("d1", "inline", "s", "zh", None),
            ("d1", "from a file", "all", "und", None),
            ("d5", "x", "all", "und", "val"),
        ]
        assert rows[0].image == "raw/en/1.png"
        numbers = [int(r.source.rsplit(":", 1)[1]) for r in rejected]
        assert numbers == [3, 4, 5, 7, 8]

    @given(
        groups=st.lists(st.integers(0, 6), max_size=12),
        broken=st.sets(st.integers(0, 40)),
        parts=st.integers(1, 9),
    )
    def test_parts_hold_every_row_once_and_divide_no_page(
        self, tmp_path_factory, groups, broken, parts
    ):
        root = tmp_path_factory.mktemp("parts")
        lines = [
            {"document": f"d{g}", "image": f"{g}.png", "text": f"{g} {n}", "box": [0, n, 9, n + 1]}
            for g, count in enumerate(groups)
            for n in range(count)
        ]
        body = [json.dumps(x) if i not in broken else "{" for i, x in enumerate(lines)]
        (root / "manifest.jsonl").write_text("".join(line + "\n" for line in body))
        adapter = resolve("mine", {"kind": "manifest"}).adapter
        whole = list(adapter.rows(root, {}))
        shared = [list(adapter.part_rows(root, {}, part, parts)) for part in range(parts)]
        assert [row for share in shared for row in share] == whole
        assert [row.source for row in whole] == [
            f"manifest.jsonl:{n}" for n in range(1, len(lines) + 1)
        ]
        images = [{r.image for r in share if isinstance(r, RawRow)} for share in shared]
        assert sum(map(len, images)) == len(set().union(*images)), "a page is in two parts"


@pytest.mark.parametrize(
    ("name", "tag"),
    [("cn", "zh"), ("Chinese", "zh"), ("simplified_chinese", "zh"), ("zh-CN", "zh"), ("EN", "en"),
     ("text_english", "en"), ("traditional chinese", "zh-Hant"), ("en_ch_mixed", "mul"), ("", "und"),
     ("pt_AO", "pt-AO"), ("sr-latn", "sr-Latn")],
)  # fmt: skip
def test_language_spellings(name, tag):
    assert language_tag(name) == tag


def test_unknown_language_is_an_error():
    with pytest.raises(UserError, match="klingonish"):
        language_tag("klingonish!")


class TestSelection:
    def select(self, corpora, **section):
        return select_corpora({"download": {"corpora": corpora}, "corpora": section})

    def test_unknown_corpus_names_the_nearest(self):
        with pytest.raises(UserError, match="did you mean 'omnidocbench'"):
            self.select(["omnidocbenhc"])

    def test_commercial_run_refuses_non_commercial_data(self):
        with pytest.raises(UserError, match=r"fox.*CC-BY-NC-4.0.*corpora.commercial"):
            self.select(["fox"], commercial=True)
        assert self.select(["fox"], commercial=False)[0].role == "eval_only"

    def test_only_allowed_licences(self):
        with pytest.raises(UserError, match="allowed_licences"):
            self.select(["icdar_sroie"], allowed_licences=["Apache-2.0"])
        assert self.select(["icdar_sroie"], allowed_licences=["cc-by-4.0"])

    def test_role_is_changed_by_hand_only(self):
        corpus = self.select(["omnidocbench"], omnidocbench={"role": "train"})[0]
        assert corpus.role == "train" and corpus.contaminated
        assert not self.select(["omnidocbench"])[0].contaminated

    def test_misspelled_option_is_an_error(self, tmp_path):
        image(tmp_path / "a.png")
        write(tmp_path / "a.txt", "x")
        with pytest.raises(UserError, match="did you mean 'layout'"):
            read(tmp_path, "folder", layuot="pairs")
