"""The gate: groups that are worse by more than the limit are refused by name."""

import pytest

from manifold_ocr.config import GateConfig, MonitorConfig
from manifold_ocr.errors import UserError
from manifold_ocr.evaluation.gate import describe, judge, refused
from manifold_ocr.evaluation.markdown import CLASSES, edits, interval, md_table
from manifold_ocr.metrics.paired import Comparison, document_sums
from manifold_ocr.metrics.row_score import RowScore

RULE = MonitorConfig()


def row(document, distance, subset):
    return RowScore(
        id=document, document=document, corpus="c", subset=subset, language="en",
        granularity="line", task="transcribe", reference_characters=50, substitutions=distance,
    )  # fmt: skip


def evaluation(adapter, base):
    def rows(errors_by_subset):
        return [
            row(f"{subset}{n}", errors, subset)
            for subset, errors_of in errors_by_subset.items()
            for n, errors in enumerate(errors_of)
        ]

    return {
        "documents": {"adapter": document_sums(rows(adapter)), "base": document_sums(rows(base))}
    }


def test_the_gate_refuses_a_subset_that_is_worse_and_names_what_may_be_chance():
    base = {"uw3": [1] * 12, "receipts": [9] * 12, "odd": [1] * 4}
    adapter = {"uw3": [3, 2] * 6, "receipts": [1] * 12, "odd": [5] * 4}
    found = judge(evaluation(adapter, base), RULE)
    assert [item.name for item in refused(found, GateConfig())] == ["uw3"]
    said = describe(found, GateConfig())
    assert "REFUSED" in said and "uw3 +3.00 points" in said
    allowed = GateConfig(allow=("uw3",))
    assert refused(found, allowed) == []
    assert "odd +8.00 (4 documents, fewer than 5)" in describe(found, allowed)
    assert refused(found, GateConfig(max_loss=0.05)) == []


def test_the_gate_needs_sums_per_document():
    with pytest.raises(UserError, match=r"no sums per document of 'adapter'.*dvc repro evaluate"):
        judge({"base": {}}, RULE)


def test_cells_are_escaped_and_undefined_values_are_a_dash():
    assert interval({}, "cer") == "-"
    values = {"cer": 0.5, "cer_low": 0.25, "cer_high": 0.75}
    assert interval(values, "cer") == "50.00 [25.00, 75.00]"
    counts = {f"{kind}_{name}": n for n, kind in enumerate(("substitutions", "insertions",
              "deletions"), 1) for name in CLASSES}  # fmt: skip
    assert edits(counts) == ("1 + 2 + 3",) * 5 and edits({"substitutions_cjk": 1}) == ("-",) * 5
    assert "a\\|b" in md_table(("x", "y"), [("a|b", "1")])
    assert Comparison(name="x").verdict == "not judged"
