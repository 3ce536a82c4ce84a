import json

import pytest

from manifold_ocr.errors import UserError
from manifold_ocr.gate import GateConfig, describe, judge
from manifold_ocr.ranking import Entry, beaten_in_pairs, foreign_entries, percent, rank, table


def _entry(name, cer, low, high):
    return Entry(
        name=name, kind="engine", source="x", by_subset={},
        values={"cer": cer, "cer_low": low, "cer_high": high},
    )  # fmt: skip


def test_overlapping_intervals_tie_and_disjoint_ones_do_not():
    entries = [
        _entry("c", 0.30, 0.28, 0.32),
        _entry("a", 0.10, 0.08, 0.12),
        _entry("b", 0.11, 0.09, 0.13),
        _entry("d", 0.31, 0.29, 0.33),
    ]
    assert [(r, e.name) for r, e in rank(entries)] == [(1, "a"), (1, "b"), (3, "c"), (3, "d")]
    assert rank([]) == []
    pairs = {("a", "b")}
    assert [(r, e.name) for r, e in rank(entries, pairs)] == [
        (1, "a"),
        (2, "b"),
        (3, "c"),
        (3, "d"),
    ]


def test_a_paired_interval_clear_of_zero_tells_adapter_and_base_apart():
    def difference(low, high):
        return {"difference": {"overall": {"cer": 0.0, "cer_low": low, "cer_high": high}}}

    assert beaten_in_pairs(difference(-0.02, -0.01)) == {("adapter", "base")}
    assert beaten_in_pairs(difference(0.01, 0.02)) == {("base", "adapter")}
    assert beaten_in_pairs(difference(-0.01, 0.01)) == set()


EVALUATION = {
    "difference": {
        "by_subset": {"uw3": {"cer": 0.03}, "receipts": {"cer": -0.2}, "blank": {}},
        "by_language": {"en": {"cer": 0.004, "cer_low": 0.001, "cer_high": 0.007}},
    }
}


def test_gate_refuses_a_subset_that_loses_more_than_a_point():
    config = GateConfig()
    verdicts = judge(EVALUATION, config)
    assert [v.group for v in verdicts if not v.passed] == ["uw3"]
    assert "uw3 +3.00 points" in describe(verdicts, config)


def test_gate_allows_a_named_subset_only():
    config = GateConfig(allow=("uw3",))
    verdicts = judge(EVALUATION, config)
    assert all(v.passed for v in verdicts)
    assert [v.group for v in verdicts if v.allowed] == ["uw3"]
    assert not all(v.passed for v in judge(EVALUATION, GateConfig(allow=("other",))))


def test_gate_needs_a_difference():
    with pytest.raises(UserError, match="no 'difference'"):
        judge({"base": {}}, GateConfig())


def test_a_submission_of_another_test_split_is_not_comparable(tmp_path):
    for name, digest in (("a", "x"), ("b", "y")):
        body = {"name": name, "manifest_sha256": digest, "overall": {"cer": 0.1}}
        (tmp_path / f"{name}.json").write_text(json.dumps(body))
    found = foreign_entries(tmp_path, "submission", "x")
    assert [(e.name, e.comparable) for e in found] == [("a", True), ("b", False)]
    (tmp_path / "c.json").write_text("{}")
    with pytest.raises(UserError, match=r"c\.json: needs 'name'"):
        foreign_entries(tmp_path, "submission", "x")


def test_cells_are_escaped_and_undefined_values_are_a_dash():
    assert percent({}, "cer") == "-"
    assert percent({"cer": 0.5, "cer_low": 0.25, "cer_high": 0.75}, "cer") == "50.00 [25.00, 75.00]"
    assert "a\\|b" in table(("x", "y"), [("a|b", "1")])
