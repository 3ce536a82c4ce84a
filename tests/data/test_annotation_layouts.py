"""Labels of annotation tools and of competitions: each text with its box, nothing lost silently."""

import json

import pytest
from corpora import image, read, reasons, write


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
