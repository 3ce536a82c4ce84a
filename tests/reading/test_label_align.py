"""A transcript cut into the lines that were found on the page."""

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manifold_ocr.reading.label.align import align, cut_points

TRUTH = [
    "The committee met on the 4th of March 1897",
    "in the presence of the mayor and two clerks,",
    "who read the minutes of the previous meeting.",
    "Nothing further was decided on that day.",
]


def misread(text, rate, seed):
    rng = random.Random(seed)
    return "".join(rng.choice("xqz") if c != " " and rng.random() < rate else c for c in text)


@pytest.mark.parametrize("rate", [0.0, 0.05, 0.15])
def test_a_transcript_by_lines_gives_each_line_its_own_text(rate):
    read = [misread(text, rate, i) for i, text in enumerate(TRUTH)]
    found = align(read, "\n".join(TRUTH))
    assert [entry.text for entry in found.lines] == TRUTH
    assert found.left_over == ()


def test_the_order_of_the_transcript_does_not_matter_where_lines_fit_whole():
    read = [misread(text, 0.05, i) for i, text in enumerate(TRUTH)]
    found = align(read, "\n".join(reversed(TRUTH)))
    assert [entry.text for entry in found.lines] == TRUTH


@pytest.mark.parametrize("rate", [0.0, 0.05, 0.1])
def test_a_flowing_transcript_is_cut_where_the_lines_end(rate):
    read = [misread(text, rate, i) for i, text in enumerate(TRUTH)]
    found = align(read, " ".join(TRUTH))
    assert [entry.text for entry in found.lines] == TRUTH


def test_chinese_flows_without_spaces():
    truth = ["在西北黄土高原区中甘肃省数量", "最多占全国的百分之四十其次为", "陕西省与山西省"]
    read = ["在西北黄士高原区中甘肃省数量", "最多占全国的百分之四十其次力", "陕西省与山西省"]
    assert [entry.text for entry in align(read, "".join(truth)).lines] == truth


def test_strangers_stay_without_label_and_unused_text_is_reported():
    found = align([TRUTH[0], "completely different 12345"], f"{TRUTH[0]}\n{TRUTH[2]}")
    assert [entry.text for entry in found.lines] == [TRUTH[0], None]
    assert found.left_over == (TRUTH[2],)


def test_nothing_to_align():
    assert align([], "text").left_over == ("text",)
    assert [entry.text for entry in align(["read"], "").lines] == [None]


@settings(max_examples=80, deadline=None)
@given(st.lists(st.text("ab c", max_size=12), min_size=1, max_size=6), st.text("ab c", max_size=60))
def test_cuts_lose_nothing(readings, truth):
    cuts = cut_points(readings, truth)
    assert cuts[0] == 0 and cuts[-1] == len(truth) and cuts == sorted(cuts)
    assert len(cuts) == len(readings) + 1
    assert "".join(truth[a:b] for a, b in itertools.pairwise(cuts)) == truth
