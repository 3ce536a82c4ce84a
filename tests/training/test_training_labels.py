"""Rows that cannot be learned are found before training, with reason and count."""

import pytest

from manifold_ocr.models.ctc.decode import (
    Vocabulary,
    audit_labels,
    decode_frames,
    frame_count,
    frames_needed,
    label_text,
    line_width,
)
from manifold_ocr.records import Sample

pytestmark = pytest.mark.torch


def sample(name: str, text: str) -> Sample:
    return Sample(id=name, document="d", corpus="c", subset="s", image="i.png", text=text)


def test_frames_needed_counts_a_blank_between_equal_characters() -> None:
    assert frames_needed([1, 2, 3]) == 3
    assert frames_needed([1, 1, 1]) == 5
    assert frames_needed([]) == 0


def test_audit_sorts_out_and_counts() -> None:
    rows = [sample("ok", "ab"), sample("unknown", "a€b€"), sample("long", "aa"), sample("no", " ")]
    audit = audit_labels(rows, [2, 9, 2, 5], Vocabulary(["blank", "a", "b"]))
    assert [row.id for row in audit.kept] == ["ok"]
    assert {row.source: row.reason for row in audit.rejected} == {
        "unknown": "unknown_character",
        "long": "label_longer_than_frames",
        "no": "empty_label",
    }
    assert audit.counts["rows"] == 4 == audit.counts["kept"] + len(audit.rejected)
    assert audit.details["missing_characters"] == {"€": 2}


def test_blank_is_no_character() -> None:
    words = Vocabulary(["b", "a", " "])
    assert words.encode("b") is None
    assert words.encode("a a") == [1, 2, 1]


def test_label_text_composes_and_folds_white_space() -> None:
    assert label_text(" e\u0301\u3000 x\n") == "\u00e9 x"


def test_greedy_decoding_joins_repeats_and_averages_peaks() -> None:
    import numpy as np

    best = np.array([0, 1, 1, 0, 1, 2, 0])
    probability = np.array([0.9, 0.5, 0.7, 1.0, 0.6, 0.8, 0.9], dtype=np.float32)
    found = decode_frames(best, probability, ["blank", "a", "b"])
    assert found.text == "aab"
    assert found.confidence == pytest.approx((0.7 + 0.6 + 0.8) / 3)
    assert found.vision_tokens == 7
    assert decode_frames(np.zeros(3, dtype=int), np.ones(3), ["blank"]).text == ""


def test_width_is_the_nearest_multiple_of_eight_and_bounded() -> None:
    assert line_width((96, 48)) == 96
    assert line_width((101, 48)) == 104
    assert line_width((1, 500)) == 8
    assert line_width((100_000, 10)) == 3200
    assert frame_count((96, 48)) == 12
