"""PAGE-XML and ALTO: the files of Transkribus, eScriptorium, OCR-D and library scanners.

Read with lxml, by local names, so that every version of both schemas is understood. Entity
expansion, DTDs and the network are off.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lxml import etree

from manifold_ocr.data.formats import bounding_box, is_image
from manifold_ocr.data.readers.pairs import FolderView
from manifold_ocr.errors import UserError
from manifold_ocr.records import Box, RawRow, Rejection, language_tag


def parse_xml(path: Path) -> Any:
    """Return the root element, parsed without entities, DTD or network.

    Raises:
        ValueError: not well-formed.
    """
    parser = etree.XMLParser(resolve_entities=False, load_dtd=False, no_network=True)
    try:
        return etree.parse(str(path), parser).getroot()
    except etree.XMLSyntaxError as error:
        raise ValueError(f"not well-formed XML: {error}") from error


def xml_kind(path: Path) -> str:
    """Return the layout of an XML file: `page_xml` or `alto`.

    Raises:
        UserError: neither.
    """
    try:
        name = _local(parse_xml(path))
    except ValueError as error:
        raise UserError(f"{path}: {error}") from error
    if name in ("PcGts", "alto"):
        return "page_xml" if name == "PcGts" else "alto"
    raise UserError(f"{path}: root element {name!r} is neither PAGE-XML (PcGts) nor ALTO (alto)")


def page_rows(view: FolderView) -> Iterator[RawRow | Rejection]:
    """Stream each PAGE-XML file's lines in reading order, then its whole page."""
    yield from _documents(view, _page_image, _page_lines)


def alto_rows(view: FolderView) -> Iterator[RawRow | Rejection]:
    """Stream each ALTO file's lines in file order, then its whole page."""
    yield from _documents(view, _alto_image, _alto_lines)


def _documents(view: FolderView, image_of: Any, lines_of: Any) -> Iterator[RawRow | Rejection]:
    names = list(view.files())
    images = {name for name in names if is_image(name)}
    for name in view.share([n for n in names if n.lower().endswith(".xml")]):
        try:
            root = parse_xml(view.root / name)
        except ValueError as error:
            yield view.reject(name, "broken_row", str(error))
            continue
        if _local(root) not in ("PcGts", "alto"):
            continue  # METS and the like lie beside the pages
        image = _find_image(name, image_of(root), images)
        if not image:
            yield view.reject(name, "missing_image", f"no image {image_of(root)!r} for it")
            continue
        yield from _page(view, name, image, root, lines_of)


def _page(
    view: FolderView, name: str, image: str, root: Any, lines_of: Any
) -> Iterator[RawRow | Rejection]:
    language = {} if view.language else _language(root)
    texts = []
    for number, (line_id, box, text) in enumerate(lines_of(root), 1):
        where = f"{name}#{line_id or number}"
        if box is None:
            yield view.reject(where, "broken_row", "the line has no usable coordinates")
            continue
        if not text.strip():
            yield view.reject(where, "empty_text", "the line has no text")
            continue
        texts.append(text.strip())
        yield view.row(image, text.strip(), where, box=box, granularity="line", **language)
    if texts:
        yield view.row(image, "\n".join(texts), name, granularity="page", **language)


def _find_image(name: str, stated: str, images: set[str]) -> str:
    """Return the page's image: the stated file beside or above the XML, or the same stem."""
    folder = name.rpartition("/")[0]
    above = folder.rpartition("/")[0]
    stem = Path(name).stem
    wanted = Path(stated.replace("\\", "/")).name
    for place in dict.fromkeys((folder, above)):
        prefix = f"{place}/" if place else ""
        if wanted and prefix + wanted in images:
            return prefix + wanted
        same = sorted(i for i in images if i.rpartition(".")[0] == prefix + stem)
        if same:
            return same[0]
    return ""


def _local(element: Any) -> str:
    tag = element.tag
    return str(etree.QName(tag).localname) if isinstance(tag, str) else ""


def _descend(element: Any, name: str) -> Iterator[Any]:
    yield from element.iter("{*}" + name)


def _child(element: Any, name: str) -> Any:
    return element.find("{*}" + name)


def _page_image(root: Any) -> str:
    page = _child(root, "Page")
    return str(page.get("imageFilename", "")) if page is not None else ""


def _page_lines(root: Any) -> Iterator[tuple[str, Box | None, str]]:
    regions = {region.get("id"): region for region in _descend(root, "TextRegion")}
    refs = [
        ref.get("regionRef") for ref in root.iterfind(".//{*}ReadingOrder//{*}RegionRefIndexed")
    ]
    ordered = list(dict.fromkeys(ref for ref in refs if ref in regions))
    ordered += [name for name in regions if name not in ordered]
    for name in ordered:
        for line in regions[name].iterfind("{*}TextLine"):
            yield str(line.get("id", "")), _coords(line), _page_text(line)


def _coords(line: Any) -> Box | None:
    coords = _child(line, "Coords")
    if coords is None:
        return None
    points = coords.get("points")
    if points is None:  # schemas before 2013 list Point elements
        points = " ".join(f"{p.get('x')},{p.get('y')}" for p in coords.iterfind("{*}Point"))
    try:
        return bounding_box([float(v) for v in re.split(r"[\s,]+", points.strip())])
    except ValueError:
        return None


def _page_text(line: Any) -> str:
    """Return the line's own TextEquiv of the lowest index, else its words' joined by spaces."""
    own = sorted(line.iterfind("{*}TextEquiv"), key=lambda e: int(e.get("index") or 0))
    for equivalent in own:
        content = _child(equivalent, "Unicode")
        if content is not None and content.text:
            return str(content.text)
    words = [_page_text(word) for word in line.iterfind("{*}Word")]
    return " ".join(word for word in words if word)


def _alto_image(root: Any) -> str:
    for name in _descend(root, "fileName"):
        return str(name.text or "").strip()
    return ""


def _alto_lines(root: Any) -> Iterator[tuple[str, Box | None, str]]:
    for line in _descend(root, "TextLine"):
        yield str(line.get("ID", "")), _alto_box(line), _alto_text(line)


def _alto_box(line: Any) -> Box | None:
    try:
        x, y, w, h = (float(line.get(key)) for key in ("HPOS", "VPOS", "WIDTH", "HEIGHT"))
    except (TypeError, ValueError):
        return None
    return (x, y, x + w, y + h)


def _alto_text(line: Any) -> str:
    """Join String, SP and HYP elements as they stand."""
    parts = []
    for element in line:
        kind = _local(element)
        if kind == "String":
            parts.append(str(element.get("CONTENT", "")))
        elif kind == "SP":
            parts.append(" ")
        elif kind == "HYP":
            parts.append(str(element.get("CONTENT", "-")))
    return "".join(parts)


def _language(root: Any) -> dict[str, str]:
    """Return the language stated at the page or block level, if it is one we know."""
    for element in root.iter():
        stated = element.get("primaryLanguage") or element.get("LANG")
        if stated:
            try:
                return {"language": language_tag(stated)}
            except UserError:
                return {}
    return {}
