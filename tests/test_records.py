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
