"""PAGE-XML, as Transkribus, eScriptorium, OCR-D and LAREX write it (schemas 2009 to 2019).

Order: the ReadingOrder element, `@index` at each level; where there is none, Transkribus's
`custom="readingOrder {index:n;}"`; then the order of the file. All lines below any region count,
those of table cells too (by row and column). A region without lines gives its own text.
"""

import re
from collections.abc import Iterator
from typing import Any

from lxml import etree

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

_CUSTOM_INDEX = re.compile(r"readingOrder\s*\{[^}]*index\s*:\s*(\d{1,9})\b")


def pages(root: Any) -> list[XmlPage]:
    """Return the file's page (PAGE-XML has one per file)."""
    found = []
    for page in root.iterfind("{*}Page"):
        lines = [text for region in _ordered_regions(page) for text in _texts(region)]
        found.append(
            XmlPage(
                image=str(page.get("imageFilename") or ""),
                width=number(page, "imageWidth"),
                height=number(page, "imageHeight"),
                language=language_of(root),
                lines=lines,
            )
        )
    return found


def _is_region(element: Any) -> bool:
    name = local(element)
    return name.endswith("Region") or name == "TableCell"


def _ordered_regions(page: Any) -> list[Any]:
    """Return all regions of all levels in reading order, each once."""
    every = [element for element in page.iter() if _is_region(element)]
    by_id: dict[str, list[Any]] = {}
    for region in every:
        by_id.setdefault(region.get("id") or "", []).append(region)
    by_id.pop("", None)
    order = child(page, "ReadingOrder")
    refs = list(_references(order)) if order is not None else []
    named = {region for ref in refs for region in by_id.get(ref, ())}
    ordered: dict[Any, None] = {}
    for ref in refs:
        for region in by_id.get(ref, ()):
            ordered.update(dict.fromkeys(_with_nested(region, named)))
    for region in _siblings([r for r in page if _is_region(r)]):
        ordered.update(dict.fromkeys(_with_nested(region, named)))
    return list(ordered)


def _references(group: Any) -> Iterator[str]:
    """Yield region ids of a ReadingOrder group; at each level by @index where it is given."""
    members = [member for member in group if local(member)]
    if any(member.get("index") for member in members):
        members.sort(key=lambda member: number(member, "index"))
    for member in members:
        if member.get("regionRef"):
            yield member.get("regionRef")
        yield from _references(member)


def _with_nested(region: Any, named: set[Any]) -> Iterator[Any]:
    """Yield a region and those in it, without those to which the order gives a place."""
    yield region
    for inner in _siblings([element for element in region if _is_region(element)]):
        if inner not in named:
            yield from _with_nested(inner, named)


def _siblings(elements: list[Any]) -> list[Any]:
    """Return lines or regions of one parent by their custom index, or table cells by place."""
    if elements and all(element.get("row") for element in elements):
        return sorted(elements, key=lambda e: (number(e, "row"), number(e, "col")))
    indexes = [_CUSTOM_INDEX.search(element.get("custom") or "") for element in elements]
    if not all(indexes):
        return elements
    places = [int(index.group(1)) for index in indexes if index]
    return [elements[i] for i in sorted(range(len(elements)), key=places.__getitem__)]


def _texts(region: Any) -> Iterator[XmlText]:
    lines = list(region.iterfind("{*}TextLine"))
    for line in _siblings(lines):
        yield _text(line, " ")
    if not any(True for _ in region.iter("{*}TextLine")):
        own = _text(region, "\n")
        if own.text.strip() or own.problem:
            yield own


def _text(element: Any, line_end: str) -> XmlText:
    """Return a line (line ends in it are spaces) or a region (it keeps them)."""
    name = str(element.get("id") or "")
    try:
        text = _equivalent(element)
    except ValueError as error:
        return XmlText(name, None, "", str(error))
    pieces = (piece.strip() for piece in re.split(r"[\r\n]+", text))
    return XmlText(name, _coords(element), line_end.join(piece for piece in pieces if piece))


def _coords(element: Any) -> Box | None:
    coords = child(element, "Coords")
    if coords is None:
        return None
    points = coords.get("points")
    if points is None:  # schemas before 2013 list Point elements
        points = " ".join(f"{p.get('x')},{p.get('y')}" for p in coords.iterfind("{*}Point"))
    try:
        return bounding_box([float(v) for v in re.split(r"[\s,]+", points.strip())])
    except ValueError:
        return None


def _equivalent(element: Any) -> str:
    """Return the TextEquiv of the lowest index that holds text, else that of the words, glyphs.

    Raises:
        ValueError: the text holds an entity that the file itself defines.
    """
    own = list(element.iterfind("{*}TextEquiv"))
    own.sort(key=lambda equivalent: number(equivalent, "index"))
    for equivalent in own:
        for kind in ("Unicode", "PlainText"):
            content = child(equivalent, kind)
            if content is not None and (text := _content(content)).strip():
                return text
    for parts, space in (("Word", " "), ("Glyph", "")):
        words = [_equivalent(word) for word in element.iterfind("{*}" + parts)]
        if any(words):
            return space.join(word for word in words if word)
    return ""


def _content(element: Any) -> str:
    for node in element.iter():
        if isinstance(node, etree._Entity):
            raise ValueError(f"the text holds the entity {node.text}, which is not expanded")
    return "".join(element.itertext())
