"""Unit tests of a page, as olmOCR-Bench defines them: a fact is there or it is not.

A test is a mapping with `type` present, absent, order, table or baseline and that type's
fields. Formula tests need a browser to render them and are not run.
"""

import re
import unicodedata
from collections.abc import Callable, Mapping
from typing import Any

from rapidfuzz import fuzz
from reference_grid import Grid, tables_of

from manifold_ocr.errors import UserError

_MARKUP = (
    (re.compile(r"<br/?>"), " "),
    (re.compile(r"\*\*(.*?)\*\*"), r"\1"),
    (re.compile(r"__(.*?)__"), r"\1"),
    (re.compile(r"</?[bi]>"), ""),
    (re.compile(r"(\*\*|__)(.*?)\1"), r"\2"),
    (re.compile(r"(\*|_)(.*?)\1"), r"\2"),  # within a line: white space is collapsed last
    (re.compile(r"\s+"), " "),
)
_ALIKE = str.maketrans("‘’‚“”„＿–—‑‒−\u00b5", "'''\"\"\"_-----\u03bc")
_DISALLOWED = re.compile(
    "[\u4e00-\u9fff\u3040-\u309f\u30a0-\u30ff"
    "\U0001f600-\U0001f64f\U0001f300-\U0001f5ff\U0001f680-\U0001f6ff\U0001f1e0-\U0001f1ff]"
)
LONGEST_NGRAM = 5
_NEIGHBORS = ("up", "down", "left", "right")


def passes(test: Mapping[str, Any], page: str) -> bool:
    """Run one unit test on the Markdown of a page.

    Raises:
        UserError: a test type that is not known here; names the known ones.
    """
    rule = _RULES.get(str(test["type"]))
    if rule is None:
        raise UserError(f"no page test of type {test['type']!r}; known: {', '.join(_RULES)}")
    return rule(test, page)


def pass_rate(tests: list[Mapping[str, Any]], page: str) -> float | None:
    """Share of passed tests; None without tests."""
    return sum(passes(test, page) for test in tests) / len(tests) if tests else None


def normalize_page(text: str) -> str:
    """Markdown emphasis and line breaks gone, white space single, NFC, plain quotes and dashes."""
    for pattern, replacement in _MARKUP:
        text = pattern.sub(replacement, text)
    return unicodedata.normalize("NFC", text).translate(_ALIKE)


def _similarity_floor(text: str, max_diffs: int) -> float:
    return 1.0 - max_diffs / (len(text) or 1)


def _presence(test: Mapping[str, Any], page: str) -> bool:
    """Whether the text stands on the page, give or take `max_diffs` characters.

    `first_n` and `last_n` look at the ends of the page only.
    """
    text, page = normalize_page(test["text"]), normalize_page(page)
    if not test.get("case_sensitive", True):
        text, page = text.lower(), page.lower()
    first, last = test.get("first_n"), test.get("last_n")
    if first or last:
        page = (page[:first] if first else "") + (page[-last:] if last else "")
    best = fuzz.partial_ratio(text, page) / 100.0
    return best >= _similarity_floor(text, test.get("max_diffs", 0))


def _absence(test: Mapping[str, Any], page: str) -> bool:
    return not _presence(test, page)


def _order(test: Mapping[str, Any], page: str) -> bool:
    """Whether some near match of `before` starts left of some near match of `after`."""
    from fuzzysearch import find_near_matches

    page, allowed = normalize_page(page), test.get("max_diffs", 0)
    starts = [
        [m.start for m in find_near_matches(normalize_page(test[key]), page, max_l_dist=allowed)]
        for key in ("before", "after")
    ]
    return bool(starts[0] and starts[1]) and min(starts[0]) < max(starts[1])


def _table(test: Mapping[str, Any], page: str) -> bool:
    """Whether some cell reads like `cell` and has the asked neighbors and headings."""
    grids = tables_of(page, pipes=not test.get("ignore_markdown_tables", False))
    return any(_cell_fits(test, grid, cell) for grid in grids for cell in range(len(grid.cells)))


def _cell_fits(test: Mapping[str, Any], grid: Grid, cell: int) -> bool:
    allowed = test.get("max_diffs", 0)
    if not _alike(test["cell"], grid.cells[cell].text, allowed):
        return False
    for name in (*_NEIGHBORS, "top_heading", "left_heading"):
        if not test.get(name):
            continue
        if name in _NEIGHBORS:
            others = grid.neighbors(cell, name)
        else:
            others = grid.headings(cell, "up" if name == "top_heading" else "left")
        if not any(_alike(test[name], grid.cells[other].text, allowed) for other in others):
            return False
    return True


def _alike(wanted: str, text: str, max_diffs: int) -> bool:
    wanted = normalize_page(wanted)
    floor = max(0.5, _similarity_floor(wanted, max_diffs))
    return fuzz.ratio(wanted, normalize_page(text)) / 100.0 >= floor


def _baseline(test: Mapping[str, Any], page: str) -> bool:
    """Whether the page has text, does not end in a loop and uses expected characters.

    With `max_length` it is a blank-page test: at most so many letters and digits.
    """
    characters = sum(map(str.isalnum, page))
    limit = test.get("max_length")
    if limit is not None:
        if test.get("max_length_skips_image_alt_tags"):
            characters = sum(map(str.isalnum, re.sub(r"!\[.*?\]\(.*?\)", "", page)))
        return characters <= int(limit)
    if characters == 0:
        return False
    if max(trailing_repeats(page)) > test.get("max_repeats", 30):
        return False
    return not (test.get("check_disallowed_characters", True) and _DISALLOWED.search(page))


def trailing_repeats(text: str, longest: int = LONGEST_NGRAM) -> list[int]:
    """How often the last 1, 2, ... `longest` characters repeat in a row at the text's end."""
    text = re.sub(r"\s+", " ", text)
    counts = []
    for size in range(1, longest + 1):
        end, count = len(text), 0
        while end >= size and text[end - size : end] == text[len(text) - size :]:
            count += 1
            end -= size
        counts.append(count)
    return counts


_RULES: dict[str, Callable[[Mapping[str, Any], str], bool]] = {
    "present": _presence,
    "absent": _absence,
    "order": _order,
    "table": _table,
    "baseline": _baseline,
}
