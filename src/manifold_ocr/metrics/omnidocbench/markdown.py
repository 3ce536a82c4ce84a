"""Cut a predicted Markdown page into blocks: tables, formulas, code, paragraphs.

Offsets are the published evaluator's, mistakes included: paragraphs count without the blank
lines between them, everything after a pipe table counts in the page as it is after that table
has become HTML. Reading order is made of these offsets.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from manifold_ocr.metrics.omnidocbench.blocks import (
    FORMULA,
    INLINE_FORMULA,
    TABLE,
    TEXT,
    V1_5,
    Block,
    Evaluator,
)

HTML_TABLE = "html_table"
LATEX_TABLE = "latex_table"

_IMAGE = re.compile(r"!\[.*?\]\(.*?\)")
_FENCES = (
    re.compile(r"^```markdown\n?", re.MULTILINE),
    re.compile(r"^```html\n?", re.MULTILINE),
    re.compile(r"^```latex\n?", re.MULTILINE),
    re.compile(r"```\n?$", re.MULTILINE),
)
_REPEATED_SYMBOL = re.compile(r"([^a-zA-Z0-9])\1{10,}")
_DOCUMENT_TAGS = ("<html>", "</html>", "<body>", "</body>")
_LATEX_TABLE_ENVIRONMENT = re.compile(r"\\begin\{table\}.*?\\end\{table\}", re.DOTALL)
_FORMULA = re.compile(r"\$\$(.*?)\$\$|\\\[(.*?)\\\]|\$(.*?)\$|\\\((.*?)\\\)", re.DOTALL)
_DOLLARS = re.compile(r"\$\$(.*?)\$\$|\$(.*?)\$|\\\((.*?)\\\)", re.DOTALL)
_CODE = re.compile(r"```(\w+)\n(.*?)```", re.DOTALL)
_PIPE_ROW = re.compile(r"\|\s*.*?\s*\|\n", re.DOTALL)
_PIPE_TABLE = re.compile(r"(?:^[ \t]*\|.*\|[ \t]*(?:\n|\Z)){2,}", re.MULTILINE)
_RULE_ROW = re.compile(r"^[\s|:-]*-[\s|:-]*$")
_TABLE_ELEMENT = re.compile(r"<table.*?</table>", re.DOTALL)
_STYLES = (
    re.compile(r"\\title\{(.*?)\}"),
    re.compile(r"\\title\s*\{\s*(.*?)\s*\}", re.DOTALL),
    re.compile(r"\\text\s*\{\s*(.*?)\s*\}", re.DOTALL),
    re.compile(r"\\section\*?\{(.*?)\}"),
    re.compile(r"\\section\*?\{\s*(.*?)\s*\}", re.DOTALL),
)


@dataclass(frozen=True, slots=True)
class _Tags:
    """Opening and closing tag of a table.

    `step` characters are skipped after a tag and belong to a closing one; `restart` are
    skipped after a table that never ends. Both are the lengths of the published evaluator's
    patterns, so its LaTeX tables take one character too many.
    """

    opening: re.Pattern[str]
    closing: re.Pattern[str]
    step: int
    restart: int


_HTML = _Tags(re.compile(r"<table[^>]*>"), re.compile(r"</table>"), 8, 16)
_TABULAR = _Tags(re.compile(r"\\begin\{tabular\}"), re.compile(r"\\end\{tabular\}"), 14, 16)
_TABULAR_CORRECTED = _Tags(_TABULAR.opening, _TABULAR.closing, 13, 15)


@dataclass
class _Page:
    """The page while it is taken apart: what has been cut out is blank, lengths stay."""

    content: str
    blocks: list[Block] = field(default_factory=list)

    def blank(self, start: int, end: int) -> None:
        self.content = self.content[:start] + " " * (end - start) + self.content[end:]


def predicted_blocks(markdown: str, evaluator: Evaluator = V1_5) -> list[Block]:
    """Return the blocks of a predicted page by position; inline formulas also stay in text."""
    page = _Page(_clean(markdown, evaluator))
    _take_tables(page, evaluator)
    _take_formulas(page, evaluator)
    if evaluator.corrected:
        _take_pipe_tables(page)
    else:
        _expand_pipe_tables(page)
    for match in list(_CODE.finditer(page.content)):
        page.blank(*match.span())
        page.blocks.append(Block(TEXT, "code", match.group(2).strip(), match.start()))
    for pattern in _STYLES:
        page.content = pattern.sub(r"\1", page.content)
    page.blocks.extend(_paragraphs(page.content, evaluator))
    return sorted(page.blocks, key=lambda block: block.position or 0)


def _clean(markdown: str, evaluator: Evaluator) -> str:
    text = markdown.replace("\r\n", "\n").replace("\r", "\n")  # as reading its file would
    text = _IMAGE.sub("", text)
    for fence in _FENCES if evaluator.mixed else (_FENCES[0], _FENCES[-1]):
        text = fence.sub("", text)
    text = re.sub(" {4,}", "    ", re.sub("_{4,}", "____", text))
    if not evaluator.mixed:
        return _REPEATED_SYMBOL.sub(r"\1\1\1\1", text)
    for tag in _DOCUMENT_TAGS:
        text = text.replace(tag, "")
    return text


def _take_tables(page: _Page, evaluator: Evaluator) -> None:
    found = []
    text = page.content
    for match in _LATEX_TABLE_ENVIRONMENT.finditer(text):
        found.append((match.start(), match.group()))
        text = text[: match.start()] + " " * len(match.group()) + text[match.end() :]
    found += _tables(text, _TABULAR_CORRECTED if evaluator.corrected else _TABULAR)
    for start, table in sorted(found, key=lambda item: item[0]):
        page.blank(start, start + len(table))
        page.blocks.append(Block(TABLE, LATEX_TABLE, table, start))
    for start, table in _tables(page.content, _HTML):
        page.blank(start, start + len(table))
        page.blocks.append(Block(TABLE, HTML_TABLE, table, start))


def _tables(text: str, tags: _Tags) -> list[tuple[int, str]]:
    """Offset and source of tables from an opening tag to its own closing tag.

    Tables within tables are not cut. After one that is never closed the search begins anew.
    """
    found: list[tuple[int, str]] = []
    start: int | None = 0
    while start is not None and start < len(text):
        position, open_at = start, list[int]()
        while position < len(text):
            opening = tags.opening.search(text, position)
            closing = tags.closing.search(text, position)
            if opening and (closing is None or opening.start() < closing.start()):
                open_at.append(opening.start())
                position = opening.start() + tags.step
            elif closing:
                end = closing.start() + tags.step
                if open_at:
                    first = open_at.pop()
                    if not open_at:
                        found.append((first, text[first:end]))
                position = end
            else:
                break
        start = open_at[0] + tags.restart if open_at else None
    return found


def _take_formulas(page: _Page, evaluator: Evaluator) -> None:
    r"""Cut out display formulas; inline ones become blocks and stay in their paragraph too.

    A formula in \[ \] that holds dollars counts as inline.
    """
    for match in list(_FORMULA.finditer(page.content)):
        if evaluator.mixed:
            latex = " ".join(match.group().strip().split("\n"))
        else:
            latex = "".join(match.group().split())
        dollars = _DOLLARS.search(latex)
        kind = FORMULA if dollars is None or dollars.group(1) else INLINE_FORMULA
        if kind == FORMULA:
            page.blank(*match.span())
            latex = _DOLLARS.sub(r"\\[\1\\]", latex)
        else:
            latex = _DOLLARS.sub(r"\\[\2\3\\]", latex)
        page.blocks.append(Block(kind, kind, latex, match.start()))


def _take_pipe_tables(page: _Page) -> None:
    for match in list(_PIPE_TABLE.finditer(page.content)):
        page.blank(*match.span())
        table = markdown_table_to_html(match.group())
        page.blocks.append(Block(TABLE, HTML_TABLE, table, match.start()))


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


def _expand_pipe_tables(page: _Page) -> None:
    """Replace pipe tables by HTML as the published evaluator does, and cut them out.

    It needs two rows anywhere. The line directly before a table is lost, and so is a table
    line that holds a colon or three hyphens; an HTML comment ends nothing.
    """
    if len(_PIPE_ROW.findall(page.content + "\n")) < 2:
        return
    text = page.content.replace("\r", "") + "\n"
    for row in _PIPE_ROW.findall(text):
        text = text.replace(row, _one_table_per_row(row), 1)
    text = "\n".join(_merge_neighbors(text.split("\n")))
    text = text.replace("<table>", '<table border="1" >')
    page.content = text.replace("<td>", '<td colspan="1" rowspan="1">')
    for match in list(_TABLE_ELEMENT.finditer(page.content)):
        page.blank(*match.span())
        page.blocks.append(Block(TABLE, HTML_TABLE, match.group(), match.start()))


def _one_table_per_row(row: str) -> str:
    """Lines of the table that a match is on its own; a match may span several lines."""
    lines = [line.strip().split("|")[1:-1] for line in row.strip().split("\n")]
    html = ["<table>", "  <thead>", "    <tr>"]
    html += [f"      <th>{cell.strip()}</th>" for cell in lines[0]]
    html += ["    </tr>", "  </thead>", "  <tbody>"]
    for line in lines[2:]:
        cells = (f"      <td>{cell.strip()}</td>" for cell in line)
        html += ["    <tr>", *cells, "    </tr>"]
    return "\n".join([*html, "  </tbody>", "</table>", ""])


def _merge_neighbors(lines: list[str]) -> Iterator[str]:
    """Join tables without a line between them; each line is looked at one step late."""
    inside, gathered, last = False, "", ""
    for line in lines:
        if "<table>" in line:
            inside = True
            gathered += last
        elif inside:
            if not (":" in last or "---" in last or "</thead>" in last):
                gathered += "\n" + last
            if "</table>" in last:
                inside = False
                yield _one_table(gathered)
                gathered = ""
        else:
            yield last
        last = line
    if last and (inside or "</table>" in last):
        yield _one_table(f"{gathered}\n{last}")
    elif last:
        yield last


def _one_table(text: str) -> str:
    """The rows of all tables in `text` as one table; what lies between them is lost."""
    text = re.sub(r"<!--[\s\S]*?-->", "", text)
    rows: list[str] = []
    for table in re.findall(r"<table>[\s\S]*?</table>", text):
        lines = [
            line.replace("<th>", "<td>").replace("</th>", "</td>") if "<th>" in line else line
            for line in table.split("\n")
            if not re.search("</?t(?:able|head|body)>", line)
        ]
        if len(lines) > 2:
            rows += lines
    return "\n\n<table>\n" + "\n".join(rows) + "\n</table>\n\n"


def _paragraphs(content: str, evaluator: Evaluator) -> Iterator[Block]:
    """Split at blank lines, or at every line break where there is no blank line."""
    separator = "\n\n" if "\n\n" in content else "\n"
    position = 0
    for part in content.split(separator):
        text = "\n".join(line.strip() for line in part.strip().split("\n") if line.strip())
        if text.startswith("<table") and text.endswith("</table>"):
            yield Block(TABLE, HTML_TABLE, text, position)
        elif text.startswith("$") and text.endswith("$"):
            if text.replace("$", "").strip():
                yield Block(FORMULA, FORMULA, text, position)
        elif text:
            yield Block(TEXT, "text_block", text, position)
        position += len(part) + (len(separator) if evaluator.corrected else 0)
