"""Spaces apart, errors by class, words: against a plain dynamic program and counts by hand."""

import unicodedata
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manifold_ocr.config import EvaluateConfig
from manifold_ocr.metrics import edit
from manifold_ocr.metrics.score import compare, score_rows, summarize
from manifold_ocr.records import Prediction, Sample

CONFIG = EvaluateConfig(metric_tokenizer="whitespace", bootstrap_samples=50)
KINDS = ("substitutions", "deletions", "insertions")


def rows_of(*pairs):
    samples = [
        Sample(id=f"s{k}", document=f"d{k}", corpus="c", subset="receipts", image="x.png",
               language="en", text=reference)
        for k, (reference, _) in enumerate(pairs)
    ]  # fmt: skip
    said = [Prediction(id=f"s{k}", text=prediction) for k, (_, prediction) in enumerate(pairs)]
    return score_rows(samples, said, CONFIG)


def overall(*pairs):
    return summarize(rows_of(*pairs), CONFIG)["overall"]


def plain_distance(a, b):
    """The textbook table, row by row."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        previous, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (x != y))
    return row[-1]


def test_lost_and_invented_spaces_are_told_apart():
    # two of four spaces are kept, two are lost, one is invented together with a letter
    values = overall(
        ("TOTAL SALES 12.50", "TOTALSALES 12.50"), ("red cat", "red cat x"), ("big car", "bigcar")
    )
    assert (values["reference_spaces"], values["predicted_spaces"]) == (4, 3)
    assert values["matched_spaces"] == 2
    assert values["space_recall"] == pytest.approx(2 / 4)
    assert values["space_precision"] == pytest.approx(2 / 3)
    assert values["space_f1"] == pytest.approx(4 / 7)
    assert values["deletions_spaces"] == 2
    assert values["insertions_spaces"] == 1 and values["insertions_letters"] == 1
    assert values["space_error_share"] == pytest.approx(3 / 4)
    assert values["cer_without_spaces"] == pytest.approx(1 / (15 + 6 + 6))
    assert values["exact_match_without_spaces"] == pytest.approx(2 / 3)


def test_a_space_read_as_a_letter_or_the_other_way_is_an_error_of_the_spaces():
    values = overall(("ab cd", "abxcd"), ("12/34", "12 34"))
    assert values["substitutions_spaces"] == 1  # the reference's space
    assert values["substitutions_punctuation"] == 1
    assert values["space_recall"] == 0 == values["space_precision"]
    assert values["space_error_share"] == 1


def test_errors_are_counted_by_the_class_of_their_character():
    values = overall(("Aé9,汉カ한 €", "Bé8.字ヵ글 $"), ("x1 日", ""), ("", "y2 日!"))
    found = {k: values[f"substitutions_{k}"] for k in edit.CLASSES}
    assert found == {"letters": 1, "digits": 1, "punctuation": 2, "spaces": 0, "cjk": 3}
    found = {k: values[f"deletions_{k}"] for k in edit.CLASSES}
    assert found == {"letters": 1, "digits": 1, "punctuation": 0, "spaces": 1, "cjk": 1}
    found = {k: values[f"insertions_{k}"] for k in edit.CLASSES}
    assert found == {"letters": 1, "digits": 1, "punctuation": 1, "spaces": 1, "cjk": 1}


def test_words_match_exactly_and_once_each():
    # SROIE task 2: hits over words of the reference and over words that were read
    values = overall(("TOTAL 5.00 5.00 RM", "TOTAL 5.00 5,00 rm RM"))
    assert (values["matched_words"], values["predicted_words"]) == (3, 5)
    assert values["word_recall"] == pytest.approx(3 / 4)
    assert values["word_precision"] == pytest.approx(3 / 5)
    assert values["word_f1"] == pytest.approx(2 / 3)


def test_a_text_without_spaces_leaves_their_rates_undefined():
    values = summarize(rows_of(("abc", "abd"), ("de", "de")), CONFIG)
    assert "space_recall" not in values["overall"] and "space_precision" not in values["overall"]
    assert {"space_recall", "space_precision"} <= set(values["undefined"]["overall"].split(", "))


def test_differences_are_paired():
    adapter = rows_of(("a b", "a b"), ("c d", "cd"))
    base = rows_of(("a b", "ab"), ("c d", "cd"))
    found = compare(adapter, base, CONFIG)["overall"]
    assert found["space_recall"] == pytest.approx(1 / 2)
    assert found["cer_without_spaces"] == 0
    assert {"space_recall_low", "space_recall_high", "word_f1"} <= found.keys()


ALPHABET = "aB1,. 汉あ"


@settings(max_examples=150, deadline=None)
@given(st.text(ALPHABET, max_size=12), st.text(ALPHABET, max_size=12))
def test_classes_add_up_and_hits_are_common(reference, prediction):
    (row,) = rows_of((reference, prediction))
    a, b = " ".join(reference.split()), " ".join(prediction.split())
    by_kind = {k: sum(getattr(row, f"{k}_{c}") for c in edit.CLASSES) for k in KINDS}
    assert by_kind == {k: getattr(row, k) for k in KINDS}
    assert sum(by_kind.values()) == plain_distance(a, b)
    assert row.spaceless_distance == plain_distance(a.replace(" ", ""), b.replace(" ", ""))
    assert 0 <= row.matched_spaces <= min(a.count(" "), b.count(" "))
    touched = a.count(" ") + b.count(" ") - 2 * row.matched_spaces
    assert touched <= row.distance
    assert row.matched_words == (Counter(a.split()) & Counter(b.split())).total()


@pytest.mark.parametrize("character", "aÉß汉〇カぁ한ㄅ5٣½!，€ \u3000\u0301")
def test_classes_follow_unicode_names_and_categories(character):
    name, category = unicodedata.name(character), unicodedata.category(character)
    scripts = ("CJK", "IDEOGRAPHIC NUMBER", "KATAKANA", "HIRAGANA", "HANGUL", "BOPOMOFO")
    if category == "Zs":
        expected = "spaces"
    elif name.startswith(scripts):
        expected = "cjk"
    else:
        expected = {"L": "letters", "M": "letters", "N": "digits"}.get(category[0], "punctuation")
    assert edit.character_class(character) == expected
