"""What other systems read, as PAGE-XML, ALTO or hOCR: the text of each page, line by line."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lxml import etree

from manifold_ocr.data.readers import alto, page_xml
from manifold_ocr.data.readers.xml_pages import XmlPage, XmlText, local, parse_xml
from manifold_ocr.errors import UserError

SUFFIXES = (".xml", ".hocr", ".html", ".htm")
LINES = ("ocr_line", "ocr_header", "ocr_footer", "ocr_caption", "ocr_textfloat")
IMAGE = re.compile(r"""\bimage\s+(?:"([^"]*)"|'([^']*)'|([^;]+))""")


def layout_files(folder: Path) -> list[Path]:
    """Return the files of these formats below a folder, sorted."""
    found = (path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    return sorted(path for path in found if path.is_file())


def page_texts(file: Path) -> Iterator[tuple[str, str]]:
    """Yield (name of the page's image or empty, text) for each page of a file.

    Lines stand in the reading order that the file states, joined by newlines.

    Raises:
        UserError: not well-formed, or of no such format; names the file.
    """
    try:
        pages = _pages(file)
    except ValueError as error:
        raise UserError(f"{file}: {error}") from error
    for page in pages:
        yield page.image, "\n".join(line.text for line in page.lines if line.text)


def _pages(file: Path) -> list[XmlPage]:
    if file.suffix.lower() != ".xml":
        return _hocr(file)
    root = parse_xml(file)
    kind = local(root)
    if kind == "PcGts":
        return page_xml.pages(root)
    if kind == "alto":
        return alto.pages(root)
    if kind == "html":
        return _hocr(file)
    raise ValueError(f"root element {kind!r} is neither PAGE-XML, ALTO nor hOCR")


def _hocr(file: Path) -> list[XmlPage]:
    """Return the pages of an hOCR file (Tesseract, OCRopus, Google Books), HTML or XHTML."""
    parser = etree.HTMLParser(no_network=True, encoding="utf-8")
    try:
        root = etree.parse(str(file), parser).getroot()
    except (etree.XMLSyntaxError, OSError) as error:
        raise ValueError(f"not readable as HTML: {error}") from error
    found = [e for e in root.iter() if _is(e, "ocr_page")] if root is not None else []
    if not found:
        raise ValueError("no element of class ocr_page; this is no hOCR")
    return [
        XmlPage(
            image=_image(page),
            lines=[
                XmlText(str(line.get("id", "")), None, _text(line))
                for line in page.iter()
                if _is(line, *LINES)
            ],
        )
        for page in found
    ]


def _is(element: Any, *names: str) -> bool:
    return bool(set(str(element.get("class", "")).split()) & set(names))


def _image(page: Any) -> str:
    found = IMAGE.search(str(page.get("title", "")))
    return next((part.strip() for part in found.groups() if part), "") if found else ""


def _text(line: Any) -> str:
    """Return the words joined by spaces, or the line's own text where it has no words."""
    words = [" ".join("".join(e.itertext()).split()) for e in line.iter() if _is(e, "ocrx_word")]
    return " ".join(w for w in words if w) or " ".join("".join(line.itertext()).split())
