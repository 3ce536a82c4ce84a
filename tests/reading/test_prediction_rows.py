"""One rule for each oddity of prediction files; the values are what the rules state."""

import json

import pytest

from manifold_ocr.errors import UserError
from manifold_ocr.reading.engines.predictions import import_predictions
from manifold_ocr.records import Sample


def sample(name, image=None, document=None):
    return Sample(id=name, document=document or name, corpus="c", subset="s",
                  image=image or f"{name}.png", text="truth")  # fmt: skip


ROWS = [sample("r0"), sample("r1"), sample("r2")]


def read(tmp_path, content, samples=ROWS, text_key=None):
    path = tmp_path / "pred.jsonl"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return import_predictions(path, samples, text_key)


def texts(imported):
    return [prediction.text for prediction in imported.predictions]


def test_two_texts_in_a_row_are_refused_unless_one_is_named(tmp_path):
    row = json.dumps({"id": "r0", "text": "the truth", "pred": "zzzz"})
    with pytest.raises(UserError, match=r"pred\.jsonl:1: 'text' and 'pred' .* --text-key"):
        read(tmp_path, row)
    assert texts(read(tmp_path, row, text_key="pred"))[0] == "zzzz"
    with pytest.raises(UserError, match="'reading' must be in the row"):
        read(tmp_path, row, text_key="reading")


@pytest.mark.parametrize(
    ("value", "expected"),
    [("null", ""), ("1871", "1871"), ("18.50", "18.50"),
     (r'"a\u0000b"', "a\0b"), ('"a\u2028b"', "a\u2028b")],
)  # fmt: skip
def test_texts(tmp_path, value, expected):
    assert texts(read(tmp_path, '{"id": "r0", "text": ' + value + "}\n"))[0] == expected


@pytest.mark.parametrize("value", ["true", "[1]", '{"a": 1}', r'"a\ud800b"'])
def test_what_is_no_text_is_refused(tmp_path, value):
    with pytest.raises(UserError, match=r"must be a text|surrogate"):
        read(tmp_path, '{"id": "r0", "text": ' + value + "}")


@pytest.mark.parametrize(
    ("value", "expected"),
    [("0.5", 0.5), ("1", 1.0), ("NaN", None), ("Infinity", None), ("-0.1", None), ("97", None),
     ('"0.5"', None), ("true", None), ("null", None)],
)  # fmt: skip
def test_confidences(tmp_path, value, expected):
    found = read(tmp_path, '{"id": "r0", "text": "a", "confidence": ' + value + "}")
    assert found.predictions[0].confidence == expected


LINES = '{"id": "r0", "text": "a"}\n{"id": "r1", "text": "b"}\n'


@pytest.mark.parametrize(
    "content",
    [
        LINES.encode("utf-8-sig"),
        LINES.encode("utf-16"),  # what PowerShell's > writes
        LINES.replace("\n", "\r\n").encode(),
        b'[{"id": "r0", "text": "a"},\n {"id": "r1", "text": "b"}]',
    ],
)
def test_files_in_other_dress(tmp_path, content):
    assert texts(read(tmp_path, content)) == ["a", "b", ""]


def test_duplicate_unknown_and_missing_rows_are_counted(tmp_path):
    rows = [("r0", "first"), ("r0", "last"), ("zz", "x"), ("r1", "b")]
    found = read(tmp_path, "\n".join(json.dumps({"id": i, "text": t}) for i, t in rows))
    assert texts(found) == ["last", "b", ""]
    assert found.counts() == {"rows": 4, "matched": 2, "unmatched": 1, "ambiguous": 0,
                              "repeated": 1, "missing": 1}  # fmt: skip


@pytest.mark.parametrize(
    "content",
    [b"", b"[" * 100_000, b'{"id": "r0", "text": "a"', b"\xff\xfe\x00", b"\xc3\x28", b"3"],
)
def test_broken_files_are_one_clear_error(tmp_path, content):
    with pytest.raises(UserError, match=r"pred\.jsonl"):
        read(tmp_path, content)


@pytest.mark.parametrize(
    "name",
    ["scans/Müller.PNG", "scans/Mu\u0308ller.png", "C:\\data\\scans\\Müller.jpg", "Müller",
     "file:///data/scans/M%C3%BCller.png"],
)  # fmt: skip
def test_names_are_compared_as_people_mean_them(tmp_path, name):
    rows = [sample("p1", "imgs/scans/Müller.PNG"), sample("p2", "imgs/scans/other.png")]
    found = read(tmp_path, json.dumps({"image_path": name, "text": "a"}), rows)
    assert texts(found) == ["a", ""]


def test_dots_in_names_are_no_suffix(tmp_path):
    rows = [sample("p1", "imgs/report.v1.2.png"), sample("p2", "imgs/report.v1.3.png")]
    lines = [{"image_path": "report.v1.2", "text": "a"}, {"image_path": "report.v1.9", "text": "b"}]
    found = read(tmp_path, "\n".join(map(json.dumps, lines)), rows)
    assert texts(found) == ["a", ""] and found.joined.unmatched == 1


def test_pages_of_a_pdf_are_told_apart(tmp_path):
    rows = [sample(f"doc#page={n}", "doc.pdf") for n in (1, 2)]
    lines = [{"image": f"scans/doc.pdf#page={n}", "text": f"page {n}"} for n in (2, 1)]
    assert texts(read(tmp_path, "\n".join(map(json.dumps, lines)), rows)) == ["page 1", "page 2"]
