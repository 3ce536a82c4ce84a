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
from manifold_ocr.metrics.normalize import latex_to_text, normalize, word_characters
from manifold_ocr.metrics.omnidocbench.blocks import (
    FORMULA_CATEGORY,
    IGNORED_CATEGORIES,
    TABLE,
    TEXT,
    V1_5,
    Block,
    Evaluator,
    ReferencePage,
    reference_page,
)
from manifold_ocr.metrics.omnidocbench.markdown import HTML_TABLE, LATEX_TABLE, predicted_blocks
from manifold_ocr.metrics.omnidocbench.matching import Match, ned_matrix, quick_match
from manifold_ocr.metrics.tables import TableScores, normalize_table, table_scores
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
    """All scores of one page; a list is empty where the page has no such block.

    `prose_formulas` are display formulas that were read as text: they count as text.
    """

    page: str
    evaluator: Evaluator
    text: tuple[Distance, ...]
    prose_formulas: tuple[Distance, ...]
    formulas: tuple[Distance, ...]
    tables: tuple[TableScores, ...]
    table_text: tuple[Distance, ...]
    reading_order: Distance | None
    reference_tokens: int
    invented_tokens: int

    @property
    def text_blocks(self) -> tuple[Distance, ...]:
        """All that counts as text; the evaluator drops formulas where there is no other text."""
        if self.text or self.evaluator.corrected:
            return self.text + self.prose_formulas
        return ()

    @property
    def text_edit_distance(self) -> float | None:
        """Sum of edits over sum of lengths of the page's text blocks; None without any."""
        return _pooled(self.text_blocks)

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
    if not isinstance(page, ReferencePage):
        page = reference_page(page, corrected=evaluator.corrected)
    blocks = predicted_blocks(markdown, evaluator)
    rest = _by_category(b for b in blocks if b.kind != TABLE)
    tables, cells = _match_tables(page.tables, [b for b in blocks if b.kind == TABLE], evaluator)
    said = "\n".join(b.text for b in [*rest, *cells] if b.kind == TEXT)
    matches = _match(page, rest, cells, evaluator)
    formulas = [m for m in matches if m.category == FORMULA_CATEGORY and m.reference]
    scored = [m for m in matches if m.category not in (*IGNORED_CATEGORIES, FORMULA_CATEGORY)]
    prose = [m for m in formulas if evaluator.mixed and m.predicted_kind in (TEXT, TABLE)]
    expected_tokens, invented = _invented(page.text, said, tokenizer)
    return PageScores(
        page=page.name,
        evaluator=evaluator,
        text=_distances(m.compared for m in scored),
        prose_formulas=_distances(map(_formula_as_text, prose)),
        formulas=_distances(m.compared for m in formulas if m not in prose),
        tables=tuple(table_scores(r, p, normalize=False) for r, p in tables),
        table_text=_distances(tables),
        reading_order=reading_order_distance(Placed(m.positions, m.predicted_at) for m in scored),
        reference_tokens=expected_tokens,
        invented_tokens=invented,
    )


def summarize_pages(pages: Sequence[PageScores]) -> tuple[dict[str, float], list[str]]:
    """Return named scores over pages of one evaluator, and those without any value.

    `..._text_edit_distance` is the published headline: the mean of page values;
    `_whole` pools all blocks and `_blocks` is the mean over blocks. Formulas rendered (CDM)
    need a TeX installation and are not computed.
    """
    prefix = f"omnidocbench_{pages[0].evaluator.name}" if pages else "omnidocbench"
    any_text = any(page.text or page.evaluator.corrected for page in pages)
    text = [page.text + page.prose_formulas if any_text else () for page in pages]
    values: dict[str, float | None] = {
        "text_edit_distance": _mean(map(_pooled, text)),
        "text_edit_distance_whole": _pooled([d for page in text for d in page]),
        "text_edit_distance_blocks": _mean(_pooled([d]) for page in text for d in page),
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


def _by_category(blocks: Iterable[Block]) -> list[Block]:
    """Text and formulas apart, whichever comes first first: it decides at equal positions."""
    groups: dict[bool, list[Block]] = {}
    for block in blocks:
        groups.setdefault(block.kind == TEXT, []).append(block)
    return [block for group in groups.values() for block in group]


def _match(
    reference: ReferencePage, rest: list[Block], cells: list[Block], evaluator: Evaluator
) -> list[Match]:
    if evaluator.mixed:
        return quick_match(reference.blocks, [*rest, *cells], evaluator)
    matches = []
    for is_text in (True, False):
        expected = [b for b in reference.blocks if (b.kind == TEXT) == is_text]
        found = [b for b in rest if (b.kind == TEXT) == is_text]
        if expected:
            matches += [
                m for m in quick_match(expected, found, evaluator) if is_text or m.reference
            ]
    return matches


def _match_tables(
    reference: Sequence[Block], prediction: Sequence[Block], evaluator: Evaluator
) -> tuple[list[tuple[str, str]], list[Block]]:
    """Pair tables by NED of their source; return the pairs and the cells of spare tables.

    Pairs are normalized; a side of which nothing is left is compared as it is. Cells of
    predicted tables without a partner join the text blocks, if the page has any table at
    all. Where LaTeX tables outnumber HTML ones, v1.5 compares nothing; April needs a TeX
    converter and, like the evaluator where there is none, compares the LaTeX itself.
    """
    reference = [block for block in reference if block.text]
    html = [b for b in prediction if b.category == HTML_TABLE]
    latex = [b for b in prediction if b.category == LATEX_TABLE]
    if not reference:
        return [], []
    if len(latex) > len(html):
        html = [] if evaluator.mixed else latex
    cost = ned_matrix([b.text for b in reference], [b.text for b in html])
    rows, columns = linear_sum_assignment(cost)
    partner = dict(zip(rows.tolist(), columns.tolist(), strict=True))
    pairs = [
        (block.text, html[partner[i]].text if i in partner else "")
        for i, block in enumerate(reference)
    ]
    spare = [block for j, block in enumerate(html) if j not in set(columns.tolist())]
    normalized = [(normalize_table(r) or r, normalize_table(p) or p) for r, p in pairs]
    return normalized, [cell for block in spare for cell in _cells(block)]


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
    return word_characters(text) or text, match.compared[1]


def _invented(reference: str, prediction: str, tokenizer: str) -> tuple[int, int]:
    expected, said = load_tokenizer(tokenizer).encode_batch(
        [normalize(reference), normalize(prediction)]
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
