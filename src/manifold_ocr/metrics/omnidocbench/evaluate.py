"""OmniDocBench scores of pages: text blocks, reading order, tables, formulas.

The text score is blind to invented text: predicted blocks without a partner are dropped.
So every result carries the whole-page insertion rate beside it, and the version of the
evaluator is part of every name.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from manifold_ocr.metrics import edit
from manifold_ocr.metrics.normalize import latex_to_text, normalise, word_characters
from manifold_ocr.metrics.omnidocbench.blocks import (
    FORMULA_CATEGORY,
    IGNORED_CATEGORIES,
    INLINE_FORMULA,
    TABLE,
    TEXT,
    Block,
    ReferencePage,
    reference_page,
)
from manifold_ocr.metrics.omnidocbench.markdown import HTML_TABLE, LATEX_TABLE, predicted_blocks
from manifold_ocr.metrics.omnidocbench.matching import (
    V1_5,
    Evaluator,
    Match,
    ned_matrix,
    quick_match,
)
from manifold_ocr.metrics.tables import TableScores, normalise_table, table_scores
from manifold_ocr.metrics.tokens import load_tokenizer


@dataclass(frozen=True, slots=True)
class Distance:
    """Edits of two compared sequences and the length of the longer one."""

    edits: int
    longest: int


@dataclass(frozen=True, slots=True)
class Placed:
    """Reading positions of matched reference blocks and where the prediction begins.

    `predicted_at` is None for reference blocks that nothing was matched to; `positions` may
    hold None (a block without a place in the reading order).
    """

    positions: tuple[float | None, ...]
    predicted_at: float | None


def reading_order_distance(blocks: Iterable[Placed]) -> Distance | None:
    """Distance between the reference positions sorted and as the prediction lists them.

    Unmatched reference blocks count as missing, extra predictions do not count; position 0
    is dropped like None. No block with a position: None.
    """
    blocks = list(blocks)
    expected = sorted(_known(p for block in blocks for p in block.positions))
    found = sorted(
        ((block.predicted_at, block) for block in blocks if block.predicted_at is not None),
        key=lambda item: item[0],
    )
    listed = _known(p for _, block in found for p in block.positions)
    if not expected and not listed:
        return None
    return Distance(edit.distance(expected, listed), max(len(expected), len(listed)))


def _known(positions: Iterable[float | None]) -> Sequence[float]:
    return [position for position in positions if position]


@dataclass(frozen=True, slots=True)
class PageScores:
    """All scores of one page; a list is empty where the page has no such block."""

    page: str
    evaluator: str
    text: tuple[Distance, ...]
    formulas: tuple[Distance, ...]
    tables: tuple[TableScores, ...]
    table_text: tuple[Distance, ...]
    reading_order: Distance | None
    reference_tokens: int
    invented_tokens: int

    @property
    def text_edit_distance(self) -> float | None:
        """Sum of edits over sum of lengths of the page's text blocks; None without any."""
        return _pooled(self.text)

    @property
    def insertion_rate(self) -> float | None:
        """Tokens of the whole page that the reference does not hold, per reference token."""
        return self.invented_tokens / self.reference_tokens if self.reference_tokens else None


def score_page(
    page: Mapping[str, Any] | ReferencePage,
    markdown: str,
    evaluator: Evaluator = V1_5,
    tokenizer: str = "deepseek",
) -> PageScores:
    """Score the Markdown of one page against its entry of OmniDocBench.json.

    `tokenizer` counts the tokens of the whole-page insertion rate.
    """
    reference = page if isinstance(page, ReferencePage) else reference_page(page)
    blocks = predicted_blocks(markdown)
    rest = [b for b in blocks if b.kind != TABLE]
    tables, cells = _match_tables(reference.tables, [b for b in blocks if b.kind == TABLE])
    said = "\n".join(b.text for b in [*rest, *cells] if b.kind == TEXT)
    matches = _match(reference, rest, cells, evaluator)
    scored = [m for m in matches if m.category not in (*IGNORED_CATEGORIES, FORMULA_CATEGORY)]
    formulas = [m for m in matches if m.category == FORMULA_CATEGORY]
    as_text = [m for m in formulas if m.prediction and m.prediction[0].kind == TEXT]
    formulas = [m for m in formulas if m not in as_text]
    expected_tokens, invented = _invented(reference.text, said, tokenizer)
    return PageScores(
        page=reference.name,
        evaluator=evaluator.name,
        text=_distances([m.normalised for m in scored] + [_formula_as_text(m) for m in as_text]),
        formulas=_distances([m.normalised for m in formulas]),
        tables=tuple(table_scores(r, p) for r, p in tables),
        table_text=_distances([(normalise_table(r), normalise_table(p)) for r, p in tables]),
        reading_order=reading_order_distance(map(_placed, scored)),
        reference_tokens=expected_tokens,
        invented_tokens=invented,
    )


def summarise_pages(pages: Sequence[PageScores]) -> tuple[dict[str, float], list[str]]:
    """Return named scores over pages of one evaluator, and those without any value.

    `..._text_edit_distance` is the published headline: the mean of page values;
    `_whole` pools all blocks and `_blocks` is the mean over blocks. Formulas rendered (CDM)
    need a TeX installation and are not computed.
    """
    prefix = f"omnidocbench_{pages[0].evaluator}" if pages else "omnidocbench"
    values: dict[str, float | None] = {
        "text_edit_distance": _mean(page.text_edit_distance for page in pages),
        "text_edit_distance_whole": _pooled([d for page in pages for d in page.text]),
        "text_edit_distance_blocks": _mean(_pooled([d]) for page in pages for d in page.text),
        "reading_order_distance": _mean(
            _pooled([page.reading_order]) for page in pages if page.reading_order
        ),
        "table_teds": _mean(table.teds for page in pages for table in page.tables),
        "table_teds_structure": _mean(
            table.teds_structure for page in pages for table in page.tables
        ),
        "table_edit_distance": _mean(_pooled(page.table_text) for page in pages),
        "formula_edit_distance": _mean(_pooled(page.formulas) for page in pages),
        "whole_page_insertion_rate": _ratio(
            sum(page.invented_tokens for page in pages),
            sum(page.reference_tokens for page in pages),
        ),
    }
    named = {f"{prefix}_{name}": v for name, v in values.items() if v is not None}
    undefined = [f"{prefix}_{name}" for name, v in values.items() if v is None]
    return {"pages": len(pages), **named}, undefined


def _match(
    reference: ReferencePage, rest: list[Block], cells: list[Block], evaluator: Evaluator
) -> list[Match]:
    if evaluator.mixed:
        pool = [*rest, *cells]
        pool.sort(key=lambda b: (b.kind == INLINE_FORMULA, b.position or 0))
        return quick_match(reference.blocks, pool, evaluator)
    matches = []
    for is_text in (True, False):
        expected = [b for b in reference.blocks if (b.kind == TEXT) == is_text]
        found = [b for b in rest if (b.kind == TEXT) == is_text]
        matches += quick_match(expected, found, evaluator)
    return matches


def _match_tables(
    reference: Sequence[Block], prediction: Sequence[Block]
) -> tuple[list[tuple[str, str]], list[Block]]:
    """Pair tables by NED of their source; return the pairs and the cells of spare tables.

    Cells of predicted tables without a partner join the text blocks, if the page has any
    table at all. Where LaTeX tables outnumber HTML ones, nothing is compared: turning LaTeX
    into HTML needs a TeX converter.
    """
    if not reference:
        return [], []
    html = [b for b in prediction if b.category == HTML_TABLE]
    if sum(b.category == LATEX_TABLE for b in prediction) > len(html):
        return [(b.text, "") for b in reference], []
    cost = ned_matrix([b.text for b in reference], [b.text for b in html])
    rows, columns = linear_sum_assignment(cost)
    partner = dict(zip(rows.tolist(), columns.tolist(), strict=True))
    pairs = [
        (block.text, html[partner[i]].text if i in partner else "")
        for i, block in enumerate(reference)
    ]
    spare = [block for j, block in enumerate(html) if j not in set(columns.tolist())]
    return pairs, [cell for block in spare for cell in _cells(block)]


def _cells(table: Block) -> list[Block]:
    from bs4 import BeautifulSoup

    cells = BeautifulSoup(table.text, "html.parser").find_all("td")
    texts = [str(cell.string).replace("$\\cdot$", "").strip() for cell in cells if cell.string]
    return [Block(TEXT, "table_cell", text, table.position) for text in texts]


def _formula_as_text(match: Match) -> tuple[str, str]:
    """A formula that was read as prose is compared as prose."""
    lines = [block.text for block in match.reference]
    latex = lines[0]
    if len(lines) > 1:
        rows = " \\\\ ".join("{" + line.strip("$").strip("\n") + "}" for line in lines)
        latex = "\\begin{array}{l} " + rows + " \\end{array}"
    text = latex_to_text(latex)
    return word_characters(text) or text, match.normalised[1]


def _placed(match: Match) -> Placed:
    positions = tuple(block.position for block in match.reference)
    return Placed(positions, match.prediction[0].position if match.prediction else None)


def _invented(reference: str, prediction: str, tokenizer: str) -> tuple[int, int]:
    expected, said = load_tokenizer(tokenizer).encode_batch(
        [normalise(reference), normalise(prediction)]
    )
    return len(expected), len(said) - edit.lcs_length(expected, said)


def _distances(pairs: Iterable[tuple[str, str]]) -> tuple[Distance, ...]:
    return tuple(Distance(edit.distance(r, p), max(len(r), len(p))) for r, p in pairs)


def _pooled(distances: Sequence[Distance]) -> float | None:
    return _ratio(sum(d.edits for d in distances), sum(d.longest for d in distances))


def _ratio(numerator: int, denominator: int) -> float | None:
    return numerator / denominator if denominator else None


def _mean(values: Iterable[float | None]) -> float | None:
    defined = [value for value in values if value is not None]
    return float(np.mean(defined)) if defined else None
