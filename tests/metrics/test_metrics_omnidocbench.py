"""The OmniDocBench page evaluator on small pages of our own.

`omnidocbench_values.json` holds what the published evaluator gives for the pages of
`omnidocbench_pages.pages(120)`: v1.5 at commit 7bd6c2e and April 2025 at 24e6428 of its
repository, pylatexenc 3.0a30, each page as a data set of its own, `quick_match`; per page the
sorted [edits, longest] of text, formulas and tables, TEDS, TEDS-S and the reading order.
"error" is a page on which it ends with a traceback.
"""

import json
from pathlib import Path

import omnidocbench_pages
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manifold_ocr.errors import UserError
from manifold_ocr.metrics.omnidocbench.blocks import (
    APRIL_2025,
    EVALUATORS,
    FORMULA,
    TEXT,
    V1_5,
    V1_5_CORRECTED,
    Block,
    evaluator_named,
    normalize_formula,
    reference_page,
    split_arrays,
)
from manifold_ocr.metrics.omnidocbench.evaluate import (
    Placed,
    reading_order_distance,
    score_page,
    summarize_pages,
)
from manifold_ocr.metrics.omnidocbench.markdown import predicted_blocks
from manifold_ocr.metrics.omnidocbench.matching import merge_runs, quick_match, window_distance

FIRST = "The quick brown fox jumps over the lazy dog"
SECOND = "Pack my box with five dozen liquor jugs today"
TABLE = "<table><tr><td>Pen</td><td>2</td></tr></table>"


def element(number, text, category="text_block", **more):
    return {"anno_id": number, "order": number, "category_type": category, "text": text, **more}


def page(*elements, relations=()):
    return {
        "layout_dets": list(elements),
        "extra": {"relation": list(relations)},
        "page_info": {"image_path": "p.jpg"},
    }


def text(content, category="text_block", position=None):
    return Block(TEXT, category, content, position)


def score(reference, markdown, **more):
    return score_page(reference, markdown, tokenizer="whitespace", **more)


def test_a_perfect_page_scores_zero():
    truth = page(
        element(1, "Title", "title"),
        element(2, FIRST),
        {"anno_id": 3, "order": 3, "category_type": "table", "html": TABLE},
        element(4, SECOND),
    )
    result = score(truth, f"# Title\n\n{FIRST}\n\n{TABLE}\n\n{SECOND}")
    assert result.text_edit_distance == 0
    assert result.reading_order.edits == 0
    assert result.tables[0].teds == 1
    assert result.insertion_rate == pytest.approx(1 / 19)  # the Markdown mark of the title


def test_swapped_blocks_cost_order_only():
    result = score(page(element(1, FIRST), element(2, SECOND)), f"{SECOND}\n\n{FIRST}")
    assert result.text_edit_distance == 0
    assert (result.reading_order.edits, result.reading_order.longest) == (2, 2)


def test_invented_paragraphs_are_seen_by_the_insertion_rate_alone():
    truth = page(element(1, FIRST), element(2, SECOND))
    plain = score(truth, f"{FIRST}\n\n{SECOND}")
    more = score(truth, f"{FIRST}\n\n{SECOND}\n\nNever printed words are standing here")
    assert more.text_edit_distance == plain.text_edit_distance == 0
    assert plain.insertion_rate == 0
    assert more.insertion_rate == pytest.approx(6 / 18)


def test_a_missing_block_counts_in_full():
    result = score(page(element(1, FIRST), element(2, SECOND)), FIRST)
    lengths = [len(FIRST.replace(" ", "")), len(SECOND.replace(" ", ""))]
    assert result.text_edit_distance == pytest.approx(lengths[1] / sum(lengths))
    empty = score(page(element(1, FIRST)), "")
    assert empty.text_edit_distance == 1


def test_ignored_blocks_take_their_prediction_along():
    truth = page(element(1, FIRST), element(2, "Annual report 2024", "header"))
    result = score(truth, f"Annual report 2024\n\n{FIRST}")
    assert result.text_edit_distance == 0
    assert len(result.text) == 1


def test_split_predictions_are_merged_and_joined_ones_shared():
    words = FIRST + " " + SECOND
    split = score(
        page(element(1, words), element(2, "Another block")),
        f"{FIRST}\n\n{SECOND}\n\nAnother block",
    )
    assert split.text_edit_distance == 0
    joined = score(page(element(1, FIRST), element(2, SECOND)), f"{FIRST} {SECOND}")
    assert joined.text_edit_distance == 0
    assert len(joined.text) == 1


def test_truncated_blocks_are_joined():
    relation = {"relation_type": "truncated", "source_anno_id": 1, "target_anno_id": 3}
    truth = page(
        element(1, FIRST), element(2, "Title", "title"), element(3, SECOND), relations=[relation]
    )
    blocks = reference_page(truth).blocks
    assert [b.text for b in blocks] == [FIRST + SECOND, "Title"]


def test_formulas_are_compared_as_formulas_or_as_text():
    truth = page(
        element(1, FIRST),
        {"anno_id": 2, "order": 2, "category_type": "equation_isolated", "latex": "$$a^2 + b$$"},
    )
    right = score(truth, f"{FIRST}\n\n$$a^2+b$$")
    assert right.formulas[0].edits == 0
    prose = score(truth, f"{FIRST}\n\na2 + b")
    assert prose.formulas == ()
    assert len(prose.text_blocks) == 2


def test_versions_differ_and_are_named():
    truth = page(element(1, FIRST), element(2, SECOND))
    result = score(truth, FIRST, evaluator=APRIL_2025)
    assert len(result.text) == 3  # that version counted a missing block twice
    names, undefined = summarize_pages([result])
    assert names["omnidocbench_2025_04_text_edit_distance"] == result.text_edit_distance
    assert "omnidocbench_2025_04_table_teds" in undefined
    newer, _ = summarize_pages([score(truth, FIRST)])
    assert "omnidocbench_v1_5_whole_page_insertion_rate" in newer


@settings(max_examples=30, deadline=None)
@given(st.lists(st.text("abc ", min_size=1, max_size=8), max_size=5),
       st.lists(st.text("abc ", min_size=1, max_size=8), max_size=5))  # fmt: skip
def test_every_reference_block_is_matched_once(reference, prediction):
    blocks = [text(t, position=i + 1) for i, t in enumerate(reference)]
    matches = quick_match(blocks, [text(t, position=i) for i, t in enumerate(prediction)])
    placed = [block.position for match in matches for block in match.reference]
    assert sorted(placed) == [b.position for b in blocks if b.compared(V1_5)]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.text("ab", min_size=1, max_size=6), min_size=1, max_size=4),
       st.lists(st.text("ab", min_size=1, max_size=6), min_size=1, max_size=6))  # fmt: skip
def test_runs_partition_the_predictions(reference, prediction):
    from manifold_ocr.metrics.omnidocbench.matching import ned_matrix

    runs = merge_runs(ned_matrix(reference, prediction), reference, prediction)
    assert [j for run in runs for j in run] == list(range(len(prediction)))


def test_window_distance():
    assert window_distance("xxabcxx", "abc") == 0
    assert window_distance("xxabdxx", "abc") == pytest.approx(1 / 3)
    assert window_distance("ab", "abc") is None
    assert window_distance("ab", "") is None
    assert window_distance("x" * 2000 + "abcd", "abcd") == 0


def test_markdown_is_cut_into_blocks():
    blocks = predicted_blocks(
        "```markdown\n# Head\n\n![x](y.png)\nsome $x_1$ text\n\n$$a\n+b$$\n\n"
        "| a | b |\n|---|---|\n| 1 | 2 |\n\n\\begin{tabular}{l}x\\end{tabular}\n```"
    )
    found = [(b.category, b.text) for b in blocks]
    assert ("text_block", "# Head") in found
    assert ("text_block", "some $x_1$ text") in found
    assert ("formula", "\\[a +b\\]") in found
    assert ("inline_formula", "\\[x_1\\]") in found
    (table,) = (block.text for block in blocks if block.category == "html_table")
    assert table.startswith('<table border="1" >') and table.count("<td colspan") == 4
    assert any(category == "latex_table" for category, _ in found)


def test_tables_in_tables_are_one_block():
    outer = f"<table><tr><td>{TABLE}</td></tr></table>"
    tables = [b for b in predicted_blocks(f"x\n\n{outer}\n\ny") if b.kind == "table"]
    assert [b.text for b in tables] == [outer]


def test_cells_of_spare_tables_join_the_text():
    truth = page(
        element(1, "Pen number two"),
        {"anno_id": 2, "order": 2, "category_type": "table", "html": TABLE},
    )
    spare = "<table><tr><td>Pen number two</td></tr></table>"
    assert score(truth, f"{TABLE}\n\n{spare}").text_edit_distance == 0


def test_one_column_arrays_are_split_by_line():
    block = Block(FORMULA, "equation_isolated", r"\begin{array}{l}a=1 \\ b=2\end{array}", 7)
    parts = split_arrays([block])
    assert [p.text for p in parts] == [r"\[a=1\]", r"\[b=2\]"]
    assert [p.position for p in parts] == [7.1, 7.2]
    matrix = Block(FORMULA, "equation_isolated", r"\begin{array}{lr}a & b\end{array}", 7)
    assert split_arrays([matrix]) == [matrix]


def test_formula_normalization():
    assert normalize_formula(r"$$\mathbf{X} \quad + \text{a}\tag{1}$$") == "{x}+{a}"
    assert normalize_formula(r"\[ A_{1} \]") == "a_{1}"


def test_reading_order_rules():
    perfect = [Placed((1,), 0), Placed((2,), 10)]
    assert reading_order_distance(perfect).edits == 0
    missing = reading_order_distance([Placed((1,), 0), Placed((2,), None), Placed((3,), 9)])
    assert (missing.edits, missing.longest) == (1, 3)
    assert reading_order_distance([Placed((None,), 5)]) is None
    assert reading_order_distance([]) is None


def _values(result):
    """What `omnidocbench_values.json` holds of one page, from our scores."""
    order = result.reading_order
    return [
        sorted([d.edits, d.longest] for d in result.text_blocks),
        sorted([d.edits, d.longest] for d in result.formulas),
        sorted([d.edits, d.longest] for d in result.table_text),
        [table.teds for table in result.tables],
        [table.teds_structure for table in result.tables],
        [order.edits / order.longest] if order else [],
    ]


@pytest.mark.parametrize("evaluator", [V1_5, APRIL_2025], ids=lambda e: e.name)
def test_constructed_pages_score_as_the_published_evaluator_does(evaluator):
    published = json.loads(Path(__file__).with_name("omnidocbench_values.json").read_text("utf-8"))
    rows = published[evaluator.name]
    different = []
    for number, (truth, markdown) in enumerate(omnidocbench_pages.pages(len(rows))):
        if rows[number] == "error":
            continue
        ours = _values(score(truth, markdown, evaluator=evaluator))
        different += [
            (number, name, mine, theirs)
            for name, mine, theirs in zip(published["keys"], ours, rows[number], strict=True)
            if len(mine) != len(theirs)
            or any(
                a != pytest.approx(b, rel=0, abs=1e-9) for a, b in zip(mine, theirs, strict=True)
            )
        ]
    assert not different


PIPES = "| Pen | 2 |\n|---|---|\n| Cup | 7 |"
PIPE_TABLE = "<table><tr><td>Pen</td><td>2</td></tr><tr><td>Cup</td><td>7</td></tr></table>"


def test_a_pipe_table_swallows_the_line_before_it_unless_corrected():
    truth = page(
        element(1, FIRST),
        {"anno_id": 2, "order": 2, "category_type": "table", "html": PIPE_TABLE},
        element(3, SECOND),
    )
    markdown = f"{FIRST}\n{PIPES}\n\n{SECOND}"
    published, corrected = (score(truth, markdown, evaluator=e) for e in (V1_5, V1_5_CORRECTED))
    first, second = FIRST.replace(" ", ""), SECOND.replace(" ", "")
    assert published.text_edit_distance == pytest.approx(len(first) / (len(first) + len(second)))
    assert corrected.text_edit_distance == 0
    assert published.table_text[0].edits > 0  # colspan="1" rowspan="1"
    assert corrected.table_text[0].edits == 0
    assert published.tables[0].teds == corrected.tables[0].teds == 1


def test_an_empty_block_shifts_kinds_unless_corrected():
    formula = {"anno_id": 2, "order": 2, "category_type": "equation_isolated", "latex": "$$a+b$$"}
    truth = page(element(1, FIRST), formula, element(3, SECOND))
    markdown = f"---\n\n{FIRST}\n\n$$a+b$$\n\n{SECOND}"
    published, corrected = (score(truth, markdown, evaluator=e) for e in (V1_5, V1_5_CORRECTED))
    assert published.formulas == () and len(published.prose_formulas) == 1
    assert [d.edits for d in corrected.formulas] == [0]
    assert corrected.text_edit_distance == 0


def test_formulas_read_as_prose_count_only_beside_other_text_unless_corrected():
    formula = {"anno_id": 1, "order": 1, "category_type": "equation_isolated", "latex": "$$a+b$$"}
    published, corrected = (
        score(page(formula), "a plus b", evaluator=e) for e in (V1_5, V1_5_CORRECTED)
    )
    assert published.text_blocks == () and len(corrected.text_blocks) == 1
    beside, _ = summarize_pages([published, score(page(element(1, FIRST)), FIRST)])
    assert beside["omnidocbench_v1_5_text_edit_distance_blocks"] > 0


def test_april_keeps_delimiters_of_the_reference_and_drops_all_white_space_of_the_prediction():
    latex = r"$$\left( a \right)$$"
    assert normalize_formula(latex, APRIL_2025) == r"$$\left(a\right)$$"
    (block,) = predicted_blocks("$$\\left( a\n \\right)$$", APRIL_2025)
    assert block.text == r"\[\left(a\right)\]"


def test_versions_are_named_or_refused():
    assert all(evaluator_named(name) is EVALUATORS[name] for name in EVALUATORS)
    with pytest.raises(UserError, match=r"v1\.6 .* evaluators are v1_5"):
        evaluator_named("v1.6")
    with pytest.raises(UserError, match="no OmniDocBench evaluator 'v2'"):
        evaluator_named("v2")
