"""Cut a predicted Markdown page into blocks: tables, formulas, code, paragraphs."""

import re
from dataclasses import dataclass, field

from manifold_ocr.metrics.omnidocbench.blocks import (
    FORMULA,
    INLINE_FORMULA,
    TABLE,
    TEXT,
    Block,
    split_arrays,
)

HTML_TABLE = "html_table"
LATEX_TABLE = "latex_table"

_IMAGE = re.compile(r"!\[.*?\]\(.*?\)")
_FENCES = re.compile(r"^```(?:markdown|html|latex)\n?|```\n?$", re.MULTILINE)
_DOCUMENT_TAGS = re.compile(r"</?(?:html|body)>")
_LATEX_TABLE_ENVIRONMENT = re.compile(r"\\begin\{table\}.*?\\end\{table\}", re.DOTALL)
_TABULAR = (re.compile(r"\\begin\{tabular\}"), re.compile(r"\\end\{tabular\}"))
_HTML_TABLE = (re.compile(r"<table[^>]*>"), re.compile(r"</table>"))
_FORMULA = re.compile(r"\$\$(.*?)\$\$|\\\[(.*?)\\\]|\$(.*?)\$|\\\((.*?)\\\)", re.DOTALL)
_CODE = re.compile(r"```(\w+)\n(.*?)```", re.DOTALL)
_MARKDOWN_TABLE = re.compile(r"(?:^[ \t]*\|.*\|[ \t]*(?:\n|\Z)){2,}", re.MULTILINE)
_RULE_ROW = re.compile(r"^[\s|:-]*-[\s|:-]*$")
_STYLES = re.compile(r"\\(?:title|text|section\*?)\s*\{\s*(.*?)\s*\}", re.DOTALL)


@dataclass
class _Page:
    """The page while it is taken apart: what has been cut out is blank, lengths stay."""

    content: str
    blocks: list[Block] = field(default_factory=list)

    def take(self, start: int, end: int, block: Block) -> None:
        self.content = self.content[:start] + " " * (end - start) + self.content[end:]
        self.blocks.append(block)


def predicted_blocks(markdown: str) -> list[Block]:
    """Return the blocks of a predicted page, by position, inline formulas last.

    Text positions count the paragraphs' own characters (without the blank lines between
    them), all others count the page's: the published evaluator sorts by both alike.
    """
    page = _Page(_clean(markdown))
    _take_tables(page)
    _take_formulas(page)
    _take_markdown_tables(page)
    for match in list(_CODE.finditer(page.content)):
        page.take(*match.span(), Block(TEXT, "code", match.group(2).strip(), match.start()))
    page.blocks.extend(_paragraphs(_STYLES.sub(r"\1", page.content)))
    page.blocks.sort(key=lambda block: (block.kind == INLINE_FORMULA, block.position or 0))
    return split_arrays(page.blocks)


def markdown_table_to_html(table: str) -> str:
    """Turn the lines of a pipe table into HTML; the rule under the heading is dropped."""
    lines = [line.strip() for line in table.strip().split("\n")]
    rows = [
        line.removeprefix("|").removesuffix("|").split("|")
        for line in lines
        if not _RULE_ROW.match(line)
    ]
    cells = ("<tr>" + "".join(f"<td>{cell.strip()}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table>{''.join(cells)}</table>"


def _clean(markdown: str) -> str:
    text = _FENCES.sub("", _IMAGE.sub("", markdown))
    text = re.sub(" {4,}", "    ", re.sub("_{4,}", "____", text))
    return _DOCUMENT_TAGS.sub("", text)


def _take_tables(page: _Page) -> None:
    for match in list(_LATEX_TABLE_ENVIRONMENT.finditer(page.content)):
        page.take(*match.span(), Block(TABLE, LATEX_TABLE, match.group(), match.start()))
    for category, tags in ((LATEX_TABLE, _TABULAR), (HTML_TABLE, _HTML_TABLE)):
        for start, end in _outermost(page.content, *tags):
            page.take(start, end, Block(TABLE, category, page.content[start:end], start))


def _outermost(
    text: str, opening: re.Pattern[str], closing: re.Pattern[str]
) -> list[tuple[int, int]]:
    """Spans from an opening tag to its own closing tag; tables within tables are not cut."""
    tags = sorted(
        [(m.start(), m.end(), 1) for m in opening.finditer(text)]
        + [(m.start(), m.end(), -1) for m in closing.finditer(text)]
    )
    spans, open_at = [], []
    for start, end, step in tags:
        if step == 1:
            open_at.append(start)
        elif open_at:
            first = open_at.pop()
            if not open_at:
                spans.append((first, end))
    return spans


def _take_formulas(page: _Page) -> None:
    """Cut out display formulas; inline ones become blocks and stay in their paragraph too."""
    for match in list(_FORMULA.finditer(page.content)):
        display = match.group(1) or match.group(2)
        if display is not None:
            latex = "\\[" + display.replace("\n", " ") + "\\]"
            page.take(*match.span(), Block(FORMULA, FORMULA, latex, match.start()))
            continue
        latex = "\\[" + (match.group(3) or match.group(4) or "").replace("\n", " ") + "\\]"
        page.blocks.append(Block(INLINE_FORMULA, INLINE_FORMULA, latex, match.start()))


def _take_markdown_tables(page: _Page) -> None:
    for match in list(_MARKDOWN_TABLE.finditer(page.content)):
        table = markdown_table_to_html(match.group())
        page.take(*match.span(), Block(TABLE, HTML_TABLE, table, match.start()))


def _paragraphs(content: str) -> list[Block]:
    """Split at blank lines, or at every line break where there is no blank line."""
    parts = content.split("\n\n")
    if len(parts) == 1:
        parts = content.split("\n")
    blocks, position = [], 0
    for part in parts:
        text = "\n".join(line.strip() for line in part.split("\n") if line.strip())
        if text.startswith("$") and text.endswith("$"):
            if text.replace("$", "").strip():
                blocks.append(Block(FORMULA, FORMULA, text, position))
        elif text:
            blocks.append(Block(TEXT, "text_block", text, position))
        position += len(part)
    return blocks
