"""The nine demo pages: evaluator values from ground truth and predictions, whole-page values."""

import hashlib
import json
import math

import pytest
import reference_conventions as conventions
from golden_text_metrics import PAIRS, equal

from goldens import Tally, has_wordnet, load, real_data
from manifold_ocr.metrics import edit, fox, normalize
from manifold_ocr.metrics.omnidocbench.blocks import APRIL_2025, V1_5
from manifold_ocr.metrics.omnidocbench.evaluate import score_page, summarize_pages

pytestmark = pytest.mark.real_data

V1_5_KEY = "evaluator_v1.5@7bd6c2e"
APRIL_KEY = "evaluator_2025-04@24e6428"
PROBE_KEY = "hallucination_probe_v1.5@7bd6c2e"
INVENTED = "".join(
    f"\n\nZyxw qvut {i} fabricated paragraph that was never printed on this page and keeps "
    f"going for quite a while number {i}."
    for i in range(10)
)


@pytest.fixture(scope="module")
def values():
    return load("omnidocbench_demo_goldens.json")


@pytest.fixture(scope="module")
def texts():
    return load("omnidocbench_demo_texts.json")


@pytest.fixture(scope="module")
def truth():
    pages = json.loads(real_data("omnidocbench", "OmniDocBench.json").read_text("utf-8"))
    return {page["page_info"]["image_path"].removesuffix(".jpg"): page for page in pages}


@pytest.fixture(scope="module")
def scores(texts, truth):
    return {name: score_page(truth[name], t["prediction"]) for name, t in texts.items()}


def _close(ours, theirs):
    return ours is not None and math.isclose(ours, theirs, rel_tol=0, abs_tol=1e-9)


def _pooled(distances):
    longest = sum(d.longest for d in distances)
    return sum(d.edits for d in distances) / longest if longest else None


def _page_values(page):
    """Evaluator's key -> our value, for one page."""
    return {
        "text_block_Edit_dist": page.text_edit_distance,
        "reading_order_Edit_dist": _pooled([page.reading_order] if page.reading_order else []),
        "table_Edit_dist": _pooled(page.table_text),
    }


def test_page_values_v1_5(values, scores):
    tally = Tally("OmniDocBench v1.5, page values")
    for name, page in values["pages"].items():
        theirs, ours = page[V1_5_KEY], _page_values(scores[name])
        for key in ours.keys() & theirs.keys():
            tally.check(_close(ours[key], theirs[key]), f"{name} {key}")
        sums = theirs["text_block_sums"]
        text = scores[name].text
        tally.check(len(text) == sums["blocks"], f"{name} blocks")
        tally.check(sum(d.edits for d in text) == sums["edits"], f"{name} edits")
        tally.check(sum(d.longest for d in text) == sums["max_len_sum"], f"{name} lengths")
        for number, table in theirs.get("tables", {}).items():
            ours_table = scores[name].tables[int(number.strip("[]"))]
            tally.check(_close(ours_table.teds, table["TEDS"]), f"{name} TEDS")
            structure = table["TEDS_structure_only"]
            tally.check(_close(ours_table.teds_structure, structure), f"{name} TEDS-S")
    tally.finish()


def test_mutated_pages_v1_5(truth):
    tally = Tally("OmniDocBench v1.5, mutated pages")
    for number, row in enumerate(load("omnidocbench_fuzz_goldens.json")):
        ours = score_page(truth[row["page"]], row["markdown"], tokenizer="whitespace")
        for key, distances in (
            ("text_block", ours.text_blocks),
            ("display_formula", ours.formulas),
            ("table", ours.table_text),
        ):
            values = sorted([d.edits, d.longest] for d in distances)
            tally.check(values == row[key], f"page {number} {key}: {values}, not {row[key]}")
        order = (
            [ours.reading_order.edits / ours.reading_order.longest] if ours.reading_order else []
        )
        for key, values in (("teds", [t.teds for t in ours.tables]), ("reading_order", order)):
            same = len(values) == len(row[key]) and all(map(_close, values, row[key]))
            tally.check(same, f"page {number} {key}: {values}, not {row[key]}")
    tally.finish()


def test_page_values_april_2025(values, texts, truth):
    tally = Tally("OmniDocBench of April 2025, page values")
    for name, page in values["pages"].items():
        ours = _page_values(score_page(truth[name], texts[name]["prediction"], APRIL_2025))
        for key, theirs in page[APRIL_KEY].items():
            tally.check(_close(ours[key], theirs), f"{name} {key}: {ours[key]}, not {theirs}")
    tally.finish()


def test_invented_paragraphs_move_the_insertion_rate_only(values, texts, truth, scores):
    tally, pages = Tally("OmniDocBench v1.5, invented paragraphs"), []
    for name, page in values["pages"].items():
        probed = score_page(truth[name], texts[name]["prediction"] + INVENTED, V1_5)
        theirs = page[PROBE_KEY]["text_block_Edit_dist"]
        tally.check(_close(probed.text_edit_distance, theirs), f"{name} {theirs}")
        assert probed.insertion_rate > scores[name].insertion_rate + 0.01
        pages.append(probed)
    tally.finish()
    before, _ = summarize_pages(list(scores.values()))
    after, _ = summarize_pages(pages)
    text, rate = (
        f"omnidocbench_v1_5_{n}" for n in ("text_edit_distance", "whole_page_insertion_rate")
    )
    assert after[text] < before[text] + 0.003
    assert after[rate] > 2 * before[rate]


def test_overall_values(values, scores):
    theirs = values["overall"][V1_5_KEY]["dev9"]
    pages = list(scores.values())
    ours, undefined = summarize_pages(pages)
    name = "omnidocbench_v1_5_{}".format
    orders = [page.reading_order for page in pages if page.reading_order]
    table_text = [d for page in pages for d in page.table_text]
    expected = {
        ("text_block", "Edit_dist", "ALL_page_avg"): ours[name("text_edit_distance")],
        ("text_block", "Edit_dist", "edit_whole"): ours[name("text_edit_distance_whole")],
        ("text_block", "Edit_dist", "edit_sample_avg"): ours[name("text_edit_distance_blocks")],
        ("reading_order", "Edit_dist", "ALL_page_avg"): ours[name("reading_order_distance")],
        ("reading_order", "Edit_dist", "edit_sample_avg"): ours[name("reading_order_distance")],
        ("reading_order", "Edit_dist", "edit_whole"): _pooled(orders),
        ("table", "TEDS", "all"): ours[name("table_teds")],
        ("table", "TEDS_structure_only", "all"): ours[name("table_teds_structure")],
        ("table", "Edit_dist", "ALL_page_avg"): ours[name("table_edit_distance")],
        ("table", "Edit_dist", "edit_whole"): _pooled(table_text),
        ("table", "Edit_dist", "edit_sample_avg"): sum(_pooled([d]) for d in table_text)
        / len(table_text),
    }
    tally = Tally("OmniDocBench v1.5, overall")
    for (kind, metric, average), value in expected.items():
        published = theirs[kind][metric][average]
        tally.check(
            math.isclose(value, published, rel_tol=0, abs_tol=1e-6),
            f"{kind} {metric} {average}: {value}, not {published}",
        )
    assert theirs["display_formula"]["Edit_dist"]["ALL_page_avg"] == "NaN"
    tally.check(name("formula_edit_distance") in undefined, "formulas: no page has one")
    tally.finish()


def test_matched_blocks_compare_as_the_evaluator_did(texts):
    tally = Tally("OmniDocBench v1.5, matched blocks")
    for page in texts.values():
        for block in page["matched_text_blocks"]:
            reference, prediction = block["norm_gt"], block["norm_pred"]
            d = edit.distance(reference, prediction)
            tally.check(d == block["Edit_num"], f"{reference[:30]} edits")
            longest = max(len(reference), len(prediction))
            tally.check(longest == block["upper_len"], f"{reference[:30]} length")
            if len(block["gt_idx"]) == 1:
                normal = normalize.omnidocbench_text(block["gt"])
                tally.check(normal == reference, f"{reference[:30]} normalized")
    tally.finish()


@pytest.mark.parametrize("reference", ["gt_markdown", "gt_text_blocks"])
def test_whole_page_values(reference, values, texts):
    tally = Tally(f"whole pages against {reference}")
    wordnet = has_wordnet()
    for name, page in values["pages"].items():
        whole = page["whole_page"][reference]
        truth_text, prediction = texts[name]["reference"][reference], texts[name]["prediction"]
        for side, text in (("reference", truth_text), ("prediction", prediction)):
            assert hashlib.sha256(text.encode()).hexdigest() == whole[f"sha256_{side}"]
        for row in whole["values"]:
            if row["metric"] == "meteor" and not wordnet:
                tally.skipped += 1
                continue
            ours = PAIRS[row["tool"], row["metric"]](truth_text, prediction)
            tolerance = 1e-6 if row["metric"] in ("bleu", "meteor") else 1e-9
            tally.check(
                equal(ours, row["value"], tolerance),
                f"{name} {row['tool']} {row['metric']}: {ours!r}, not {row['value']!r}",
            )
    tally.finish()


def test_whole_page_averages(values, texts):
    theirs = values["overall"]["whole_page_gt_markdown"]["dev9"]
    pairs = [(t["reference"]["gt_markdown"], t["prediction"]) for t in texts.values()]
    wordnet = has_wordnet()
    pages = [fox.fox_metrics(r, p) for r, p in pairs]
    means, _ = fox.fox_mean(pages)
    cut = conventions.dinglehopper_characters
    ours = {
        "pages": len(pairs),
        "jiwer_cer_micro": edit.micro_error_rate((r.strip(), p.strip()) for r, p in pairs),
        "jiwer_wer_micro": edit.micro_error_rate(
            (conventions.jiwer_words(r), conventions.jiwer_words(p)) for r, p in pairs
        ),
        "mean_of_pages_jiwer_cer": _mean(conventions.jiwer_cer(*p).error_rate for p in pairs),
        "mean_of_pages_jiwer_wer": _mean(conventions.jiwer_wer(*p).error_rate for p in pairs),
        "mean_of_pages_dinglehopper_cer": _mean(
            conventions.dinglehopper_rate(cut(r), cut(p)) for r, p in pairs
        ),
        "mean_of_pages_rapidfuzz_normalized_distance": _mean(edit.ned(*p) for p in pairs),
        "mean_of_pages_fox_f_measure": means["f_measure"],
        "mean_of_pages_fox_bleu": means["bleu"],
        "mean_of_pages_fox_meteor": means.get("meteor"),
    }
    tally = Tally("whole pages, averages")
    assert theirs.keys() <= ours.keys()
    for key, value in theirs.items():
        if key.endswith("meteor") and not wordnet:
            tally.skipped += 1
            continue
        tally.check(
            math.isclose(ours[key], value, rel_tol=0, abs_tol=1e-6), f"{key}: {ours[key]} {value}"
        )
    tally.finish()


def _mean(values):
    values = list(values)
    return sum(values) / len(values)
