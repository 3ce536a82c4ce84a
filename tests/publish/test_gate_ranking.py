import json

import pytest

from manifold_ocr.config import GateConfig
from manifold_ocr.errors import UserError
from manifold_ocr.evaluation.gate import describe, judge
from manifold_ocr.evaluation.markdown import interval, md_table
from manifold_ocr.publish.leaderboard import Systems, page
from manifold_ocr.publish.ranking import (
    Entry,
    beaten_in_pairs,
    entries_of,
    foreign_entries,
    own_entries,
    rank,
    summary,
)


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
    found = foreign_entries(tmp_path, "submission", "x", {})
    assert [(e.name, e.comparable) for e in found] == [("a", True), ("b", False)]
    (tmp_path / "c.json").write_text("{}")
    with pytest.raises(UserError, match=r"c\.json: needs 'name'"):
        foreign_entries(tmp_path, "submission", "x", {})


def test_cells_are_escaped_and_undefined_values_are_a_dash():
    assert interval({}, "cer") == "-"
    assert (
        interval({"cer": 0.5, "cer_low": 0.25, "cer_high": 0.75}, "cer") == "50.00 [25.00, 75.00]"
    )
    assert "a\\|b" in md_table(("x", "y"), [("a|b", "1")])


def _values(n, cer):
    return {"n": n, "cer": cer, "cer_low": cer - 0.01, "cer_high": cer + 0.01}


RUN = {
    "adapter": {"overall": _values(100, 0.10), "by_granularity": {"line": _values(100, 0.10)}},
    "base": {"overall": _values(100, 0.12), "by_granularity": {"line": _values(100, 0.12)}},
    "difference": {"overall": {"cer": -0.02, "cer_low": -0.03, "cer_high": -0.01}},
    "test_rows": {"line": 100, "page": 10},
    "predictions_sha256": {"adapter": "now", "base": "same"},
    "imported": {
        "deepseek-ocr": {
            "overall": _values(10, 0.2),
            "by_granularity": {"page": _values(10, 0.2)},
            "import": {"rows": 12, "matched": 9, "unmatched": 2, "repeated": 1, "missing": 1},
        }
    },
}
PAIR = {"n": 50, "theirs": 0.3, "ours": 0.1, "difference": 0.2,
        "difference_low": 0.1, "difference_high": 0.3}  # fmt: skip


def _board(entries):
    ranked = [
        place
        for granularity in ("line", "page")
        for place in rank([e for e in entries if e.granularity == granularity and not e.partial])
    ]
    systems = Systems(ranked=ranked, partial=[e for e in entries if e.partial])
    return systems, page("t", systems, RUN, {}, [], GateConfig())


def test_lines_and_pages_are_ranked_apart_and_imports_stand_beside_ours():
    entries = own_entries(RUN)
    assert [(e.name, e.granularity, e.partial) for e in entries] == [
        ("adapter", "line", False), ("base", "line", False), ("deepseek-ocr", "page", False),
    ]  # fmt: skip
    systems, text = _board(entries)
    lines, pages = text.index("## Ranking: lines"), text.index("## Ranking: whole pages")
    assert lines < text.index("| adapter | 1 |") < pages < text.index("| deepseek-ocr | 1 |")
    assert "| deepseek-ocr | 12 | 9 | 2 | 0 | 1 | 1 |" in text
    assert summary(systems.ranked, [], [])["entries"][2]["granularity"] == "page"


def test_a_system_that_read_some_rows_is_shown_with_their_number_and_not_ranked():
    value = {"overall": _values(50, 0.01), "by_granularity": {"line": _values(50, 0.01)},
             "paired": {"adapter": PAIR}}  # fmt: skip
    entries = own_entries(RUN) + entries_of("few", "engine", "x", value, RUN["test_rows"])
    systems, text = _board(entries)
    assert "few" not in [entry.name for _, entry in systems.ranked]
    assert "| few | engine | 50 of 100 lines | 1.00" in text
    assert "| few | adapter | 50 | 30.00 | 10.00 | 20.00 [10.00, 30.00] |" in text
    assert summary(systems.ranked, systems.partial, [])["partial"][0]["test_rows"] == 100


def test_comparisons_with_predictions_that_are_gone_are_dropped(tmp_path):
    body = {"name": "e", "manifest_sha256": "x", "overall": _values(100, 0.3),
            "by_granularity": {"line": _values(100, 0.3)},
            "paired": {"adapter": PAIR, "base": PAIR},
            "predictions_sha256": {"adapter": "before", "base": "same"}}  # fmt: skip
    (tmp_path / "e.json").write_text(json.dumps(body))
    (entry,) = foreign_entries(tmp_path, "engine", "x", RUN)
    assert set(entry.pairs) == {"base"}
    assert beaten_in_pairs(RUN, [entry]) == {("adapter", "base"), ("base", "e")}
    worse = {**PAIR, "difference_low": -0.2, "difference_high": -0.1}
    (tmp_path / "e.json").write_text(json.dumps({**body, "paired": {"base": worse}}))
    assert ("e", "base") in beaten_in_pairs(RUN, foreign_entries(tmp_path, "engine", "x", RUN))


def test_a_submission_without_groups_counts_as_lines():
    (entry,) = entries_of("s", "submission", "x", {"overall": _values(100, 0.1)}, {"line": 100})
    assert (entry.granularity, entry.partial) == ("line", False)
