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


class TestCocoText:
    def anns(self, tmp_path, anns, imgs=None):
        image(tmp_path / "p.jpg")
        imgs = imgs or {"1": {"id": 1, "file_name": "p.jpg", "set": "train"}}
        write(tmp_path / "COCO_Text.json", {"imgs": imgs, "anns": anns})
        return read(tmp_path)

    def ann(self, **more):
        return {"image_id": 1, "bbox": [80, 100, 180, 44], "utf8_string": "one",
                "legibility": "legible", "language": "english", **more}  # fmt: skip

    @pytest.mark.parametrize(
        ("stated", "tag"),
        [("english", "en"), ("not english", "und"), ("non-english", "und"), ("na", "und"),
         (None, "und"), (["english"], "und"), ("klingonisch", "und")],
    )  # fmt: skip
    def test_its_own_language_values(self, tmp_path, stated, tag):
        rows, rejected = self.anns(tmp_path, {"1": self.ann(language=stated)})
        assert [row.language for row in rows] == [tag] and not rejected

    def test_illegible_and_broken_annotations_are_told_one_by_one(self, tmp_path):
        rows, rejected = self.anns(
            tmp_path,
            [self.ann(id=1), self.ann(id=2, utf8_string="."), None,
             self.ann(id=4, bbox=[1, 2, -3, 4]), self.ann(id=5, utf8_string=["x"]),
             self.ann(id=6, bbox={"counts": "x"}),
             self.ann(id=7, image_id=99), self.ann(id=8, legibility="illegible")],
        )  # fmt: skip
        assert [(row.text, row.box, row.split) for row in rows] == [
            ("one", (80, 100, 260, 144), "train")
        ]
        assert reasons(rejected) == [
            ("COCO_Text.json#2", "unreadable_text"), ("COCO_Text.json#4", "broken_row"),
            ("COCO_Text.json#5", "broken_row"), ("COCO_Text.json#6", "broken_row"),
            ("COCO_Text.json#7", "broken_row"), ("COCO_Text.json#8", "empty_text"),
            ("COCO_Text.json#[2]", "broken_row"),
        ]  # fmt: skip

    def test_images_without_a_name_or_annotation_are_counted(self, tmp_path):
        image(tmp_path / "other.jpg")
        rows, rejected = self.anns(tmp_path, {"1": self.ann()}, {"1": {"id": 1}})
        assert not rows
        assert reasons(rejected) == [
            ("COCO_Text.json#1", "broken_row"), ("other.jpg", "missing_label"),
            ("p.jpg", "missing_label"),
        ]  # fmt: skip

    @pytest.mark.parametrize("parts", [1, 3])
    def test_a_listed_image_without_annotations_is_counted(self, tmp_path, parts):
        image(tmp_path / "blank.jpg")
        image(tmp_path / "p.jpg")
        imgs = {"1": {"id": 1, "file_name": "p.jpg"}, "2": {"id": 2, "file_name": "blank.jpg"}}
        write(tmp_path / "COCO_Text.json", {"imgs": imgs, "anns": {"1": self.ann()}})
        rows, rejected = read(tmp_path, parts=parts)
        assert [row.image for row in rows] == ["p.jpg"]
        assert reasons(rejected) == [("blank.jpg", "missing_label")]


class TestLabelStudio:
    def result(self, key, kind, **value):
        return {"id": key, "type": kind, "value": value, "original_width": 9, "original_height": 9}

    def test_boxes_in_percent_with_the_text_of_the_same_id(self, tmp_path):
        image(tmp_path / "scan.png", (200, 100))
        image(tmp_path / "other.png", (200, 100))
        box = {"x": 10, "y": 10, "width": 50, "height": 20, "rotation": 0}
        result = [
            self.result("a", "rectangle", **box),
            self.result("a", "textarea", text=["Alpha one"], **box),
            self.result("a", "labels", labels=["Text"], **box),
            self.result("b", "polygon", points=[[0, 0], [10, 0], [10, 50]]),
            self.result("b", "textarea", text=["Bravo"], points=[[0, 0]]),
            self.result("c", "rectangle", **box),
            self.result("d", "textarea", text=["turned"], **{**box, "rotation": 90}),
            self.result("e", "textarea", text=["the whole", "image"]),
        ]
        tasks = [
            {"data": {"ocr": "/data/upload/1/3f2a9c1b-scan.png"},
             "annotations": [{"was_canceled": True, "result": []}, {"result": result}]},
            {"data": {"ocr": "s3://bucket/lost.png"}, "annotations": []},
            {"data": {"ocr": "/data/local-files/?d=other.png"}, "annotations": []},
        ]  # fmt: skip
        write(tmp_path / "export.json", tasks)
        rows, rejected = read(tmp_path)
        assert [(row.text, row.box) for row in rows] == [
            ("Alpha one", (20, 10, 120, 30)),
            ("Bravo", (0, 0, 20, 50)),
            ("turned", (0, 10, 20, 110)),
            ("the whole\nimage", None),
        ]
        assert reasons(rejected) == [
            ("export.json[0]#c", "empty_text"), ("export.json[1]", "missing_image"),
            ("export.json[2]", "missing_label"),
        ]  # fmt: skip

    def test_json_min(self, tmp_path):
        image(tmp_path / "scan.png", (200, 100))
        box = {"x": 10, "y": 10, "width": 50, "height": 20}
        task = {"ocr": "/data/upload/scan.png", "bbox": [box, box], "transcription": ["a", "b"]}
        write(tmp_path / "min.json", [task])
        assert [row.text for row in read(tmp_path)[0]] == ["a", "b"]


class TestPaddle:
    def test_recognition_lists(self, tmp_path):
        for name in ("train/w0.png", "train/w1.png", "test/w0.png"):
            image(tmp_path / name, (40, 20))
        write(tmp_path / "rec_gt_train.txt", "train/w0.png\tWord 0\ntrain/gone.png\tx\nno tab\n")
        write(tmp_path / "rec_gt_test.txt", "test/w0.png\t###\n")
        rows, rejected = read(tmp_path)
        assert [(row.image, row.text, row.split) for row in rows] == [
            ("train/w0.png", "Word 0", "train_val")
        ]
        assert reasons(rejected) == [
            ("rec_gt_test.txt:1", "unreadable_text"), ("rec_gt_train.txt:2", "missing_image"),
            ("rec_gt_train.txt:3", "broken_row"), ("train/w1.png", "missing_label"),
        ]  # fmt: skip

    def test_icdars_lists_of_words(self, tmp_path):
        """Task 2.3 of https://rrc.cvc.uab.es/?ch=2&com=tasks: `image, "text"`, with escapes."""
        for name in ("word_1.png", "word_2.png", "word_3.png"):
            image(tmp_path / name, (40, 20))
        write(
            tmp_path / "gt.txt",
            'word_1.png, "Tiredness"\r\nword_2.png, "A, \\"B\\" \\\\"\r\n'
            'word_9.png, "x"\r\nword\r\n',
        )
        rows, rejected = read(tmp_path)
        assert [(row.image, row.text) for row in rows] == [
            ("word_1.png", "Tiredness"), ("word_2.png", 'A, "B" \\')
        ]  # fmt: skip
        assert reasons(rejected) == [
            ("gt.txt:3", "missing_image"), ("gt.txt:4", "broken_row"),
            ("word_3.png", "missing_label"),
        ]  # fmt: skip

    def test_detection_labels(self, tmp_path):
        image(tmp_path / "p 1.jpg")
        points = [[80, 100], [260, 100], [260, 144], [80, 144]]
        regions = [
            {"transcription": "Alpha one", "points": points, "difficult": False},
            {"transcription": "###", "points": points, "difficult": True},
            {"transcription": "x"},
        ]
        write(tmp_path / "Label.txt", f"folder/p 1.jpg\t{json.dumps(regions)}\n")
        write(tmp_path / "fileState.txt", "/home/x/folder/p 1.jpg\t1\n")  # PPOCRLabel's notes
        rows, rejected = read(tmp_path)
        assert [(row.text, row.box) for row in rows] == [
            ("Alpha one", (80, 100, 260, 144)), ("Alpha one", None)
        ]  # fmt: skip
        assert reasons(rejected) == [
            ("Label.txt:1#1", "unreadable_text"), ("Label.txt:1#2", "broken_row")
        ]  # fmt: skip

    def test_empty_lists_and_broken_json_are_counted(self, tmp_path):
        for name in ("a.png", "b.png", "c.png"):
            image(tmp_path / name)
        deep, long = "[{" + '"a":[' * 100_000, '[{"x": ' + "9" * 5000 + "}]"
        write(tmp_path / "Label.txt", f"a.png\t[]\nb.png\t{deep}\nc.png\t{long}\n")
        rows, rejected = read(tmp_path)
        assert not rows
        assert reasons(rejected) == [
            ("Label.txt:1", "missing_label"), ("Label.txt:2", "broken_row"),
            ("Label.txt:3", "broken_row"),
        ]  # fmt: skip


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


class TestIcdar:
    def test_official_folders_match_inside_their_split(self, tmp_path):
        for split, folder in (
            ("training", "ch4_training_localization_transcription_gt"),
            ("test", "Challenge4_Test_Task1_GT"),
        ):
            image(tmp_path / f"ch4_{split}_images/img_1.jpg")
            write(tmp_path / folder / "gt_img_1.txt", f"80,100,190,100,190,144,80,144,{split}\n")
        write(tmp_path / "Challenge4_Test_Task1_GT/gt_img_9.txt", "1,1,2,1,2,2,1,2,x\n")
        rows, rejected = read(tmp_path, "icdar2015")
        assert [(row.split, row.text) for row in rows] == [
            ("test", "test"), ("train_val", "training")
        ]  # fmt: skip
        assert reasons(rejected) == [("Challenge4_Test_Task1_GT/gt_img_9.txt", "missing_image")]

    def test_files_of_2013_in_their_official_folders(self, tmp_path):
        """The formats are those of https://rrc.cvc.uab.es/?ch=2&com=tasks, lines of their files."""
        image(tmp_path / "Challenge2_Training_Task12_Images/100.jpg")
        image(tmp_path / "Challenge2_Test_Task12_Images/img_1.jpg")
        write(
            tmp_path / "Challenge2_Training_Task1_GT/gt_100.txt",
            '158 128 411 181 "Footpath"\r\n443 128 501 169 "To"\r\n1 2 3 4 Colchester\r\n',
        )
        write(
            tmp_path / "Challenge2_Test_Task1_GT/gt_img_1.txt",
            '38, 43, 920, 215, "Tiredness"\n0, 699, 77, 830, "say \\"A, B\\" \\\\ 5"\n'
            '1, 2, 3, 4, "###"\n5, 6, "C"\n10, 20, 30, 40, 50, 60, 70, 80, "kept"\n',
        )
        rows, rejected = read(tmp_path, "icdar2015")
        assert [(row.split, row.text, row.box) for row in rows] == [
            ("test", "Tiredness", (38, 43, 920, 215)),
            ("test", 'say "A, B" \\ 5', (0, 699, 77, 830)),
            ("test", '"kept"', (10, 20, 70, 80)),
            ("train_val", "Footpath", (158, 128, 411, 181)),
            ("train_val", "To", (443, 128, 501, 169)),
        ]
        assert reasons(rejected) == [
            ("Challenge2_Test_Task1_GT/gt_img_1.txt:3", "unreadable_text"),
            ("Challenge2_Test_Task1_GT/gt_img_1.txt:4", "broken_row"),
            ("Challenge2_Training_Task1_GT/gt_100.txt:3", "broken_row"),
        ]
        assert '`38, 43, 920, 215, "Word"`' in rejected[-1].detail

    def test_ambiguous_stems_are_refused(self, tmp_path):
        image(tmp_path / "latest/img_1.jpg")
        for folder in ("task1", "task4"):
            write(tmp_path / folder / "gt_img_1.txt", "1,1,9,1,9,9,1,9,x\n")
        rows, rejected = read(tmp_path, "icdar2015")
        assert not rows and reasons(rejected) == [("latest/img_1.jpg", "ambiguous_label")]

    def test_sroie_suffixes_and_companions_without_image(self, tmp_path):
        image(tmp_path / "img/X1(1).JPG")
        write(
            tmp_path / "box/X1(1).TXT", "80,100,239,100,239,144,80,144,TOTAL, 5\n1,1,2,1,2,2,1,2,\n"
        )
        write(tmp_path / "box/Z.csv", "1,1,9,1,9,9,1,9,x\n")
        write(tmp_path / "key/X1(1).json", {"company": "A", "date": None})
        rows, rejected = read(tmp_path, "icdar_sroie")
        assert [row.text for row in rows] == ["TOTAL, 5", "", "TOTAL, 5", '{"company": "A"}']
        assert reasons(rejected) == [("box/Z.csv", "missing_image")]

    def test_empty_label_files_are_counted(self, tmp_path):
        image(tmp_path / "img_1.jpg")
        write(tmp_path / "gt_img_1.txt", "\n")
        assert reasons(read(tmp_path, "icdar2015")[1]) == [("gt_img_1.txt", "empty_text")]
        image(tmp_path / "sroie/img/X1.jpg")
        write(tmp_path / "sroie/box/X1.csv", "")
        found = read(tmp_path / "sroie", "icdar_sroie")
        assert (found[0], reasons(found[1])) == ([], [("box/X1.csv", "empty_text")])


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
