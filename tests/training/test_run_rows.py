"""A run's rows are named as in the manifest section, and scored as the report will."""

from dataclasses import replace
from pathlib import Path

import pytest

from manifold_ocr.config import TrainConfig
from manifold_ocr.errors import UserError
from manifold_ocr.models.base import RunSpec
from manifold_ocr.records import Prediction, Sample
from manifold_ocr.training.run import select
from manifold_ocr.training.run_record import Scorer

ROW = Sample(
    id="1", document="1", corpus="mine", subset="forms", image="x", text="TOTAL 12", language="en"
)
ROWS = [
    ROW,
    replace(ROW, id="2", language="zh", subset="receipts"),
    replace(ROW, id="3", corpus="other", tags=("faded",)),
]


@pytest.mark.parametrize(
    ("names", "found"),
    [
        ({"include_languages": ("english",)}, ["1", "3"]),
        ({"include_languages": ("Chinese", "en")}, ["1", "2", "3"]),
        ({"include_subsets": ("mine.forms",)}, ["1"]),
        ({"include_subsets": ("receipts", "faded")}, ["2", "3"]),
        ({}, ["1", "2", "3"]),
    ],
)
def test_rows_are_named_as_in_the_manifest_section(names, found):
    rows = select(ROWS, TrainConfig(**names), ["line"], 0)
    assert [row.id for row in rows] == found


@pytest.mark.parametrize(
    ("rows", "config", "message"),
    [
        ([], {}, r"the validation split has no rows: raise manifest\.val_split"),
        (ROWS, {"include_languages": ("no",)}, "no validation rows left: none of 3 is of"),
    ],
)
def test_an_empty_validation_split_is_called_by_its_name(rows, config, message):
    with pytest.raises(UserError, match=message):
        select(rows, TrainConfig(**config), ["line"], 0, "validation")


@pytest.mark.parametrize(("profile", "cer"), [("nfc_ws", 0.625), ("nfc_ws+casefold", 0.0)])
def test_validation_scores_as_the_report_will(profile, cer, tmp_path: Path):
    """Five of the eight characters of TOTAL 12 differ in case alone."""
    from manifold_ocr.config import LoraConfig, ModelConfig

    spec = RunSpec(
        model=ModelConfig(id="x"),
        lora=LoraConfig(),
        train=TrainConfig(),
        base=tmp_path,
        image_root=tmp_path,
        profile=profile,
    )
    scorer = Scorer([ROW], tmp_path / "baseline", tmp_path / "results.json", spec, {})
    assert scorer([Prediction(id="1", text="total 12")], 1)["cer"] == cer
