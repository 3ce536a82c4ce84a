"""Table similarity TEDS (Zhong et al. 2020, arXiv:1911.10683) as OmniDocBench counts it.

TEDS = 1 - tree edit distance / max(number of nodes), the distance by APTED. Nodes are the
descendant elements of <table>: the root is not counted, inline tags inside cells are. A
rename costs 1 if tag, colspan or rowspan differ, else the normalised edit distance of the
two cells' contents (characters plus inline tags). TEDS-S ignores contents.
"""

import html
import re
import unicodedata
from dataclasses import dataclass
from typing import Any

from apted import APTED, Config
from lxml import etree
from lxml import html as lxml_html

from manifold_ocr.metrics import edit

_TABLE = re.compile(r"<table\b[^>]*>(.*)</table>", re.DOTALL | re.IGNORECASE)
_LAYOUT = tuple(
    re.compile(rf'( {name}=".*?")') for name in ("style", "height", "width", "align", "class")
)
_DROPPED_TAGS = ("sup", "sub", "span", "div", "p")
WRAPPED = '<html><body><table border="1" >{}</table></body></html>'


@dataclass(frozen=True, slots=True)
class TableScores:
    """TEDS with and without cell contents, each in [0, 1]."""

    teds: float
    teds_structure: float


@dataclass(frozen=True, slots=True)
class _Node:
    """An element as APTED sees it; `content` is None for all but td."""

    tag: str
    spans: tuple[int, int] | None
    content: list[str] | None
    children: list["_Node"]


def table_scores(reference: str, prediction: str, *, normalise: bool = True) -> TableScores:
    """Score one pair of HTML tables; a side that is no table scores 0, even if both are.

    With `normalise` False both must already be whole documents (html, body, table).
    """
    if normalise:
        reference, prediction = normalise_table(reference), normalise_table(prediction)
    return TableScores(
        teds(reference, prediction), teds(reference, prediction, structure_only=True)
    )


def teds(
    reference: str, prediction: str, *, structure_only: bool = False, tree_nodes: bool = False
) -> float:
    """Return TEDS of two HTML documents whose body holds a table.

    `tree_nodes` counts the nodes that are compared (<table> itself included, inline tags in
    cells not), as the package table_recognition_metric does: another number under one name.
    """
    tables = [_parse(document) for document in (reference, prediction)]
    if tables[0] is None or tables[1] is None:
        return 0.0
    try:
        trees = [_tree(table, structure_only) for table in tables]
    except ValueError:  # a span that is no number: the published tool scores such a table 0
        return 0.0
    if tree_nodes:
        nodes = max(map(_size, trees))
    else:
        nodes = max(len(table.xpath(".//*")) for table in tables)
    if nodes == 0:
        return 0.0
    distance = APTED(trees[1], trees[0], _Costs()).compute_edit_distance()
    return 1.0 - float(distance) / nodes


def normalise_table(text: str) -> str:
    """Return a table as OmniDocBench compares it, or "" if there is none.

    th becomes td; thead, tbody and span go, their content stays; layout attributes,
    line breaks and inline sup, sub, div and p tags are dropped; text is NFKC.
    """
    if "<table" not in text.replace(" ", ""):
        return ""
    text = html.unescape(_plain_cells(text)).replace("\n", "")
    text = "".join(_TABLE.findall(unicodedata.normalize("NFKC", text).strip()))
    for pattern in _LAYOUT:
        text = pattern.sub("", text)
    text = re.sub(r"</?tbody>", "", text)
    text = WRAPPED.format(re.sub(r"\s+", " ", text))
    for tag in _DROPPED_TAGS:
        text = text.replace(f"<{tag}>", "").replace(f"</{tag}>", "")
    return re.sub("<colgroup>.*?</colgroup>", "", text)


def _plain_cells(text: str) -> str:
    from bs4 import BeautifulSoup

    soup = BeautifulSoup(text, "html.parser")
    for header in soup.find_all("th"):
        header.name = "td"
    for head in soup.find_all("thead"):
        head.unwrap()
    for formula in soup.find_all("math"):
        formula.replace_with(f"${formula.get('alttext', '')}$")
    for span in soup.find_all("span"):
        span.unwrap()
    return str(soup)


def _parse(document: str) -> Any:
    if not document.strip():
        return None
    parser = lxml_html.HTMLParser(remove_comments=True, encoding="utf-8")
    try:
        root = lxml_html.fromstring(document.encode("utf-8", "replace"), parser=parser)
    except (etree.ParserError, etree.XMLSyntaxError):
        return None
    tables = root.xpath("body/table")
    return tables[0] if tables else None


def _tree(element: Any, structure_only: bool) -> _Node:
    if element.tag == "td":
        spans = (int(element.get("colspan", "1")), int(element.get("rowspan", "1")))
        content = [] if structure_only else _tokens(element)[1:-1]
        return _Node("td", spans, content, [])
    children = [_tree(child, structure_only) for child in element]
    return _Node(str(element.tag), None, None, children)


def _size(node: _Node) -> int:
    return 1 + sum(map(_size, node.children))


def _tokens(element: Any) -> list[str]:
    """Characters and inline tags of an element, its own tags first and last."""
    tokens = [f"<{element.tag}>", *(element.text or "")]
    for child in element:
        tokens += _tokens(child)
    if element.tag != "unk":
        tokens.append(f"</{element.tag}>")
    if element.tag != "td":
        tokens += element.tail or ""
    return tokens


class _Costs(Config):  # type: ignore[misc]
    """Insertions and deletions cost 1 (the default); renames as the module says."""

    def rename(self, node1: _Node, node2: _Node) -> float:
        if node1.tag != node2.tag or node1.spans != node2.spans:
            return 1.0
        if node1.content or node2.content:
            return edit.ned(node1.content or [], node2.content or [])
        return 0.0
