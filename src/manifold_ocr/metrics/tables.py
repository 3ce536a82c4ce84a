"""Table similarity TEDS (Zhong et al. 2020, arXiv:1911.10683) as OmniDocBench counts it.

TEDS = 1 - tree edit distance / max(number of nodes). Nodes are the descendant elements of
<table>: the root is not counted, inline tags inside cells are. An insertion or deletion costs
1, a rename 1 if tag, colspan or rowspan differ, else the normalized edit distance of the two
cells' contents (characters plus inline tags). TEDS-S ignores contents.

The distance is that of Zhang and Shasha (1989, SIAM J. Comput. 18, 1245), row by row in numpy;
cells are leaves, and a leaf's distance to a tree has a closed form. 60 x 30 cells take seconds
where the published tool's APTED takes minutes.
"""

import html
import logging
import re
import unicodedata
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from lxml import etree
from lxml import html as lxml_html
from rapidfuzz.distance import Levenshtein
from rapidfuzz.process import cdist

_TABLE = re.compile(r"<table\b[^>]*>(.*)</table>", re.DOTALL | re.IGNORECASE)
_LAYOUT = tuple(
    re.compile(rf'( {name}=".*?")') for name in ("style", "height", "width", "align", "class")
)
_DROPPED_TAGS = ("sup", "sub", "span", "div", "p")
LARGEST = 25_000_000  # node pairs that are compared: 5,000 nodes against as many
WRAPPED = '<html><body><table border="1" >{}</table></body></html>'


@dataclass(frozen=True, slots=True)
class TableScores:
    """TEDS with and without cell contents, each in [0, 1]."""

    teds: float
    teds_structure: float


@dataclass(frozen=True, slots=True)
class _Node:
    """An element as it is compared; `content` is empty for all but td."""

    tag: str
    spans: tuple[int, int] | None
    content: list[str]
    children: list["_Node"]


def table_scores(reference: str, prediction: str, *, normalize: bool = True) -> TableScores:
    """Score one pair of HTML tables; a side that is no table scores 0, even if both are.

    With `normalize` False both must already be whole documents (html, body, table).
    """
    if normalize:
        reference, prediction = normalize_table(reference), normalize_table(prediction)
    return TableScores(
        teds(reference, prediction), teds(reference, prediction, structure_only=True)
    )


def teds(
    reference: str, prediction: str, *, structure_only: bool = False, tree_nodes: bool = False
) -> float:
    """Return TEDS of two HTML documents whose body holds a table.

    Two tables of more than LARGEST node pairs score 0, which is logged.

    `tree_nodes` counts the nodes that are compared (<table> itself included, inline tags in
    cells not), as the package table_recognition_metric does: another number under one name.
    """
    tables = [_parse(document) for document in (reference, prediction)]
    if tables[0] is None or tables[1] is None:
        return 0.0
    try:
        trees = [_flatten(_tree(table, structure_only)) for table in tables]
    except ValueError:  # a span that is no number: the published tool scores such a table 0
        return 0.0
    if tree_nodes:
        nodes = max(len(tree.nodes) for tree in trees)
    else:
        nodes = max(len(table.xpath(".//*")) for table in tables)
    if nodes == 0:
        return 0.0
    sizes = [len(tree.nodes) for tree in trees]
    if sizes[0] * sizes[1] > LARGEST:
        logging.getLogger(__name__).warning("TEDS of %d against %d nodes is not computed", *sizes)
        return 0.0
    return 1.0 - tree_distance(*trees) / nodes


def normalize_table(text: str) -> str:
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
    return _Node(str(element.tag), None, [], children)


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


@dataclass(frozen=True, slots=True)
class Tree:
    """A tree in postorder: `first` is the leftmost leaf below each node, by its number.

    `keyroots` are the inner nodes that are no leftmost child, ascending; `leaves` and `inner`
    part the nodes.
    """

    nodes: list[_Node]
    first: npt.NDArray[np.int64]
    keyroots: list[int]
    leaves: npt.NDArray[np.int64]
    inner: list[int]


def _flatten(root: _Node) -> Tree:
    nodes: list[_Node] = []
    first: list[int] = []
    keyroots = []

    def visit(node: _Node, leftmost: bool) -> int:
        found = [visit(child, number == 0) for number, child in enumerate(node.children)]
        first.append(found[0] if found else len(nodes))
        nodes.append(node)
        if node.children and not leftmost:
            keyroots.append(len(nodes) - 1)
        return first[-1]

    visit(root, False)
    leaves = [k for k, node in enumerate(nodes) if not node.children]
    inner = [k for k, node in enumerate(nodes) if node.children]
    return Tree(nodes, np.array(first), keyroots, np.array(leaves, dtype=np.int64), inner)


def tree_distance(a: Tree, b: Tree) -> float:
    """Return the edit distance of two trees (costs: see the module)."""
    rename = _rename_costs(a, b)
    tree = rename.copy()  # distance of the subtrees under each pair of nodes
    for j in b.inner:
        below = rename[a.leaves, b.first[j] : j + 1]
        tree[a.leaves, j] = j - b.first[j] + below.min(axis=1)
    for i in a.inner:
        below = rename[a.first[i] : i + 1][:, b.leaves]
        tree[i, b.leaves] = i - a.first[i] + below.min(axis=0)
    for i in a.keyroots:
        for j in b.keyroots:
            _forests(a, b, (i, j), rename, tree)
    return float(tree[-1, -1])


def _rename_costs(a: Tree, b: Tree) -> npt.NDArray[np.float64]:
    """Cost of turning each node of `a` into each of `b`: (nodes of a, nodes of b)."""
    symbols: dict[str, str] = {}

    def spelled(node: _Node) -> str:
        """One character for each token: a character or an inline tag."""
        for token in node.content:
            number = len(symbols)
            symbols.setdefault(token, chr(number + 0x800 * (number >= 0xD800)))
        return "".join(symbols[token] for token in node.content)

    rows, columns = (list(map(spelled, tree.nodes)) for tree in (a, b))
    known = [list(dict.fromkeys(texts)) for texts in (rows, columns)]
    costs = cdist(*known, scorer=Levenshtein.normalized_distance, dtype=np.float64)
    places = [{text: k for k, text in enumerate(texts)} for texts in known]
    result = costs[[places[0][t] for t in rows]][:, [places[1][t] for t in columns]]
    kinds: dict[Any, int] = {}
    kind = [
        np.array([kinds.setdefault((node.tag, node.spans), len(kinds)) for node in tree.nodes])
        for tree in (a, b)
    ]
    result[kind[0][:, None] != kind[1][None, :]] = 1.0
    return np.asarray(result)


def _forests(
    a: Tree,
    b: Tree,
    roots: tuple[int, int],
    rename: npt.NDArray[np.float64],
    tree: npt.NDArray[np.float64],
) -> None:
    """Fill `tree` for the pairs of nodes whose leftmost leaves are those of the two roots."""
    (i, j), low = roots, (a.first[roots[0]], b.first[roots[1]])
    before = b.first[low[1] : j + 1] - low[1]  # columns left of each node's subtree
    whole = before == 0
    steps = np.arange(len(before) + 1.0)
    forest = np.empty((i - low[0] + 2, len(steps)))
    forest[0] = steps
    best = np.empty_like(steps)
    for row, node in enumerate(range(low[0], i + 1), 1):
        above = a.first[node] - low[0]
        last = forest[row - 1]
        both = forest[above][before] + tree[node, low[1] : j + 1]
        if above == 0:
            both = np.where(whole, last[:-1] + rename[node, low[1] : j + 1], both)
        best[0] = row
        np.minimum(last[1:] + 1, both, out=best[1:])
        forest[row] = np.minimum.accumulate(best - steps) + steps  # insertions follow
        if above == 0:
            tree[node, low[1] : j + 1][whole] = forest[row, 1:][whole]
