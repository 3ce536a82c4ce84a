"""The one rule for "worse", against scipy's own paired t-test."""

import random

import pytest
import scipy.stats

from manifold_ocr.config import MonitorConfig
from manifold_ocr.errors import UserError
from manifold_ocr.metrics.paired import (
    Key,
    compare,
    document_sums,
    holm,
    judge_all,
    read_sums,
)
from manifold_ocr.metrics.row_score import RowScore

RULE = MonitorConfig()


def sums(errors, characters=100, subset="s", language="en", granularity="line"):
    return {
        Key("c", f"d{n}", subset, language, granularity): (1, characters, e, 20, 20, 18)
        for n, e in enumerate(errors)
    }


def test_equal_documents_give_the_paired_t_test_of_scipy():
    rng = random.Random(1)
    b = [rng.randrange(10) for _ in range(12)]
    a = [x + rng.randrange(-1, 4) for x in b]
    found = compare("x", "cer", sums(a), sums(b), RULE)
    wanted = scipy.stats.ttest_rel(a, b, alternative="greater")
    assert found.p == pytest.approx(wanted.pvalue) and found.documents == 12
    low, high = scipy.stats.ttest_rel(a, b).confidence_interval()
    assert (found.low, found.high) == (pytest.approx(low / 100), pytest.approx(high / 100))
    assert found.fall == pytest.approx(1 - wanted.pvalue)


def test_holm_gives_the_textbook_values():
    # Holm 1979: sorted p times the number of hypotheses left, made monotone
    assert holm([0.01, None, 0.04, 0.03]) == [0.03, None, 0.06, 0.06]
    assert holm([]) == [] and holm([None]) == [None]


def test_few_documents_other_rows_and_equal_readings_are_no_verdict():
    few = compare("x", "cer", sums([9] * 4), sums([0] * 4), RULE)
    assert few.p is None and few.reason == "4 documents, fewer than 5" and few.change == 0.09
    other = compare("x", "cer", sums([1] * 6, characters=90), sums([1] * 6), RULE)
    assert other.reason == "no document in common"
    same = compare("x", "cer", sums([1, 2, 3, 4, 5]), sums([1, 2, 3, 4, 5]), RULE)
    (judged,) = judge_all([same], RULE)
    assert judged.verdict == "no clear difference" and judged.p == 1.0
    (worse,) = judge_all([compare("x", "cer", sums([9] * 5), sums([1] * 5), RULE)], RULE)
    (better,) = judge_all([compare("x", "cer", sums([1] * 5), sums([9] * 5), RULE)], RULE)
    assert (worse.verdict, better.verdict) == ("worse", "better")


def test_a_chance_difference_is_rarely_called_worse():
    rng = random.Random(2)
    called = 0
    for _ in range(200):
        pairs = []
        for _ in range(10):
            a, b = ([rng.randrange(6) for _ in range(20)] for _ in "ab")
            pairs.append(compare("x", "cer", sums(a), sums(b), RULE))
        called += any(item.verdict == "worse" for item in judge_all(pairs, RULE))
    assert called <= 20  # 5 % of 200 wanted; 20 is far in the tail of a binomial


def row(document, distance, subset="s", **values):
    return RowScore(
        id=document, document=document, corpus="c, d", subset=subset, language="en",
        granularity="line", task="transcribe", reference_characters=50, substitutions=distance,
        **values,
    )  # fmt: skip


def test_sums_survive_writing_and_damage_is_named():
    lines = document_sums([row("a", 1), row("a", 2), row("b", 0)])
    assert lines == ['"c, d",a,s,en,line,2,100,3,0,0,0', '"c, d",b,s,en,line,1,50,0,0,0,0']
    assert read_sums(lines, "f")[Key("c, d", "a", "s", "en", "line")] == (2, 100, 3, 0, 0, 0)
    for bad, problem in (
        ("x", "list of lines"),
        ([1], "list of lines"),
        (["c,a,s,en,line,1,-5,0,0,0,0"], "damaged"),
        (["c,a,s,en,line,1,NaN,0,0,0,0"], "damaged"),
        (["c,a"], "damaged"),
        ([lines[0]] * 2, "stands twice"),
    ):
        with pytest.raises(UserError, match=f"f: .*{problem}"):
            read_sums(bad, "f")
