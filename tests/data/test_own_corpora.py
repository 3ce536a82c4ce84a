# ruff: noqa: E501 (fixtures are quoted as published)
"""Corpora of your own, a folder or a manifest, their languages, and which corpora are selected."""

import json

import pytest
from corpora import read, write
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from manifold_ocr.data.registry import resolve, select_corpora
from manifold_ocr.errors import UserError
from manifold_ocr.records import RawRow, language_tag


def image(path, size=(60, 40)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size, 255).save(path)


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
