"""Folders of PAGE-XML and ALTO files: one reader for both, chosen file by file.

Read with lxml, by local names, so that every version of both schemas is understood. Entity
expansion, DTDs and the network are off. Lines keep their order; a page row follows them.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lxml import etree

from manifold_ocr.data.formats import visible
from manifold_ocr.data.readers.pairs import FolderView, ImageFinder
from manifold_ocr.errors import UserError
from manifold_ocr.images import exif_orientation, image_size
from manifold_ocr.records import Box, RawRow, Rejection, language_tag

SIDECARS = frozenset(("mets", "trpDocMetadata"))  # what exports put beside the pages
MAX_FRAMES = 1 << 30  # of which an XML file is asked itself
DPI_UNITS = {"mm10": 254.0, "inch1200": 1200.0}  # units per inch
SAME_SHAPE = 0.02  # relative difference of the two scales up to which a page is the image


@dataclass(frozen=True, slots=True)
class XmlText:
    """A line or region as the file states it; `problem` says why it cannot be used."""

    id: str
    box: Box | None
    text: str
    problem: str = ""


@dataclass(slots=True)
class XmlPage:
    """One page: its image's stated name and size (in `unit`), its lines in reading order."""

    image: str = ""
    width: float = 0.0
    height: float = 0.0
    unit: str = "pixel"
    language: str = ""
    lines: list[XmlText] = field(default_factory=list)


Parser = Callable[[Any], list[XmlPage]]  # from the root element to its pages


def rows(view: FolderView, parsers: dict[str, Parser]) -> Iterator[RawRow | Rejection]:
    """Stream the rows of every XML file; `parsers` maps a root element's name to its parser."""
    names = list(view.files())
    finder = ImageFinder(names)
    files = [name for name in names if name.lower().endswith(".xml")]
    for name in view.share(files):
        try:
            root = parse_xml(view.root / name)
        except ValueError as error:
            yield view.reject(name, "broken_row", str(error))
            continue
        if local(root) in SIDECARS:
            continue
        if local(root) not in parsers:
            detail = f"root element {local(root)!r} is neither PAGE-XML (PcGts) nor ALTO (alto)"
            yield view.reject(name, "broken_row", detail)
            continue
        pages = parsers[local(root)](root)
        if not pages:
            yield view.reject(name, "broken_row", "the file holds no page")
        for frame, page in enumerate(pages):
            yield from _page_rows(view, name, finder, page, frame)
        image = finder.find(pages[0].image, name, same_stem=True)[0] if pages else ""
        if image and (count := view.pages(image)) > len(pages):
            detail = f"pages {len(pages) + 1} to {count} of {image} have no label"
            yield view.reject(name, "missing_label", detail)
    if not view.part:
        yield from _unlabeled(view, files, finder)


def _page_rows(
    view: FolderView, name: str, finder: ImageFinder, page: XmlPage, frame: int
) -> Iterator[RawRow | Rejection]:
    image, problem = finder.find(page.image, name, same_stem=True)
    if not image:
        reason = "ambiguous_image" if "images are named" in problem else "missing_image"
        yield view.reject(name, reason, problem)
        return
    more: dict[str, Any] = {"frame": frame} if frame else {}
    if page.language and not view.language:
        more["language"] = page.language
    try:
        scale = _scale(view.root / image, page, frame, view.raw_boxes)
    except ValueError as error:
        yield view.reject(name, "broken_row", f"{image}: {error}")
        return
    texts, unknown = [], 0
    for place, line in enumerate(page.lines, 1):
        where = f"{name}#{line.id or place}"
        text = visible(line.text).strip()
        unknown += bool(line.problem) and not text
        if line.problem:
            yield view.reject(where, "broken_row", line.problem)
        elif not text:
            yield view.reject(where, "empty_text", "the line has no text")
        elif line.box is None:
            yield view.reject(where, "broken_row", "the line has no usable coordinates")
        else:
            texts.append(text)
            box = _scaled(line.box, scale)
            several = "page" if "\n" in text else "line"
            yield view.row(image, text, where, box=box, granularity=several, **more)
    where = f"{name}#page={frame + 1}" if frame else name
    if unknown:
        detail = f"the text of {unknown} of its lines cannot be read, so the page's is not whole"
        yield view.reject(where, "broken_row", detail)
    elif texts:
        yield view.row(image, "\n".join(texts), where, granularity="page", **more)
    else:
        yield view.reject(where, "empty_text", "the page has no line with text")


def _scale(image: Path, page: XmlPage, frame: int, raw: bool) -> tuple[float, float]:
    """Return by what x and y are multiplied to be pixels of the image (`raw`: of the file).

    Raises:
        ValueError: the stated page has another shape than the image, or a unit of length is
            stated with neither a page size nor the image's dots per inch.
    """
    try:
        width, height = image_size(image, frame)
        turned = image.suffix.lower() != ".pdf" and exif_orientation(image) >= 5
    except UserError:
        return 1.0, 1.0  # the manifest stage says what is wrong with the image
    if raw and turned:
        width, height = height, width
    by_size = (width / page.width, height / page.height) if page.width and page.height else None
    if by_size and abs(by_size[0] / by_size[1] - 1) > SAME_SHAPE:
        stated = f"{page.width:g}x{page.height:g}"
        hint = "; it is turned by its EXIF tag: see the option raw_boxes" if turned else ""
        detail = f"the page is stated as {stated}, the image is {width}x{height} pixels{hint}"
        raise ValueError(detail)
    if page.unit not in DPI_UNITS:
        return by_size or (1.0, 1.0)
    across, down = (dpi / DPI_UNITS[page.unit] for dpi in _dpi(image))
    if across and down and (not by_size or abs(across / by_size[0] - 1) < SAME_SHAPE):
        return across, down  # exact; page sizes are rounded to whole units
    if by_size:
        return by_size
    raise ValueError(f"boxes are in {page.unit}, and neither page size nor dots per inch is known")


def _dpi(image: Path) -> tuple[float, float]:
    from PIL import Image

    try:
        with Image.open(image) as opened:
            across, down = opened.info.get("dpi") or (0.0, 0.0)
            return float(across), float(down)
    except (OSError, TypeError, ValueError):
        return 0.0, 0.0


def _scaled(box: Box, scale: tuple[float, float]) -> Box:
    if scale == (1.0, 1.0):
        return box
    x0, y0, x1, y1 = box
    across, down = scale
    return (
        round(x0 * across, 2), round(y0 * down, 2), round(x1 * across, 2), round(y1 * down, 2)
    )  # fmt: skip


def _unlabeled(view: FolderView, files: list[str], finder: ImageFinder) -> Iterator[Rejection]:
    """Reject the images that no file names; reads no more of a file than its image's name."""
    labeled = {
        image for name in files if (image := finder.find(_stated(view.root / name), name, True)[0])
    }
    what = "no PAGE-XML or ALTO file names it"
    yield from view.unlabeled(finder.images, labeled, what, pages=MAX_FRAMES)


def _stated(path: Path) -> str:
    """Return the image that a PAGE-XML or ALTO file names near its beginning."""
    try:
        for event, element in etree.iterparse(
            str(path), events=("start", "end"), **_PARSER_OPTIONS
        ):
            if event == "start" and local(element) == "Page":
                return str(element.get("imageFilename") or "")
            if event == "end" and local(element) == "fileName":
                return str(element.text or "").strip()
    except (etree.XMLSyntaxError, OSError, LookupError):
        return ""
    return ""


_PARSER_OPTIONS: dict[str, Any] = {
    "resolve_entities": False,
    "load_dtd": False,
    "no_network": True,
    "remove_pis": True,
    "remove_comments": True,
}


def parse_xml(path: Path) -> Any:
    """Return the root element, parsed without entities, DTD, network, comments.

    Raises:
        ValueError: not well-formed.
    """
    try:
        return etree.parse(str(path), etree.XMLParser(**_PARSER_OPTIONS)).getroot()
    except (etree.XMLSyntaxError, OSError, LookupError) as error:  # OSError: odd encodings
        raise ValueError(f"not well-formed XML: {error}") from error


def is_pages(path: Path, known: dict[str, Parser]) -> bool:
    """Say whether the root element of an XML file is one of `known`."""
    try:
        return local(parse_xml(path)) in known
    except ValueError:
        return False


def local(element: Any) -> str:
    """Return an element's name without its namespace; nothing for entities."""
    tag = element.tag
    return str(etree.QName(tag).localname) if isinstance(tag, str) else ""


def child(element: Any, name: str) -> Any:
    """Return the first child of a local name, or None."""
    return element.find("{*}" + name)


def number(element: Any, name: str) -> float:
    """Return an attribute as a number, 0 where it is missing or none."""
    try:
        return float(element.get(name, ""))
    except ValueError:
        return 0.0


def language_of(root: Any) -> str:
    """Return the first language stated at any level, if it is one we know."""
    for element in root.iter():
        if stated := element.get("primaryLanguage") or element.get("LANG"):
            try:
                return language_tag(stated)
            except UserError:
                return ""
    return ""
