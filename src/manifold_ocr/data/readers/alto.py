"""ALTO 1 to 4, as library scanners, ABBYY, eScriptorium and Tesseract write it.

Boxes may be in pixels, mm10 or inch1200, and of a page of another size. Order: ReadingOrder
(ALTO 4.3), else the order of the file. A file of several pages names them one by one; they are
the pages of one image file.
"""

import re
from typing import Any

from manifold_ocr.data.formats import bounding_box
from manifold_ocr.data.readers.xml_pages import (
    XmlPage,
    XmlText,
    child,
    language_of,
    local,
    number,
)
from manifold_ocr.records import Box

_HYPHENS = ("-", "\u00ad", "\u2010", "\u2e17", "\u00ac")
_UNSPACED = re.compile("[\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef]")  # CJK


def pages(root: Any) -> list[XmlPage]:
    """Return the pages of a file in order."""
    image = next((str(e.text or "").strip() for e in root.iter("{*}fileName")), "")
    unit = next((str(e.text or "").strip().lower() for e in root.iter("{*}MeasurementUnit")), "")
    return [
        XmlPage(
            image=image,
            width=number(page, "WIDTH"),
            height=number(page, "HEIGHT"),
            unit=unit or "pixel",
            language=language_of(root),
            lines=[_line(line) for line in _ordered_lines(root, page)],
        )
        for page in root.iter("{*}Page")
    ]


def _ordered_lines(root: Any, page: Any) -> list[Any]:
    lines = list(page.iter("{*}TextLine"))
    order = next(root.iter("{*}ReadingOrder"), None)
    if order is None:
        return lines
    by_id = {element.get("ID"): element for element in page.iter() if element.get("ID")}
    ordered: dict[Any, None] = {}
    for ref in order.iter("{*}ElementRef"):
        if (element := by_id.get(ref.get("REF"))) is not None:
            ordered.update(dict.fromkeys(element.iter("{*}TextLine")))
    ordered.update(dict.fromkeys(lines))
    return list(ordered)


def _line(line: Any) -> XmlText:
    text, problem = "", ""
    try:
        box = _box(line)
    except ValueError as error:
        box, problem = None, str(error)
    text = re.sub(r"\s+", " ", _text(line))
    return XmlText(str(line.get("ID") or ""), box, text, problem if text.strip() else "")


def _box(element: Any) -> Box | None:
    """Return the stated box, else that of the polygon, else the one around the strings.

    Raises:
        ValueError: a coordinate is not a number (some programs write decimal commas).
    """
    stated = [element.get(key) for key in ("HPOS", "VPOS", "WIDTH", "HEIGHT")]
    if all(value is not None for value in stated):
        try:
            x, y, width, height = (float(value) for value in stated)
        except ValueError as error:
            raise ValueError(f"a coordinate is not a number: {error}") from error
        if width > 0 and height > 0:
            return (x, y, x + width, y + height)
    polygon = element.find("{*}Shape/{*}Polygon")
    if polygon is not None:
        points = re.split(r"[\s,]+", str(polygon.get("POINTS") or "").strip())
        return bounding_box([float(value) for value in points])
    parts = [box for part in element.iterfind("{*}String") if (box := _box(part))]
    if not parts:
        return None
    x0, y0, x1, y1 = zip(*parts, strict=True)
    return (min(x0), min(y0), max(x1), max(y1))


def _text(line: Any) -> str:
    """Join String, SP and HYP elements; a line without any SP has a space between strings.

    A hyphen is written once, whether it is in the string, in HYP or in both.
    """
    spaced = child(line, "SP") is not None
    text = ""
    for element in line:
        kind = local(element)
        if kind == "String":
            content = _content(element)
            text += content if spaced else _gap(text, content) + content
        elif kind == "SP":
            text += " "
        elif kind == "HYP":
            hyphen = element.get("CONTENT") or "-"
            text += "" if text.endswith((*_HYPHENS, hyphen)) else hyphen
    return text


def _content(string: Any) -> str:
    stated = string.get("CONTENT")
    if stated is None:
        return "".join(glyph.get("CONTENT") or "" for glyph in string.iterfind("{*}Glyph"))
    return str(stated)


def _gap(before: str, after: str) -> str:
    """Return what parts two strings: nothing between Chinese, Japanese or Korean signs."""
    if not before or not after:
        return ""
    joined = _UNSPACED.match(before[-1]) and _UNSPACED.match(after[0])
    return "" if joined else " "
