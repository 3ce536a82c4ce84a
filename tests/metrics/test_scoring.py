"""The one scorer: joining, grouping, aggregates, comparison, honesty about what is missing."""

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manifold_ocr.config import EvaluateConfig
from manifold_ocr.errors import UserError, build
from manifold_ocr.metrics import edit
from manifold_ocr.metrics.probes import RULES
from manifold_ocr.metrics.score import compare, evaluation, score, score_rows, summarize
from manifold_ocr.records import TASKS, Prediction, Sample

CONFIG = EvaluateConfig(metric_tokenizer="whitespace", bootstrap_samples=200)


def sample(number, text, **more):
    values = {
        "id": f"s{number}",
        "document": f"d{number // 2}",
        "corpus": "c",
        "subset": "ab"[number % 2],
        "image": "x.png",
        "language": "en",
        "text": text,
    }
    return Sample(**{**values, **more})


def predict(samples, texts):
    return [Prediction(id=s.id, text=t) for s, t in zip(samples, texts, strict=True)]


def score_texts(references, predictions, **config):
    samples = [sample(i, text) for i, text in enumerate(references)]
    settings_ = EvaluateConfig(metric_tokenizer="whitespace", bootstrap_samples=50, **config)
    rows = score_rows(samples, predict(samples, predictions), settings_)
    return rows, summarize(rows, settings_)


def numbers(value):
    """All leaves of nested metrics but names and settings."""
    if isinstance(value, dict):
        for key, item in value.items():
            if key not in ("settings", "undefined"):
                yield from numbers(item)
    else:
        yield value


def test_layout_is_counted_and_scored_by_regions_and_never_as_text():
    texts = [sample(i, text) for i, text in enumerate(["abcd", "efgh"])]
    regions = json.dumps([{"label": "text", "box": [0, 0, 50, 50]}])
    pages = [
        sample(i, regions, corpus="publaynet", subset="text_page", task="layout",
               granularity=granularity)
        for i, granularity in ((10, "page"), (11, "page"), (12, "line"))
    ]  # fmt: skip
    said = ["abcx", "efgh", regions, "a text model reads the words", regions]
    alone = summarize(score_rows(texts, predict(texts, said[:2]), CONFIG), CONFIG)
    mixed = score_rows([*texts, *pages], predict([*texts, *pages], said), CONFIG)
    together = summarize(mixed, CONFIG)
    layout = together["by_task"].pop("layout")
    assert (layout["n"], layout["missing"]) == (3, 0)
    assert layout["region_f1"] == pytest.approx(2 / 3) == layout["valid"]
    assert not any("cer" in name or "wer" in name or "ned" in name for name in layout)
    for key in ("overall", "by_corpus", "by_subset", "by_language", "by_granularity"):
        assert together[key] == alone[key], key
    assert "layout" not in compare(mixed, mixed, CONFIG)["by_corpus"]
    only = summarize(score_rows(pages, predict(pages, said[2:]), CONFIG), CONFIG)
    assert "overall" not in only and only["by_corpus"] == {} and only["by_task"]["layout"]["n"] == 3


def test_every_task_of_a_corpus_has_a_rule():
    assert set(TASKS) == {"transcribe", *RULES}


def test_values_by_hand():
    rows, result = score_texts(["abcd ef", "same"], ["abxd", "same"])
    assert rows[0].distance == 4
    assert (rows[0].reference_characters, rows[0].predicted_characters) == (7, 4)
    overall = result["overall"]
    assert overall["cer"] == pytest.approx(4 / 11)
    assert overall["cer_macro"] == pytest.approx((4 / 7 + 0) / 2)
    assert overall["ned"] == pytest.approx(4 / 11)
    assert overall["wer"] == pytest.approx(2 / 3)
    assert overall["exact_match"] == 0.5
    assert overall["character_precision"] == pytest.approx(7 / 8)
    assert overall["character_recall"] == pytest.approx(7 / 11)
    assert overall["character_f1"] == pytest.approx(14 / 19)
    assert overall["token_precision"] == pytest.approx(1 / 2)
    assert overall["token_recall"] == pytest.approx(1 / 3)
    assert overall["insertion_rate"] == pytest.approx(1 / 3)
    assert overall["deletion_rate"] == pytest.approx(2 / 3)
    assert overall["false_discovery_rate"] == pytest.approx(1 / 2)
    assert overall["n"] == 2
    assert set(result["by_subset"]) == {"a", "b"}
    assert result["by_subset"]["b"]["cer"] == 0


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.text("ab é", max_size=9), st.text("ab é", max_size=9)), min_size=1))
def test_aggregates_are_bounded_and_finite(pairs):
    rows, result = score_texts(*map(list, zip(*pairs, strict=True)))
    for value in numbers(result):
        assert isinstance(value, (int, float))
        assert math.isfinite(value)
    overall = result["overall"]
    for name, value in overall.items():
        if name.startswith(("ned", "character_", "token_", "exact", "bag")) or name.endswith(
            "_rate"
        ):
            assert -1e-12 <= value <= 1 + 1e-12 or name == "insertion_rate", name
    if "cer" in overall:
        assert overall["cer"] >= overall["ned"] - 1e-12
        assert overall["cer"] == pytest.approx(
            sum(r.distance for r in rows) / sum(r.reference_characters for r in rows)
        )
    json.dumps(result, allow_nan=False)


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(6)))
def test_order_of_rows_does_not_matter(order):
    texts = ["one", "two three", "four", "5", "six seven", "eight"]
    read = ["one", "two thee", "fuor", "", "six  seven", "eigth"]
    samples = [sample(i, text) for i, text in enumerate(texts)]
    answers = predict(samples, read)
    straight = summarize(score_rows(samples, answers, CONFIG), CONFIG)["overall"]
    mixed = score_rows([samples[i] for i in order], reversed(answers), CONFIG)
    shuffled = summarize(mixed, CONFIG)["overall"]
    for name, value in straight.items():
        if not name.endswith(("_low", "_high")):
            assert shuffled[name] == pytest.approx(value)


def test_missing_and_unknown_predictions_are_counted():
    samples = [sample(0, "one"), sample(1, "two")]
    found = score(samples, [Prediction(id="s0", text="one"), Prediction(id="zz", text="x")], CONFIG)
    assert (found.missing, found.unknown) == (1, 1)
    assert found.rows[1].missing
    assert found.rows[1].empty
    overall = summarize(found.rows, CONFIG)["overall"]
    assert overall["missing"] == 1
    assert overall["cer"] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("samples", "predictions", "message"),
    [
        ([sample(0, "a")], [], "no prediction"),
        ([], [Prediction(id="s0", text="a")], "no sample"),
        ([sample(0, "a")] * 2, [Prediction(id="s0", text="a")], "s0: the id stands twice"),
        ([sample(0, "a")], [Prediction(id="s0", text="a")] * 2, "s0: the id stands twice"),
    ],
)
def test_broken_input_is_refused(samples, predictions, message):
    with pytest.raises(UserError, match=message):
        score_rows(samples, predictions, CONFIG)


def test_lines_and_pages_never_mix():
    samples = [
        sample(0, "line text"),
        sample(1, "page text " * 20, granularity="page"),
        sample(2, "other", granularity="page", corpus="pages_only"),
    ]
    rows = score_rows(samples, predict(samples, ["line text", "", "other"]), CONFIG)
    result = summarize(rows, CONFIG)
    assert result["overall"]["cer"] == 0
    assert result["overall"]["n"] == 1
    assert result["by_granularity"]["page"]["n"] == 2
    assert result["by_corpus"]["pages_only"]["n"] == 1
    pages = EvaluateConfig(metric_tokenizer="whitespace", granularity="page")
    assert summarize(rows, pages)["overall"]["n"] == 2


def test_tasks_stay_out_of_the_cer():
    samples = [
        sample(0, "text"),
        sample(1, '{"a": "1", "b": "2"}', task="json"),
        sample(2, "", task="qa", answers=("yes",)),
        sample(3, '{"a": "1"}', task="json"),
    ]
    rows = score_rows(samples, predict(samples, ["text", '{"a": "1"}', "no", "junk"]), CONFIG)
    result = summarize(rows, CONFIG)
    assert result["overall"]["n"] == 1
    assert result["by_task"]["json"]["field_f1"] == pytest.approx((2 / 3 + 0) / 2)
    assert result["by_task"]["json"]["n"] == 2
    assert result["by_task"]["qa"]["anls"] == 0
    assert "by_task.qa" in result["undefined"]
    assert set(result["by_subset"]) == {"a"}
    difference = compare(rows, rows, CONFIG)
    assert difference["by_task"]["json"]["field_f1"] == 0


def test_blank_pages_give_a_false_positive_rate():
    _, result = score_texts(["", "", "text"], ["", "ghost words", "text"])
    assert result["overall"]["blank_false_positive_rate"] == 0.5
    assert result["overall"]["blank"] == 2
    assert result["overall"]["cer"] == pytest.approx(11 / 4)
    assert result["overall"]["cer_macro"] == 0  # two rows have a CER: the blank and the right one


def test_undefined_values_are_left_out_and_named():
    _, result = score_texts(["", ""], ["ghost", ""])
    assert "cer" not in result["overall"]
    names = result["undefined"]["overall"].split(", ")
    assert "cer" in names
    assert "empty_rate" in names
    one, _ = score_texts(["abc"], ["abd"])
    single = summarize(one, CONFIG)
    assert "cer" in single["overall"]
    assert "cer_low" not in single["overall"]
    assert "cer_low" in single["undefined"]["overall"]


def test_profile_and_tokenizer_stand_in_every_result():
    _, result = score_texts(["ABC"], ["abc"], profile="nfc_ws+casefold")
    assert result["overall"]["cer"] == 0
    assert result["settings"]["case"] == "folded"
    assert result["settings"]["profile"] == "nfc_ws+casefold"
    assert result["settings"]["metric_tokenizer"] == "whitespace"
    _, kept = score_texts(["ABC Ｘ"], ["abc X"])
    assert kept["overall"]["cer"] == pytest.approx(4 / 5)
    assert kept["overall"]["cer_casefold"] == pytest.approx(1 / 5)
    assert kept["overall"]["cer_widthfold"] == pytest.approx(3 / 5)
    _, words_only = score_texts(["a, b"], ["ab"], profile="odb")
    assert words_only["overall"]["exact_match"] == 1
    assert words_only["overall"]["cer_casefold"] == pytest.approx(2 / 4)
    _, clusters = score_texts(["e\u0301\u0302x"], ["e\u0301x"], profile="grapheme")
    assert clusters["overall"]["cer"] == 0.5


def test_the_default_tokenizer_is_named_with_its_version():
    rows = score_rows([sample(0, "hello")], [Prediction(id="s0", text="hello")], EvaluateConfig())
    assert summarize(rows, EvaluateConfig())["settings"]["metric_tokenizer"].startswith("deepseek-")


def test_comparison_is_paired_and_its_sign_is_a_minus_b():
    samples = [sample(i, f"text number {i} of many") for i in range(40)]
    good = [s.text for s in samples]
    worse = [t.replace("many", "mony") for t in good]
    a = score_rows(samples, predict(samples, good), CONFIG)
    b = score_rows(samples, list(reversed(predict(samples, worse))), CONFIG)
    report = evaluation(a, b, CONFIG)
    overall = report["difference"]["overall"]
    assert overall["cer"] == pytest.approx(
        report["adapter"]["overall"]["cer"] - report["base"]["overall"]["cer"]
    )
    assert overall["cer_low"] <= overall["cer"] <= overall["cer_high"] < 0
    assert overall["token_f1"] > 0
    assert overall["cer_detectable"] > 0
    assert set(report["difference"]["by_subset"]) == {"a", "b"}
    same = compare(a, a, CONFIG)["overall"]
    assert same["cer"] == same["cer_low"] == same["cer_high"] == 0


def test_comparison_needs_the_same_samples():
    samples = [sample(i, "text") for i in range(3)]
    rows = score_rows(samples, predict(samples, ["text"] * 3), CONFIG)
    with pytest.raises(UserError, match="same samples"):
        compare(rows, rows[:2], CONFIG)


def test_processes_change_nothing():
    samples = [sample(i, f"row {i} word" * (i % 7)) for i in range(1100)]
    answers = predict(samples, [s.text.replace("w", "vv") for s in samples])
    alone = score_rows(samples, answers, EvaluateConfig(metric_tokenizer="whitespace", workers=1))
    together = score_rows(
        samples, answers, EvaluateConfig(metric_tokenizer="whitespace", workers=2)
    )
    assert alone == together


def test_rows_agree_with_the_plain_functions():
    reference, prediction = "The  quick brown\nfox", "The quikc brown fax jumps"
    rows, _ = score_texts([reference], [prediction])
    row = rows[0]
    assert row.cer == edit.cer("The quick brown fox", prediction)
    assert row.ned == edit.ned("The quick brown fox", prediction)
    assert row.word_distance == edit.distance(reference.split(), prediction.split())
    assert row.cohorts.too_long is False


def test_config_is_strict():
    with pytest.raises(UserError, match="profile"):
        build(EvaluateConfig, {"profile": "nfkc"}, "params.yaml: evaluate")
    with pytest.raises(UserError, match="did you mean 'too_long'"):
        build(EvaluateConfig, {"cohorts": {"too_longg": 2.0}}, "params.yaml: evaluate")
