"""Write what was read: text, Markdown, JSON Lines, hOCR and ALTO (PDF: `export_pdf`).

Boxes of words are estimates: the width of a line is shared out by characters, as the
recognizer gives one box per line. hOCR follows the hOCR 1.2 specification, ALTO the 4.2
schema of the Library of Congress.
"""

import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape

from manifold_ocr import __version__
from manifold_ocr.reading.layout.lines import Line, Paragraph
from manifold_ocr.reading.page import PageText
from manifold_ocr.records import Box

ALTO = "http://www.loc.gov/standards/alto/ns-v4#"
VERTICAL = 1.5  # a line this much higher than wide is vertical text
INLINE = re.compile(r"([\\`*_<\[\]|&~])")
LEADING = re.compile(r"^(\s*)([#>+=-]|\d+(?=[.)]))", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class ReadPage:
    """A page of a file: its number from 1, its label (path or path#page=N), what was read."""

    number: int
    label: str
    page: PageText


def text(pages: Iterable[ReadPage]) -> str:
    """Return the pages' text, pages apart by a form feed as pdftotext writes them."""
    return "\f".join(item.page.text + "\n" for item in pages)


def markdown(pages: Iterable[ReadPage]) -> str:
    """Return CommonMark: a paragraph per paragraph, its lines joined, a rule between pages."""
    return "\n---\n\n".join(
        "\n\n".join(_plain(part.flowing_text) for part in item.page.paragraphs if part.text) + "\n"
        for item in pages
    )


def _plain(value: str) -> str:
    """Return text whose signs mean nothing to Markdown."""
    value = INLINE.sub(r"\\\1", value)

    def mark(found: re.Match[str]) -> str:
        space, sign = found.groups()
        return f"{space}{sign}\\" if sign.isdigit() else f"{space}\\{sign}"

    return LEADING.sub(mark, value)


def json_lines(pages: Iterable[ReadPage]) -> str:
    """Return one JSON object per page: `image`, `page`, and `PageText.as_json`."""
    return "".join(
        json.dumps(
            {"image": item.label, "page": item.number, **item.page.as_json()}, ensure_ascii=False
        )
        + "\n"
        for item in pages
    )


def is_vertical(line: Line) -> bool:
    """Tell whether a line's text runs from top to bottom."""
    x0, y0, x1, y1 = line.box
    return len(line.text) > 1 and y1 - y0 >= VERTICAL * (x1 - x0)


def _advance(character: str) -> int:
    """Return the columns that a character takes: 2 for wide ones, 0 for combining ones."""
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


RIGHT, DOWN, LEFT, UP = range(4)  # where a line runs, by the quarter turns that set it upright


def direction(line: Line, turn: int = 0) -> int:
    """Return where a line of a page that is upright after `turn` quarter turns runs."""
    return DOWN if turn == 0 and is_vertical(line) else turn % 4


def baseline(box: Box, way: int) -> list[tuple[int, int]]:
    """Return two points of the line that letters stand on, estimated: a fifth above the bottom.

    A line that runs down is threaded through its middle. Programs that work by baselines
    (kraken, eScriptorium, Transkribus) leave a line out that has none.
    """
    x0, y0, x1, y1 = (round(value) for value in box)
    fifth = (y1 - y0) // 5, (x1 - x0) // 5
    return {
        RIGHT: [(x0, y1 - fifth[0]), (x1, y1 - fifth[0])],
        DOWN: [((x0 + x1) // 2, y0), ((x0 + x1) // 2, y1)],
        LEFT: [(x1, y0 + fifth[0]), (x0, y0 + fifth[0])],
        UP: [(x1 - fifth[1], y1), (x1 - fifth[1], y0)],
    }[way]


def words(line: Line, turn: int = 0) -> list[tuple[str, Box]]:
    """Return the words of a line with estimated boxes: its length shared out by characters."""
    x0, y0, x1, y1 = line.box
    way = direction(line, turn)
    length = y1 - y0 if way in (DOWN, UP) else x1 - x0
    content = line.text.strip()
    total = max(1, sum(map(_advance, content)))
    found: list[tuple[str, Box]] = []
    for match in re.finditer(r"\S+", content):
        a = length * sum(map(_advance, content[: match.start()])) / total
        b = a + length * sum(map(_advance, match[0])) / total
        box = {
            RIGHT: (x0 + a, y0, x0 + b, y1),
            DOWN: (x0, y0 + a, x1, y0 + b),
            LEFT: (x1 - b, y0, x1 - a, y1),
            UP: (x0, y1 - b, x1, y1 - a),
        }[way]
        found.append((match[0], box))
    return found


def hocr(pages: Sequence[ReadPage]) -> str:
    """Return an hOCR 1.2 document with areas, paragraphs, lines and words."""
    body = "".join(_hocr_page(item) for item in pages)
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Transitional//EN" '
        '"http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd">\n'
        '<html xmlns="http://www.w3.org/1999/xhtml">\n <head>\n  <title></title>\n'
        '  <meta http-equiv="Content-Type" content="text/html;charset=utf-8"/>\n'
        f'  <meta name="ocr-system" content="manifold-ocr {__version__}"/>\n'
        '  <meta name="ocr-capabilities" '
        'content="ocr_page ocr_carea ocr_par ocr_line ocrx_word"/>\n'
        f" </head>\n <body>\n{body} </body>\n</html>\n"
    )


def _bbox(box: Box) -> str:
    return "bbox " + " ".join(str(round(value)) for value in box)


def _hocr_page(item: ReadPage) -> str:
    n, (width, height) = item.number, item.page.size
    label = xml_text(item.label.replace('"', "'"))
    lines = [
        f"  <div class='ocr_page' id='page_{n}' "
        f"title='image \"{label}\"; bbox 0 0 {width} {height}; ppageno {n - 1}'>\n"
    ]
    for p, part in enumerate(item.page.paragraphs, 1):
        box = _bbox(part.box)
        lines.append(f"   <div class='ocr_carea' id='block_{n}_{p}' title='{box}'>\n")
        lines.append(f"    <p class='ocr_par' id='par_{n}_{p}' title='{box}'>\n")
        turn = item.page.turn
        lines += [_hocr_line(line, turn, f"{n}_{p}_{k}") for k, line in enumerate(part.lines, 1)]
        lines.append("    </p>\n   </div>\n")
    return "".join([*lines, "  </div>\n"])


def _hocr_line(line: Line, turn: int, name: str) -> str:
    sure = "" if line.confidence is None else f"; x_wconf {round(100 * line.confidence)}"
    inside = " ".join(
        f"<span class='ocrx_word' id='word_{name}_{k}' title='{_bbox(box)}{sure}'>"
        f"{xml_text(word)}</span>"
        for k, (word, box) in enumerate(words(line, turn), 1)
    )
    return (
        f"     <span class='ocr_line' id='line_{name}' title='{_bbox(line.box)}'>{inside}</span>\n"
    )


def xml_text(value: str) -> str:
    """Escape text for XML 1.0; characters that it cannot hold become U+FFFD."""
    return escape(re.sub(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "�", value))


def alto(pages: Sequence[ReadPage]) -> str:
    """Return an ALTO 4.2 document, sizes in pixels, words as `String` with confidence `WC`."""
    name = xml_text(pages[0].label.split("#page=")[0]) if pages else ""
    body = "".join(_alto_page(item) for item in pages)
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<alto xmlns="{ALTO}" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" '
        f'xsi:schemaLocation="{ALTO} http://www.loc.gov/standards/alto/v4/alto-4-2.xsd">\n'
        " <Description>\n  <MeasurementUnit>pixel</MeasurementUnit>\n"
        f"  <sourceImageInformation><fileName>{name}</fileName></sourceImageInformation>\n"
        '  <OCRProcessing ID="OCR_0"><ocrProcessingStep><processingSoftware>'
        f"<softwareName>manifold-ocr</softwareName>"
        f"<softwareVersion>{__version__}</softwareVersion>"
        "</processingSoftware></ocrProcessingStep></OCRProcessing>\n </Description>\n"
        f" <Layout>\n{body} </Layout>\n</alto>\n"
    )


def _place(box: Box) -> str:
    x0, y0, x1, y1 = (round(value) for value in box)
    return f'HPOS="{x0}" VPOS="{y0}" WIDTH="{max(0, x1 - x0)}" HEIGHT="{max(0, y1 - y0)}"'


def _alto_page(item: ReadPage) -> str:
    n, (width, height) = item.number, item.page.size
    blocks = "".join(
        _alto_block(part, item.page.turn, f"{n}_{p}")
        for p, part in enumerate(item.page.paragraphs, 1)
    )
    return (
        f'  <Page ID="page_{n}" PHYSICAL_IMG_NR="{n}" WIDTH="{width}" HEIGHT="{height}">\n'
        f'   <PrintSpace HPOS="0" VPOS="0" WIDTH="{width}" HEIGHT="{height}">\n'
        f"{blocks}   </PrintSpace>\n  </Page>\n"
    )


def _alto_block(part: Paragraph, turn: int, name: str) -> str:
    lines = []
    for k, line in enumerate(part.lines, 1):
        sure = "" if line.confidence is None else f' WC="{min(1.0, line.confidence):.4f}"'
        strings = "<SP/>".join(
            f'<String {_place(box)}{sure} CONTENT="{xml_text(word)}"/>'
            for word, box in words(line, turn)
        )
        if strings:  # the schema wants at least one String
            stands = " ".join(f"{x} {y}" for x, y in baseline(line.box, direction(line, turn)))
            lines.append(
                f'     <TextLine ID="line_{name}_{k}" {_place(line.box)} BASELINE="{stands}">'
                f"{strings}</TextLine>\n"
            )
    return (
        f'    <TextBlock ID="block_{name}" {_place(part.box)}>\n{"".join(lines)}    </TextBlock>\n'
    )


WRITERS: dict[str, tuple[str, Callable[[Sequence[ReadPage]], str]]] = {
    "text": (".txt", text),
    "markdown": (".md", markdown),
    "jsonl": (".jsonl", json_lines),
    "hocr": (".hocr", hocr),
    "alto": (".alto.xml", alto),
}
