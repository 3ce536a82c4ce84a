"""TEDS, reading-order and olmOCR unit-test values that third-party code gave."""

import pytest
import reference_olmocr as olmocr

from goldens import Tally, load
from manifold_ocr.metrics import tables
from manifold_ocr.metrics.omnidocbench.evaluate import Placed, reading_order_distance

pytestmark = pytest.mark.real_data

ROWS = "table_and_order_goldens.json"
BARE = "<html><body>{}</body></html>"


def _teds(row):
    structure = "structure" in row["metric"]
    if row["metric"] == "normalised_reference_prediction":
        return [tables.normalize_table(row[side]) for side in ("reference", "prediction")]
    if "after normalized" in row["tool"]:
        scores = tables.table_scores(row["reference"], row["prediction"])
        return scores.teds_structure if structure else scores.teds
    return tables.teds(
        BARE.format(row["reference"]),
        BARE.format(row["prediction"]),
        structure_only=structure,
        tree_nodes="table_recognition_metric" in row["tool"],
    )


def _order(row):
    placed = [
        Placed(
            tuple(p if p != "" else None for p in positions),
            predicted if predicted != "" else None,
        )
        for positions, predicted in zip(row["reference"], row["prediction"], strict=True)
    ]
    found = reading_order_distance(placed)
    return None if found is None else found.edits / found.longest


def _equal(ours, theirs):
    if ours is None or theirs is None or isinstance(theirs, list):
        return ours == theirs
    return ours == pytest.approx(theirs, rel=0, abs=1e-9)


@pytest.mark.parametrize(
    ("category", "compute"),
    [("table", _teds), ("reading_order", _order)],
    ids=["table", "reading_order"],
)
def test_values(category, compute):
    tally = Tally(category)
    for row in load(ROWS):
        if row["category"] == category:
            ours = compute(row)
            tally.check(
                _equal(ours, row["value"]),
                f"{row['name']} {row['tool']} {row['metric']}: {ours!r}, not {row['value']!r}",
            )
    tally.finish()


def test_olmocr_unit_tests():
    tally = Tally("olmOCR page tests")
    for row in load("olmocr_unit_goldens.json"):
        passed = olmocr.passes(row["reference"], row["prediction"])
        tally.check(passed == row["value"], f"{row['name']}: {passed}, not {row['value']}")
    tally.finish()
