"""The captions of the contact sheet."""

import pytest

from manifold_ocr.data.card import TYPEFACE, _shown
from manifold_ocr.synthetic.fonts import covers


@pytest.mark.parametrize(
    "text", ["R² = 0.57", "据合同增加，全市", "naïve Größe £5", "Привет", "ひらがな"]
)
def test_the_typeface_shows_what_labels_hold(text):
    assert covers(TYPEFACE, text)


def test_a_caption_is_one_short_line_without_control_characters():
    assert _shown("first\nsecond\tthird") == "first / second third"
    assert len(_shown("x" * 500)) == 52
