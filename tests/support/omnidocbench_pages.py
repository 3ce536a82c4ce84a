"""Constructed OmniDocBench pages and damaged predictions of them, the same for a seed."""

import random

WORD_LIST = (
    "river stone market quiet seven lantern orchard copper window harbor signal winter paper "
    "engine morning silver garden thunder bottle travel 12 2024 3.5 99% 水土 流失 治理 情况 表格 "
    "数据 增长 公司 H$_2$O $x^2$ \\(a_1\\) $n$ café naïve ½ ① a_b /train C:\\new"
)
WORDS = WORD_LIST.split(" ")
FORMULAS = (
    "$$E = mc^{2}$$",
    "\\[ \\frac{a}{b} + \\mathbf{x} \\]",
    "$$\\left( \\sum_{i=1}^{n} x_i \\right) \\tag{3}$$",
    "$$\\begin{array}{l} a = 1 \\\\ b = 2 + c \\\\ d = a \\end{array}$$",
    "$$\\begin{array}{cc} 1 & 0 \\\\ 0 & 1 \\end{array}$$",
    "$$\\text{rate} = \\displaystyle 3 \\quad \\text{if } x.$$",
    "$$\\begin{array}{| c |} p_{1} \\\\ \\\\ q \\end{array}$$",
)
IGNORED = ("header", "footer", "page_number", "figure_caption", "table_caption", "page_footnote")
SCORED = ("text_block", "text_block", "text_block", "title", "reference", "code_txt")


def sentence(rng, low=3, high=14):
    return " ".join(rng.choice(WORDS) for _ in range(rng.randint(low, high)))


def table(rng):
    rows = [
        [sentence(rng, 1, 2) for _ in range(rng.randint(2, 3))] for _ in range(rng.randint(2, 4))
    ]
    if rng.random() < 0.3:
        rows[1][0] += ": " + rng.choice(WORDS)
    return rows


def html(rng, rows):
    """The rows as HTML with one of the spellings that predictions use."""
    head = rng.choice(("td", "th"))
    lines = []
    for number, row in enumerate(rows):
        tag = head if number == 0 else "td"
        span = rng.choice(("", "", ' colspan="1"', ' style="x"')) if number else ""
        lines.append("<tr>" + "".join(f"<{tag}{span}>{cell}</{tag}>" for cell in row) + "</tr>")
    if rng.random() < 0.3:
        lines[0] = f"<thead>{lines[0]}</thead>"
    glue = rng.choice(("", "\n", "\n    "))
    return (
        f"<table{rng.choice(('', '', ' border=1'))}>" + glue + glue.join(lines) + glue + "</table>"
    )


def pipes(rng, rows):
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    rule = rng.choice(("---", ":--", "-"))
    lines.insert(1, "|" + "|".join([rule] * len(rows[0])) + "|")
    return "\n".join(lines)


def tabular(rng, rows):
    body = " \\\\\n".join(" & ".join(row) for row in rows)
    text = "\\begin{tabular}{lll}\n" + body + "\n\\end{tabular}"
    return f"\\begin{{table}}\n{text}\n\\end{{table}}" if rng.random() < 0.4 else text


def truth(rng, number):
    """One entry of OmniDocBench.json, and what a perfect reader would say block by block."""
    elements, said = [], []
    for order in range(1, rng.randint(2, 8) + 1):
        kind = rng.random()
        element = {"anno_id": order, "order": order}
        if kind < 0.5:
            element |= {"category_type": rng.choice(SCORED), "text": sentence(rng)}
            said.append(("text", element["text"]))
        elif kind < 0.62:
            element |= {"category_type": rng.choice(IGNORED), "text": sentence(rng, 1, 5)}
            element["order"] = rng.choice((None, order))
            said.append(("text", element["text"]))
        elif kind < 0.82:
            element |= {"category_type": "equation_isolated", "latex": rng.choice(FORMULAS)}
            said.append(("formula", element["latex"]))
        elif kind < 0.94:
            rows = table(rng)
            element |= {"category_type": "table", "html": html(rng, rows), "latex": ""}
            element["latex"] = tabular(rng, rows)
            said.append(("table", rows))
        else:
            element |= {
                "category_type": "text_block",
                "text": rng.choice(("---", "...", "")),
            }
            said.append(("text", element["text"]))
        elements.append(element)
    relations = []
    texts = [e["anno_id"] for e in elements if e["category_type"] == "text_block"]
    if len(texts) > 2 and rng.random() < 0.3:
        pairs = [texts[:2], texts[1:3]][: rng.randint(1, 2)]
        relations = [
            {"relation_type": "truncated", "source_anno_id": a, "target_anno_id": b}
            for a, b in pairs
        ]
    page = {
        "layout_dets": elements,
        "extra": {"relation": relations},
        "page_info": {"image_path": f"page-{number:03d}.jpg", "page_attribute": {}},
    }
    return page, said


def prediction(rng, said):
    """The page as Markdown, with a few of the changes that models make."""
    parts = []
    for kind, content in said:
        if kind == "table":
            form = rng.choice((html, html, pipes, pipes, tabular))
            parts.append(form(rng, content))
        else:
            parts.append(damaged(rng, content) if rng.random() < 0.5 else content)
    for _ in range(rng.randint(0, 3)):
        change = rng.choice((swap, drop, repeat, join, split, insert, insert, insert, sever))
        parts = change(rng, parts) or parts
    text = rng.choice(("\n\n", "\n\n", "\n\n", "\n")).join(parts)
    if rng.random() < 0.15:
        text = f"```{rng.choice(('markdown', 'html', 'latex'))}\n{text}\n```"
    if rng.random() < 0.1:
        text = text.replace("\n", "\r\n")
    return text


def damaged(rng, text):
    letters = list(text)
    for _ in range(rng.randint(1, 1 + len(letters) // 6)):
        if letters:
            place = rng.randrange(len(letters))
            letters[place] = rng.choice(("", "x", letters[place] * 2, " ", "$"))
    return "".join(letters)


def swap(rng, parts):
    a, b = rng.randrange(len(parts)), rng.randrange(len(parts))
    parts[a], parts[b] = parts[b], parts[a]


def drop(rng, parts):
    return [part for k, part in enumerate(parts) if k != rng.randrange(len(parts))]


def repeat(rng, parts):
    return [*parts, rng.choice(parts)]


def join(rng, parts):
    k = rng.randrange(len(parts))
    return [*parts[:k], rng.choice((" ", "\n", "")).join(parts[k : k + 2]), *parts[k + 2 :]]


def split(rng, parts):
    k = rng.randrange(len(parts))
    middle = len(parts[k]) // 2
    return [*parts[:k], parts[k][:middle], parts[k][middle:], *parts[k + 1 :]]


def sever(rng, parts):
    k = rng.randrange(len(parts))
    return [*parts[:k], parts[k][: rng.randint(0, len(parts[k]))], *parts[k + 1 :]]


EXTRAS = (
    "---",
    "***",
    "![figure](a.png)",
    "<html><body>end</body></html>",
    "```python\nprint('quiet river')\n```",
    "$stone market$",
    "$ $",
    "________________ blank",
    "=============== rule",
    "\\section{ winter paper }",
    "\\text{ silver } and \\title{garden}",
    "<!-- note | bottle | -->",
    "<table><tr><td>open",
    "<table></table>",
    "\\[ a $x$ b \\]",
    "| lone row |",
    "a | b\nc | d |",
    "  indented      words      here",
    "\\begin{tabular}{l} never closed",
    "<table><tr><td><table><tr><td>inner</td></tr></table></td></tr></table>",
    "| left | right |\n| --- | --- |\n| river: | stone |\n| market | quiet |",
    "<table><tr><td colspan='two'>bad</td></tr></table>",
)


def insert(rng, parts):
    k = rng.randint(0, len(parts))
    return [*parts[:k], rng.choice((*EXTRAS, sentence(rng))), *parts[k:]]


def pages(count, seed=2025):
    """`count` pairs of ground truth and Markdown."""
    result = []
    for number in range(count):
        rng = random.Random(seed * 1000 + number)
        page, said = truth(rng, number)
        result.append((page, prediction(rng, said)))
    return result
