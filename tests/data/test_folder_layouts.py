"""Labels in all the formats that users have: each text with its image, nothing lost silently."""

import json

import pytest
from corpora import image, read, reasons, texts, write
from PIL import Image

from manifold_ocr.data.formats import upright_box, visible
from manifold_ocr.errors import UserError


class TestPairs:
    def test_dots_belong_to_the_name_and_known_infixes_do_not(self, tmp_path):
        for name in ("invoice.1.png", "Dr. Miller.png", "2024.01.05.png", "v1.bin.png", "a.b.png"):
            image(tmp_path / name)
        for name in ("invoice.txt", "Dr.txt", "2024.01.05.txt", "v1.gt.txt", "a.b.gt.txt"):
            write(tmp_path / name, name)
        rows, rejected = read(tmp_path)
        assert {row.image: (row.text, row.document) for row in rows} == {
            "2024.01.05.png": ("2024.01.05.txt", "2024.01.05"),
            "a.b.png": ("a.b.gt.txt", "a.b"),
            "v1.bin.png": ("v1.gt.txt", "v1"),
        }
        assert reasons(rejected) == [
            ("Dr. Miller.png", "missing_label"), ("Dr.txt", "missing_image"),
            ("invoice.1.png", "missing_label"), ("invoice.txt", "missing_image"),
        ]  # fmt: skip

    @pytest.mark.parametrize(
        ("picture", "label"),
        [("UPPER.PNG", "UPPER.TXT"), ("a.jp2", "a.txt"), ("b.jfif", "b.gt.txt"),
         ("u\u0308.png", "\u00fc.txt"), ("hash#1.png", "hash#1.txt"), ("trail..png", "trail..txt")],
    )  # fmt: skip
    def test_suffixes_of_either_case_and_odd_names(self, tmp_path, picture, label):
        Image.new("L", (40, 20), 255).save(tmp_path / picture, "JPEG" if "j" in picture else "PNG")
        write(tmp_path / label, "text")
        rows, rejected = read(tmp_path)
        assert [(row.image, row.text) for row in rows] == [(picture, "text")] and not rejected

    def test_two_lines_are_a_page_even_in_gt_txt(self, tmp_path):
        image(tmp_path / "a.png")
        write(tmp_path / "a.gt.txt", "one\ntwo\n")
        assert [row.granularity for row in read(tmp_path)[0]] == ["page"]

    def test_pages_of_a_file_have_texts_between_form_feeds(self, tmp_path):
        sheets = [Image.new("L", (40, 20), 255) for _ in range(3)]
        for name in ("a", "b"):
            sheets[0].save(tmp_path / f"{name}.tif", save_all=True, append_images=sheets[1:])
        write(tmp_path / "a.txt", "one\n\ftwo\n\fthree\n\f")
        write(tmp_path / "b.txt", "one")
        rows, rejected = read(tmp_path)
        assert [(row.frame, row.text) for row in rows] == [(0, "one"), (1, "two"), (2, "three")]
        assert "3 pages" in rejected[0].detail and rejected[0].source == "b.txt"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Total\u200b 21", "Total 21"),
        ("\ufeffTotal\u200e\u202a", "Total"),
        ("Total\t28\x1b", "Total 28"),
        ("one\u2028two", "one\ntwo"),
        ("Ver\u00adtrag\u00ad\nx", "Vertrag-\nx"),
        ("\u0634\u200c\u0645 \u06f2\u200c", "\u0634\u200c\u0645 \u06f2"),
        ("\U0001f469\u200d\U0001f467", "\U0001f469\u200d\U0001f467"),
        ("a\u00a0b\u3000c", "a\u00a0b\u3000c"),
    ],
)
def test_characters_that_no_image_shows_are_dropped(text, shown):
    assert visible(text) == shown


@pytest.mark.parametrize("orientation", range(1, 9))
def test_boxes_of_the_file_turn_with_its_pixels(orientation):
    from PIL import ImageOps

    raw = Image.new("L", (50, 30), 0)
    raw.paste(255, (5, 3, 20, 11))
    exif = raw.getexif()
    exif[0x0112] = orientation
    raw.info["exif"] = exif.tobytes()
    upright = ImageOps.exif_transpose(raw)
    assert upright_box((5, 3, 20, 11), upright.size, orientation) == upright.getbbox()


class TestImageFolder:
    def test_donut(self, tmp_path):
        truths = [
            {"gt_parse": {"menu": [{"nm": "Tee", "price": "1"}]}},
            {"gt_parse": {"text_sequence": "running text"}},
            {"gt_parses": [{"question": "Q?", "answer": "a"}, {"question": "Q?", "answer": "b"}]},
        ]
        lines = []
        for number, truth in enumerate(truths):
            image(tmp_path / f"{number}.png")
            row = {"file_name": f"{number}.png", "ground_truth": json.dumps(truth)}
            lines.append(json.dumps(row) + "\n")
        broken = '{"file_name": "2.png", "ground_truth": "{\\"gt_parse"}\n'
        write(tmp_path / "metadata.jsonl", "".join(lines) + broken)
        rows, rejected = read(tmp_path)
        assert json.loads(rows[0].text) == truths[0]["gt_parse"] and rows[0].task == "json"
        assert (rows[1].text, rows[1].task) == ("running text", "transcribe")
        assert (rows[2].question, rows[2].answers, rows[2].task) == ("Q?", ("a", "b"), "qa")
        assert reasons(rejected) == [("metadata.jsonl:4", "broken_row")]

    def test_unlisted_images_and_missing_ones_are_counted(self, tmp_path):
        image(tmp_path / "a.png")
        image(tmp_path / "b.png")
        write(tmp_path / "metadata.csv", 'file_name,text\na.png,"x, y"\ngone.png,z\n')
        for parts in (1, 2):
            rows, rejected = read(tmp_path, parts=parts)
            assert texts(rows) == ["x, y"]
            assert reasons(rejected) == [
                ("b.png", "missing_label"), ("metadata.csv:3", "missing_image")
            ]  # fmt: skip

    @pytest.mark.parametrize("sign", [";", "\t"])
    def test_other_separators_are_named(self, tmp_path, sign):
        image(tmp_path / "a.png")
        write(tmp_path / "metadata.csv", f"file_name{sign}text\na.png{sign}word\n")
        rows, rejected = read(tmp_path)
        assert not rows and ("metadata.csv:1", "broken_row") in reasons(rejected)
        assert any(f"separated by {sign!r}" in r.detail for r in rejected)

    def test_an_open_quote_swallows_no_row_silently(self, tmp_path):
        for name in "ab":
            image(tmp_path / f"{name}.png")
        write(tmp_path / "metadata.csv", 'file_name,text\na.png,"open\nb.png,two\n')
        rows, rejected = read(tmp_path)
        assert not rows and ("b.png", "missing_label") in reasons(rejected)

    @pytest.mark.parametrize(
        "content",
        ['[{"file_name": "a.png", "text": "x"}]', '{"file_name": "a.png", "text": 5}',
         '{"file_name": ["a.png"], "text": "x"}', "[" * 5000, "5", "null", '{"text": "x"}'],
    )  # fmt: skip
    def test_what_is_no_row_is_rejected(self, tmp_path, content):
        image(tmp_path / "a.png")
        write(tmp_path / "metadata.jsonl", content)
        rows, rejected = read(tmp_path)
        assert not rows and any(r.reason == "broken_row" for r in rejected)


class TestManifestRows:
    @pytest.mark.parametrize(
        ("more", "reason"),
        [({"granularity": "word"}, "broken_row"), ({"text": 5}, "broken_row"),
         ({"box": [0, 0, float("inf"), 1]}, "broken_row"), ({"frame": -1}, "broken_row"),
         ({"image": 7}, "broken_row"), ({"task": "sing"}, "broken_row")],
    )  # fmt: skip
    def test_values_of_no_meaning_are_rejected(self, tmp_path, more, reason):
        image(tmp_path / "a.png")
        row = {"image": "a.png", "text": "x", **more}
        write(tmp_path / "manifest.jsonl", json.dumps(row).replace("Infinity", "1e999") + "\n")
        rows, rejected = read(tmp_path, "manifest")
        assert not rows and reasons(rejected) == [("manifest.jsonl:1", reason)]

    def test_numbers_are_names_too(self, tmp_path):
        image(tmp_path / "a.png")
        row = {
            "image": "a.png",
            "text": "x",
            "document": 12,
            "subset": 7,
            "license": 5,
            "tags": "t",
        }
        write(tmp_path / "manifest.jsonl", json.dumps(row) + "\n")
        (found,) = read(tmp_path, "manifest")[0]
        assert (found.document, found.subset, found.license, found.tags) == ("12", "7", "5", ("t",))

    @pytest.mark.parametrize(
        "stated",
        [
            "imgs\\mu\u0308.png",
            "IMGS/m\u00fc.PNG",
            "file:///data/imgs/m%C3%BC.png",
            "C:\\x\\imgs\\m\u00fc.png",
        ],
    )
    def test_images_are_found_however_their_path_is_spelled(self, tmp_path, stated):
        image(tmp_path / "imgs/m\u00fc.png")
        line = json.dumps({"image": stated, "text": "a"})
        write(tmp_path / "manifest.jsonl", "\ufeff" + line + "\r\n")
        rows, rejected = read(tmp_path, "manifest")
        assert [row.image for row in rows] == ["imgs/m\u00fc.png"] and not rejected

    def test_utf16_is_one_line_with_the_command_that_converts(self, tmp_path):
        image(tmp_path / "a.png")
        line = json.dumps({"image": "a.png", "text": "a"}) + "\n"
        write(tmp_path / "manifest.jsonl", (line * 3).encode("utf-16"))
        rows, rejected = read(tmp_path, "manifest", parts=2)
        assert not rows and reasons(rejected) == [("manifest.jsonl", "wrong_encoding")]
        assert "iconv -f UTF-16" in rejected[0].detail


class TestAccounts:
    """Every image without a label is told, later pages of a file as well."""

    def test_later_pages_of_a_labeled_file(self, tmp_path):
        sheets = [Image.new("L", (40, 20), 255) for _ in range(3)]
        sheets[0].save(tmp_path / "a.tif", save_all=True, append_images=sheets[1:])
        write(tmp_path / "metadata.jsonl", '{"file_name": "a.tif", "text": "one"}\n')
        rows, rejected = read(tmp_path)
        assert texts(rows) == ["one"]
        assert [(r.source, r.detail) for r in rejected] == [
            ("a.tif", "pages 2 to 3 of the file have no label")
        ]

    def test_fox(self, tmp_path):
        for name in ("a", "b"):
            image(tmp_path / f"en_pdf_png/{name}.png")
        entry = {"image": "a.png", "conversations": [{"value": "q"}, {"value": "text"}]}
        broken = [{"image": "a.png", "conversations": [{}, {"value": 5}]}, None, {"image": 3}]
        write(tmp_path / "en_page_ocr.json", [entry, *broken])
        rows, rejected = read(tmp_path, "fox")
        assert [row.text for row in rows] == ["text"]
        assert reasons(rejected) == [
            ("en_page_ocr.json[1]", "broken_row"), ("en_page_ocr.json[2]", "broken_row"),
            ("en_page_ocr.json[3]", "broken_row"), ("en_pdf_png/b.png", "missing_label"),
        ]  # fmt: skip

    def test_publaynet(self, tmp_path):
        for name in ("P1_0", "P2_0"):
            image(tmp_path / f"val/{name}.png")
        value = {
            "images": [{"id": 1, "file_name": "P1_0.png", "width": 9, "height": 9}, {"id": 2}, 7],
            "annotations": [
                {"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4]},
                {"image_id": 2, "category_id": 1, "bbox": [1, 2, 3, 4]},
                {"image_id": 1, "category_id": 9, "bbox": [1, 2, 3, 4]},
                {"image_id": 1, "category_id": 1, "bbox": "x"},
            ],
            "categories": [{"id": 1, "name": "text"}],
        }
        write(tmp_path / "val.json", value)
        rows, rejected = read(tmp_path, "publaynet")
        assert [json.loads(row.text) for row in rows] == [[{"label": "text", "box": [1, 2, 4, 6]}]]
        assert reasons(rejected) == [
            ("val.json#", "broken_row"), ("val.json#2", "broken_row"),
            ("val.json#annotations[2]", "broken_row"), ("val.json#annotations[3]", "broken_row"),
            ("val/P2_0.png", "missing_label"),
        ]  # fmt: skip

    def test_docvqa(self, tmp_path):
        for name in ("a_1", "b_1", "c_1"):
            image(tmp_path / f"documents/{name}.png")
        entry = {"question": "What?", "image": "documents/a_1.png", "docId": 3, "answers": ["x"]}
        entries = [entry, {**entry, "image": "documents/b_1.png", "answers": []},
                   {**entry, "image": "/etc/passwd"}, None]  # fmt: skip
        write(tmp_path / "val_v1.0.json", {"data": entries})
        write(tmp_path / "train_v1.0.json", {"data": 5})
        rows, rejected = read(tmp_path, "docvqa")
        assert [row.text for row in rows] == ["x"]
        assert reasons(rejected) == [
            ("documents/c_1.png", "missing_label"), ("train_v1.0.json", "broken_row"),
            ("val_v1.0.json[1]", "no_answer"), ("val_v1.0.json[2]", "broken_row"),
            ("val_v1.0.json[3]", "broken_row"),
        ]  # fmt: skip


@pytest.mark.parametrize("content", ["[" * 9999, "\ufeff{}", "1" * 5000, '{"a": 1', "null"])
def test_json_of_any_kind_is_no_traceback(tmp_path, content):
    image(tmp_path / "p.jpg")
    write(tmp_path / "COCO_Text.json", content)
    with pytest.raises(UserError):
        read(tmp_path)


@pytest.mark.parametrize(
    "files",
    [{"result.json": {"images": [], "annotations": []}}, {"metadata.tsv": "file_name\ttext\n"},
     {"x.xml": "<TEI/>"}],
)  # fmt: skip
def test_unknown_layouts_are_refused_with_those_that_are_read(tmp_path, files):
    image(tmp_path / "p.jpg")
    for name, content in files.items():
        write(tmp_path / name, content)
    with pytest.raises(UserError, match=r"Label Studio JSON, PaddleOCR label lists or metadata"):
        read(tmp_path)


def test_xml_that_cannot_be_parsed_is_told_as_that(tmp_path):
    image(tmp_path / "p.png")
    write(tmp_path / "p.xml", "<PcGts><Page></PcGts>")
    with pytest.raises(UserError, match=r"p\.xml: not well-formed XML"):
        read(tmp_path)
