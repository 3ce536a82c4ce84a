"""Rehearsal lines follow the languages that were chosen to train on."""

import pytest

from manifold_ocr.config import TrainConfig
from manifold_ocr.training.run import rehearsal_languages, rehearsal_rows

pytestmark = pytest.mark.torch


@pytest.mark.parametrize(
    ("chosen", "languages"),
    [
        ((), ("en", "zh")),
        (("zh",), ("zh",)),
        (("chinese",), ("zh",)),
        (("simplified_chinese",), ("zh",)),
        (("english", "zh"), ("en", "zh")),
        (("de",), ("en", "zh")),  # there is no German rehearsal text
    ],
)
def test_the_languages_are_those_that_were_chosen(chosen, languages):
    assert rehearsal_languages(TrainConfig(include_languages=chosen)) == languages


def test_an_adapter_for_chinese_rehearses_chinese(tmp_path, monkeypatch):
    monkeypatch.setenv("MANIFOLD_OCR_CACHE", str(tmp_path))
    config = TrainConfig(include_languages=("chinese",), rehearsal=0.5)
    drawn = rehearsal_rows(config, 6)
    assert [row.language for row in drawn] == ["zh"] * 6
