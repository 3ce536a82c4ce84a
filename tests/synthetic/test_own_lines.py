import json
import random
from pathlib import Path

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from PIL import Image, features

from manifold_ocr.data.readers.synthetic_text import SyntheticText
from manifold_ocr.data.registry import check_options, resolve
from manifold_ocr.errors import UserError
from manifold_ocr.files import sha256_tree
from manifold_ocr.synthetic import fonts
from manifold_ocr.synthetic.own_lines import OwnLines, legible, write_own_lines
from manifold_ocr.synthetic.own_texts import wrapped

WHERE = "params.yaml: corpora.archive"


def square_font(path, letters):
    """A font with a square for each letter; a space in `letters` gives an empty `x`."""
    pen, empty = TTGlyphPen(None), TTGlyphPen(None)
    pen.moveTo((100, 0))
    for point in ((100, 700), (500, 700), (500, 0)):
        pen.lineTo(point)
    pen.closePath()
    named = {f"g{ord(c):04x}": c for c in letters if c != " "} | {"blank": "x"}
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder([".notdef", *named])
    builder.setupCharacterMap({ord(c): name for name, c in named.items()})
    glyphs = dict.fromkeys([".notdef", *named], pen.glyph()) | {"blank": empty.glyph()}
    builder.setupGlyf(glyphs)
    builder.setupHorizontalMetrics(dict.fromkeys(glyphs, (600, 100)))
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": "Squares", "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    builder.save(path)


def draw(root, texts, name="out", language="de", **options):
    path = root / "texts"
    path.mkdir(exist_ok=True)
    for file, text in texts.items():
        (path / file).write_text(text, encoding="utf-8")
    config = OwnLines(**{"lines": 30, "workers": 1, **options})
    told = write_own_lines(root / name, path, config, language, WHERE, "CC0-1.0")
    rows = list(SyntheticText("archive").rows(root / name, {}))
    return rows, json.loads((root / name / "summary.json").read_text()), told


def test_as_many_lines_as_asked_for_from_all_over_the_texts(tmp_path):
    texts = {"a.txt": "".join(f"Letter {n}\n" for n in range(100)), "b.txt": "Bill 7\n\n  \n" * 20}
    rows, summary, told = draw(tmp_path, texts)
    assert (len(rows), summary["text_lines"], told) == (30, 120, [])
    assert {row.subset for row in rows} == {"a", "b"}
    assert sum(row.subset == "a" for row in rows) == 25  # 100 of 120 lines
    assert rows[0].text == "Letter 3"  # the first of 120 / 30 = 4 lines is skipped to
    assert {(row.language, row.license, row.split) for row in rows} == {("de", "CC0-1.0", None)}
    for row in rows:
        with Image.open(tmp_path / "out" / row.image) as image:
            assert image.mode == "L"
            assert image.width > image.height
            assert np.ptp(np.asarray(image).astype(int)) > 40


def test_few_texts_are_drawn_several_times_in_one_document(tmp_path):
    rows, _, _ = draw(tmp_path, {"a.txt": "One line\nOther line\n"}, lines=7)
    assert [row.text for row in rows].count("One line") == 3
    assert len({row.document for row in rows}) == 2, "equal texts share a split"
    images = {(tmp_path / "out" / row.image).read_bytes() for row in rows}
    assert len(images) == 7


def test_workers_and_a_second_run_change_no_byte(tmp_path):
    texts = {"a.txt": "".join(f"Line {n} of the archive\n" for n in range(210))}
    draw(tmp_path, texts, "one", lines=210, workers=1)
    draw(tmp_path, texts, "two", lines=210, workers=2)
    assert sha256_tree(tmp_path / "one") == sha256_tree(tmp_path / "two")
    draw(tmp_path, texts, "other", lines=210, workers=1, seed=4)
    assert sha256_tree(tmp_path / "one") != sha256_tree(tmp_path / "other")


def test_a_line_is_drawn_with_a_font_that_has_its_glyphs(tmp_path):
    (tmp_path / "fonts").mkdir()
    square_font(tmp_path / "fonts/latin.ttf", "ab")
    square_font(tmp_path / "fonts/greek.ttf", "αβ")
    (tmp_path / "fonts/broken.ttf").write_bytes(b"no font")
    texts = {"a.txt": "abba\nαββα\naβ\nab ж\naxa\n"}
    rows, summary, told = draw(tmp_path, texts, fonts=str(tmp_path / "fonts"), lines=8)
    assert {row.text for row in rows} == {"abba", "αββα"}
    assert summary["skipped"] == {"glyphs": 3}, "mixed fonts, no glyph, a glyph without ink"
    assert {"ж", "x"} <= set(summary["lacking"])
    assert summary["unreadable_fonts"] == ["broken.ttf"]
    assert "3 lines hold a character that no font has" in told
    assert any("U+0436" in sentence for sentence in told)


def test_controls_and_scripts_that_need_raqm_are_left_out_and_counted(tmp_path, monkeypatch):
    monkeypatch.setattr("manifold_ocr.synthetic.own_texts.features.check", lambda name: False)
    texts = {"a.txt": "fine\nwith \x07 bell\nשלום\nहिन्दी\nsoft\u00adhyphen\n"}
    rows, summary, _ = draw(tmp_path, texts, lines=3)
    assert {row.text for row in rows} == {"fine"}
    assert summary["skipped"] == {"control": 2, "shaping": 2}


@pytest.mark.skipif(not features.check("raqm"), reason="this Pillow has no raqm")
def test_text_from_the_right_is_drawn_from_the_right():
    """DejaVu Sans has Hebrew: the first letter of a word is the rightmost, and Arabic joins."""
    pen = fonts.Pen("dejavu-sans", 40, shaped=True)
    ink = [np.asarray(fonts.draw_run(text, pen, random.Random(1))) > 60 for text in ("אב", "ב")]
    word, last = (np.flatnonzero(mask.any(axis=0)) for mask in ink)
    lone = ink[1][:, last[0] : last[-1] + 1]
    left = ink[0][:, word[0] : word[0] + lone.shape[1]]
    assert (left == lone).mean() > 0.95, "the second letter is at the left"
    joined = np.asarray(fonts.draw_run("بب", pen, random.Random(1))) > 60
    assert joined.any(axis=0)[slice(*np.flatnonzero(joined.any(axis=0))[[0, -1]])].all()
    apart = fonts.draw_run("بب", fonts.Pen("dejavu-sans", 40), random.Random(1))
    assert joined.any(axis=0).sum() < (np.asarray(apart) > 60).any(axis=0).sum()


def test_own_texts_from_the_right_keep_their_logical_order(tmp_path):
    rows, summary, _ = draw(tmp_path, {"a.txt": "שלום עולם\n"}, lines=2)
    assert [row.text for row in rows] == ["שלום עולם"] * 2
    assert summary["skipped"] == {}


def test_own_paper_shows_and_print_stands_out_on_dark_and_light(tmp_path):
    (tmp_path / "paper").mkdir()
    Image.new("RGB", (300, 200), (60, 60, 60)).save(tmp_path / "paper/dark.png")
    (tmp_path / "paper/bad.png").write_bytes(b"\x89PNG no image")
    texts = {"a.txt": "A line of the archive\n"}
    rows, summary, told = draw(
        tmp_path, texts, backgrounds=str(tmp_path / "paper"), lines=6, degraded=0.0
    )
    assert summary["unreadable_backgrounds"] == ["bad.png"]
    assert told == ["1 backgrounds cannot be opened: bad.png"]
    for row in rows:
        with Image.open(tmp_path / "out" / row.image) as image:
            values = np.asarray(image).astype(int)
        assert abs(int(np.median(values)) - 60) <= 9  # 16 gray levels are kept
        assert values.max() >= 140


@pytest.mark.parametrize(
    ("setup", "options", "message"),
    [
        ("", {"path": "gone"}, r"archive.path: gone does not exist"),
        ("mkdir", {"path": "t"}, r"archive.path: t holds no .txt file"),
        ("empty", {"path": "t"}, r"no line can be drawn: the texts are empty"),
        ("latin1", {"path": "t"}, r"a.txt: not UTF-8 .*save it as UTF-8"),
        ("bell", {"path": "t"}, r"no line can be drawn: 1 lines hold a control character"),
        ("text", {"path": "t", "fonts": "gone"}, r"archive.fonts: gone does not exist"),
        ("text", {"path": "t", "fonts": "t"}, r"archive.fonts: t: holds no font"),
        ("font", {"path": "t", "fonts": "t"}, r"none of 1 fonts can be opened"),
        ("text", {"path": "t", "backgrounds": "gone"}, r"backgrounds: gone does not exist"),
        ("text", {"path": "t", "backgrounds": "t"}, r"backgrounds: t: holds no image"),
        ("text", {}, r"archive.path: name a text file"),
        ("text", {"path": "t", "lines": 0}, r"archive.lines"),
        ("text", {"path": "t", "font": "x"}, r"did you mean 'fonts'"),
        ("text", {"path": "t", "smallest": 50}, r"must not be over largest"),
        ("text", {"url": "https://example.org/x.zip"}, r"takes no url or repo"),
    ],
)
def test_bad_input_is_one_clear_error(tmp_path, monkeypatch, setup, options, message):
    monkeypatch.chdir(tmp_path)
    content = {"empty": b"\n \n", "latin1": "Müller".encode("latin-1"), "text": b"words\n",
               "bell": b"\x07\n", "font": b"words\n"}  # fmt: skip
    if setup:
        Path("t").mkdir()
    if setup in content:
        Path("t/a.txt").write_bytes(content[setup])
    if setup == "font":
        Path("t/a.ttf").write_bytes(b"none")
    with pytest.raises(UserError, match=message):
        SyntheticText("archive").fetch(tmp_path / "out", {"kind": "synthetic_text", **options})


def test_the_kind_is_known_and_its_options_are_checked():
    assert resolve("archive", {"kind": "synthetic_text", "path": "t"}).kind == "synthetic_text"
    check_options("archive", {"kind": "synthetic_text", "path": "t", "lines": 5})
    with pytest.raises(UserError, match="did you mean 'lines'"):
        check_options("archive", {"kind": "synthetic_text", "line": 5})


def test_lines_are_cut_at_spaces_and_count_full_width_twice():
    assert list(wrapped("one two  three\n", 7)) == ["one two", "three"]
    assert list(wrapped("a incomprehensible b", 8)) == ["a", "incompre", "hensible", "b"]
    assert list(wrapped("汉字汉字汉", 4)) == ["汉字", "汉字", "汉"]
    assert list(wrapped(" \t\n", 4)) == []


def test_print_that_drowned_is_not_legible():
    ink = np.zeros((20, 60), np.uint8)
    ink[5:15, 10:50] = 255
    clean = np.where(ink > 0, 30, 230).astype(np.uint8)
    assert legible(ink, clean)
    assert legible(ink, 255 - clean)
    assert not legible(ink, np.where(ink > 0, 200, 230).astype(np.uint8)), "too pale"
    half = clean.copy()
    half[5:15, 10:30] = 230
    assert not legible(ink, half), "half of the ink is gone"
    dirty = clean.copy()
    dirty[:, ::2] = 30
    assert not legible(ink, dirty), "the paper is as dark as the ink"


def test_faces_of_packages_are_found_as_before():
    assert fonts.load("caveat", 20).size == 25
    assert fonts.font_path("lato").name == "Lato-Regular.ttf"
