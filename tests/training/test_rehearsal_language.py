"""Rehearsal lines follow the languages that were chosen to train on."""

import importlib
import sys

import pytest

from manifold_ocr.config import TrainConfig
from manifold_ocr.training.run import imported_beside, rehearsal_languages, rehearsal_rows

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


def test_a_module_is_imported_beside_and_its_error_is_left_to_its_user(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "slow_library.py").write_text("FACT = 12\n")
    (tmp_path / "broken_library.py").write_text("raise ImportError('half installed')\n")
    with imported_beside("slow_library"):
        pass
    assert sys.modules["slow_library"].FACT == 12
    with imported_beside("broken_library"):
        pass
    with pytest.raises(ImportError, match="half installed"):
        importlib.import_module("broken_library")
    monkeypatch.delitem(sys.modules, "slow_library")
