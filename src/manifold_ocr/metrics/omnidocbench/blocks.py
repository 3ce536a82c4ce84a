"""Blocks of a page, and the form in which a version of the OmniDocBench evaluator compares them."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from manifold_ocr.errors import UserError
from manifold_ocr.metrics.normalize import omnidocbench_text

TEXT = "text"
FORMULA = "formula"
INLINE_FORMULA = "inline_formula"
TABLE = "table"

SCORED_CATEGORIES = ("text_block", "title", "code_txt", "code_txt_caption", "reference")
IGNORED_CATEGORIES = (
    "equation_caption",
    "figure_caption",
    "figure_footnote",
    "table_caption",
    "table_footnote",
    "code_algorithm",
    "code_algorithm_caption",
    "header",
    "footer",
    "page_footnote",
    "page_number",
)
FORMULA_CATEGORY = "equation_isolated"


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluator:
    """A version of the evaluator; its name is part of every metric's name.

    `mixed`: text and formulas are matched together, ignored blocks first, cells of spare
    tables join the text, one-column arrays are split by line. `corrected`: without the
    published program's mistakes, which `docs/metrics.md` lists; for comparison only.
    """

    name: str
    mixed: bool
    corrected: bool = False


V1_5 = Evaluator(name="v1_5", mixed=True)
V1_5_CORRECTED = Evaluator(name="v1_5_corrected", mixed=True, corrected=True)
APRIL_2025 = Evaluator(name="2025_04", mixed=False)
EVALUATORS = {e.name: e for e in (V1_5, V1_5_CORRECTED, APRIL_2025)}


def evaluator_named(name: str) -> Evaluator:
    """Return a version of the evaluator.

    Raises:
        UserError: not one of ours; v1.6 is refused, since its program cannot be compared with.
    """
    if name in EVALUATORS:
        return EVALUATORS[name]
    known = ", ".join(EVALUATORS)
    if name.replace(".", "_").removeprefix("v").startswith("1_6"):
        raise UserError(
            "OmniDocBench v1.6 changes the matching and has no reference values here, so its name "
            f"is not given to any number; evaluators are {known}"
        )
    raise UserError(f"no OmniDocBench evaluator {name!r}; evaluators are {known}")


@dataclass(frozen=True, slots=True)
class Block:
    """One block of the reference page or of the prediction.

    `position` is the reading position of a reference block (None: it has none) or the
    character offset of a predicted one.
    """

    kind: str
    category: str
    text: str
    position: float | None = None

    def compared(self, evaluator: Evaluator) -> str:
        """The form that is compared: word characters, a bare formula, or the raw table."""
        if self.kind == TEXT:
            return omnidocbench_text(self.text)
        if self.kind == TABLE:
            return self.text
        return normalize_formula(self.text, evaluator)


@dataclass(frozen=True, slots=True)
class ReferencePage:
    """Ground truth of one page: text and formula blocks in reading order, and tables."""

    name: str
    blocks: tuple[Block, ...]
    tables: tuple[Block, ...]

    @property
    def text(self) -> str:
        """Text of the scored blocks in reading order, joined by line breaks."""
        return "\n".join(b.text for b in self.blocks if b.category in SCORED_CATEGORIES)


def reference_page(page: Mapping[str, Any], *, corrected: bool = False) -> ReferencePage:
    """Read one entry of OmniDocBench.json.

    Blocks that a column or figure cuts ("truncated" relations) are joined; a chain of three
    holds its middle block twice, as in the published evaluator, unless `corrected`.
    """
    elements = _merge_truncated(page["layout_dets"], page["extra"]["relation"], corrected)
    categories = (*SCORED_CATEGORIES, *IGNORED_CATEGORIES, FORMULA_CATEGORY)
    ordered = [e for name in categories for e in elements if e["category_type"] == name]
    tables = [e for e in elements if e["category_type"] == TABLE]
    ordered.sort(key=_order)
    tables.sort(key=_order)
    return ReferencePage(
        name=str(page["page_info"]["image_path"]),
        blocks=tuple(_block(e) for e in ordered),
        tables=tuple(Block(TABLE, TABLE, str(e["html"]), e.get("order") or None) for e in tables),
    )


def _order(element: Mapping[str, Any]) -> float:
    return float(element.get("order") or 0)


def _block(element: Mapping[str, Any]) -> Block:
    category = str(element["category_type"])
    position = element.get("order") or None
    if category == FORMULA_CATEGORY:
        return Block(FORMULA, category, str(element["latex"]), position)
    return Block(TEXT, category, str(element["text"]), position)


def _merge_truncated(
    elements: Iterable[Mapping[str, Any]], relations: Iterable[Mapping[str, Any]], corrected: bool
) -> list[Mapping[str, Any]]:
    chains: list[list[Any]] = []
    for relation in relations:
        if relation["relation_type"] != "truncated":
            continue
        pair = [relation["source_anno_id"], relation["target_anno_id"]]
        joined = [chain for chain in chains if set(pair) & set(chain)]
        for chain in joined:
            chain.extend(pair)
        if not joined:
            chains.append(pair)
    cut = {identifier for chain in chains for identifier in chain}
    by_id = {e["anno_id"]: e for e in elements}
    whole = [e for e in elements if e["anno_id"] not in cut]
    for chain in chains:
        members = dict.fromkeys(chain) if corrected else chain
        parts = sorted((by_id[i] for i in members), key=lambda e: e["order"])
        whole.append({**parts[0], "text": "".join(part["text"] for part in parts)})
    return whole


_ARRAY = re.compile(r"\\begin\{array\}\{([^}]*)\}(.*?)\\end\{array\}", re.DOTALL)
_COLUMN_DECORATION = re.compile(r"\s+|\|")


def split_arrays(blocks: Iterable[Block]) -> list[Block]:
    """Give each line of a one-column array formula a block of its own."""
    result: list[Block] = []
    for block in blocks:
        lines = _array_lines(block.text) if block.kind not in (TEXT, TABLE) else None
        if lines is None:
            result.append(block)
            continue
        for number, (offset, line) in enumerate(lines, 1):
            position = block.position
            if position is not None:
                reference = block.category == FORMULA_CATEGORY
                position = round(position + number / 10, 1) if reference else position + offset
            result.append(replace(block, text=f"\\[{line}\\]", position=position))
    return result


def _array_lines(latex: str) -> list[tuple[int, str]] | None:
    """Offset and text of the lines of the first array if it has one column, else None."""
    match = _ARRAY.search(latex)
    if match is None or _COLUMN_DECORATION.sub("", match.group(1)) not in ("l", "c", "r"):
        return None
    lines, searched = [], match.start(2)
    for line in filter(None, map(str.strip, match.group(2).split("\\\\"))):
        start = latex.index(line, searched)
        searched = start + len(line)
        lines.append((start, line))
    return lines


_DELIMITED = re.compile(r"\\\[(.+?)(?<!\\)\\\]")
_LAYOUT_COMMANDS = (
    re.compile(r"\\tag\{.*?\}"),
    re.compile(r"\\hspace\{.*?\}"),
    re.compile(r"\\begin\{.*?\}"),
    re.compile(r"\\end\{.*?\}"),
    re.compile(r"\\arraycolsep.*?\}"),
)
# Deleted as plain strings in this order, wherever they are: \textbf before \text, so that
# nothing of it is left; \leftarrow does lose its \left.
_STYLE_COMMANDS = tuple(
    re.findall(
        r"\\\w+",
        r"\mathbf \mathrm \mathnormal \mathit \mathbb \mathcal \mathscr \mathfrak \mathsf"
        r"\mathtt \textbf \text \boldmath \boldsymbol \operatorname \bm \symbfit \mathbfcal"
        r"\symbf \scriptscriptstyle \notag \setlength \coloneqq \space \thickspace \thinspace"
        r"\medspace \nobreakspace \negmedspace \quad \qquad \enspace \substackw",
    )
)
_APRIL_DELETED = (*_STYLE_COMMANDS, " ")
_DELETED = (*_APRIL_DELETED, "$$", "\\left", "\\right", "\\displaystyle", "\\text")


def normalize_formula(latex: str, evaluator: Evaluator = V1_5) -> str:
    r"""Return a formula without layout and font commands, spaces and case.

    The version of April 2025 keeps $$ around a formula, \left, \right and \displaystyle.
    """
    if evaluator.mixed:
        latex = latex.strip().strip("$").strip("\n")
    match = _DELIMITED.search(latex)
    if match:
        latex = match.group(1).strip()
    for pattern in _LAYOUT_COMMANDS:
        latex = pattern.sub("", latex)
    latex = latex.strip(".")
    for command in _DELETED if evaluator.mixed else _APRIL_DELETED:
        latex = latex.replace(command, "")
    return latex.lower()
