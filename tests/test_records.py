import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifold_ocr.errors import UserError
from manifold_ocr.records import Prediction, Sample, from_mapping, read_samples, to_json, write_rows

texts = st.text(st.characters(codec="utf-8"), max_size=40)


@given(texts, texts, st.lists(texts, max_size=3), st.none() | st.tuples(*[st.floats(0, 1e6)] * 4))
def test_a_row_survives_its_json(identity, text, tags, box):
    row = Sample(
        id=identity, document="d", corpus="c", subset="s", image="i.png", text=text,
        tags=tuple(tags), box=box,
    )  # fmt: skip
    line = to_json(row)
    assert "\n" not in line
    assert from_mapping(Sample, json.loads(line), "here") == row


def test_key_order_is_stable():
    keys = list(json.loads(to_json(Prediction(id="a", text="b"))))
    assert keys == ["id", "text", "confidence", "vision_tokens"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", r"rows\.jsonl:2: not valid JSON"),
        ("[]", r"rows\.jsonl:2: a row must be a JSON object, not list"),
        ('{"id": "x"}', r"rows\.jsonl:2: key 'corpus' is missing"),
        ('{"id": "x", "txet": 1}', r"rows\.jsonl:2: unknown key 'txet'"),
    ],
)
def test_a_broken_row_is_named_with_its_line(tmp_path, line, message):
    path = tmp_path / "rows.jsonl"
    row = Sample(id="a", document="d", corpus="c", subset="s", image="i.png", text="t")
    path.write_text(f"{to_json(row)}\n{line}\n")
    with pytest.raises(UserError, match=message):
        list(read_samples(path))


def test_wrong_encoding_is_named(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes("é".encode("latin-1"))
    with pytest.raises(UserError, match="not UTF-8"):
        list(read_samples(path))


def test_rows_are_counted(tmp_path):
    rows = [Prediction(id=str(i), text="") for i in range(3)]
    assert write_rows(tmp_path / "p.jsonl", rows) == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [({"tags": 5}, "'tags' must be a list of texts"), ({"tags": "book"}, "'tags' must be a list"),
     ({"box": "abcd"}, "'box' must be"), ({"box": [0, 0, 9]}, "'box' must be"),
     ({"box": [0, 0, float("nan"), 9]}, "'box' must be"), ({"width": "wide"}, "'width' must be"),
     ({"frame": -1}, "'frame' must be"), ({"language": None}, "'language' must be a string"),
     ({"text": "half \ud800"}, "surrogate")],
)  # fmt: skip
def test_values_of_a_wrong_kind_are_named_with_their_row(tmp_path, change, message):
    path = tmp_path / "rows.jsonl"
    row = {"id": "a", "document": "d", "corpus": "c", "subset": "s", "image": "i.png", "text": "t"}
    path.write_text(json.dumps({**row, **change}))
    with pytest.raises(UserError, match=rf"rows\.jsonl:1: .*{message}"):
        list(read_samples(path))


@pytest.mark.parametrize("line", ["[" * 100_000, '{"id": ' + "9" * 5000 + "}"])
def test_json_without_end_is_one_line(tmp_path, line):
    path = tmp_path / "rows.jsonl"
    path.write_text(line)
    with pytest.raises(UserError, match=r"rows\.jsonl:1: (JSON nested|not valid)"):
        list(read_samples(path))


def test_a_byte_order_mark_is_no_part_of_the_first_row(tmp_path):
    path = tmp_path / "rows.jsonl"
    row = Sample(id="a", document="d", corpus="c", subset="s", image="i.png", text="t")
    path.write_text(to_json(row), encoding="utf-8-sig")
    assert list(read_samples(path)) == [row]
