"""PAGE-XML and ALTO that other programs take: the schemas' rules on texts and boxes of any kind."""

import pytest
from layout_schemas import ALTO, PAGE, checked_alto, checked_page

from manifold_ocr.reading.export import ReadPage, alto
from manifold_ocr.reading.label.corrections import alto_xml, page_xml
from manifold_ocr.reading.label.folder import Label
from manifold_ocr.reading.layout.lines import Line, Paragraph, Row
from manifold_ocr.reading.page import PageText

SIZE = (400, 300)
CASES = {
    "markup": [("alpha & <b>", (10, 10, 110, 30)), ("quote \" and ' too", (10, 60, 110, 80))],
    "control characters": [("a\x01b\ufffe\x0bc", (10, 10, 110, 30))],
    "parts of pixels": [("alpha", (-3.4, 10.6, 110.2, 30.9))],
    "tiny": [("a", (10, 10, 10.2, 10.3))],
    "beyond the page": [("a", (380, 290, 450, 350)), ("b", (500, 400, 600, 500))],
    "corners the other way round": [("a", (50, 50, 10, 10))],
    "other directions": [("שלום עולם", (10, 10, 110, 30)), ("縦書き文", (200, 10, 220, 200))],
}


def labels(lines):
    return [
        Label(image=f"a-{n:04d}.png", page="a", box=box, text=text, read=text, confidence=0.9,
              source="read", file="a.png")
        for n, (text, box) in enumerate(lines, 1)
    ]  # fmt: skip


def plain(text):
    """Return what XML 1.0 can hold of a text, the rest as U+FFFD."""
    return "".join("\ufffd" if c in "\x01\ufffe\x0b" else c for c in text)


@pytest.mark.parametrize("lines", CASES.values(), ids=CASES.keys())
def test_labels_keep_the_rules_of_both_schemas(lines):
    wanted = [plain(text) for text, _ in lines]
    page = checked_page(page_xml('a b\x01&".png', SIZE, labels(lines)))
    assert [element.text for element in page.iter(f"{PAGE}Unicode")] == wanted
    root = checked_alto(alto_xml('a b\x01&".png', SIZE, labels(lines)))
    assert [element.get("CONTENT") for element in root.iter(f"{ALTO}String")] == wanted
    for element in root.iter(f"{ALTO}TextLine"):
        assert int(element.get("WIDTH")) >= 1 and int(element.get("HEIGHT")) >= 1


@pytest.mark.parametrize("lines", CASES.values(), ids=CASES.keys())
@pytest.mark.parametrize("pages", [1, 2])
def test_read_pages_keep_the_rules_of_alto(lines, pages):
    parts = tuple(Paragraph((Row((Line(box, text, 0.9),)),)) for text, box in lines)
    read = [ReadPage(n, f'/x/scan "q" & é.pdf#page={n}', PageText(parts, SIZE, "page"))
            for n in range(1, pages + 1)]  # fmt: skip
    root = checked_alto(alto(read))
    words = [element.get("CONTENT") for element in root.iter(f"{ALTO}String")]
    assert words == [plain(word) for text, _ in lines for word in text.split()] * pages


def test_a_page_without_text_is_a_page():
    checked_alto(alto([ReadPage(1, "a.png", PageText((), SIZE, "page"))]))


def test_baselines_lie_where_letters_stand():
    """A fifth above the bottom; through the middle of a line that runs down."""
    root = checked_page(page_xml("a.png", SIZE, labels(CASES["other directions"])))
    found = [element.get("points") for element in root.iter(f"{PAGE}Baseline")]
    assert found == ["10,26 110,26", "210,10 210,200"]
