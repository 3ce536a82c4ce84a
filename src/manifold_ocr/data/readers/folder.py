"""Your own folder: scans with text files beside them, PAGE-XML, ALTO, annotation files.

The layout is found by looking (see `LAYOUTS` and docs/corpora.md); a folder level above
the file is its subset. One adapter serves any number of folders, each under its own name.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from manifold_ocr.data.fetch import fetch
from manifold_ocr.data.formats import is_image, walk_files
from manifold_ocr.data.readers import alto, annotations, imagefolder, page_xml, pairs, xml_pages
from manifold_ocr.data.readers.pairs import FolderView
from manifold_ocr.data.sources import CommonOptions, corpus_options
from manifold_ocr.errors import UserError
from manifold_ocr.files import read_json
from manifold_ocr.records import RawRow, Rejection
from manifold_ocr.settings import Flag, settings

Layout = Literal[
    "auto", "pairs", "page_xml", "alto", "coco_text", "imagefolder", "label_studio", "paddleocr"
]
Reader = Callable[[FolderView], Iterator[RawRow | Rejection]]
XML_PARSERS: dict[str, xml_pages.Parser] = {"PcGts": page_xml.pages, "alto": alto.pages}


def xml_rows(view: FolderView) -> Iterator[RawRow | Rejection]:
    """Stream the rows of PAGE-XML and ALTO files, which may be mixed."""
    yield from xml_pages.rows(view, XML_PARSERS)


LOOKED_AT = 1000  # files of a kind that are opened to tell the layout
LAYOUTS: dict[str, Reader] = {
    "pairs": pairs.rows,
    "page_xml": xml_rows,
    "alto": xml_rows,
    "coco_text": annotations.json_rows,
    "label_studio": annotations.json_rows,
    "paddleocr": annotations.paddle_rows,
    "imagefolder": imagefolder.rows,
}


@settings
class FolderOptions(CommonOptions):
    """How to read the folder.

    `document_pattern` is a regular expression searched in a file's path; its first group
    names the document, so that images of one document share a split. `splits_from_folders`
    takes train/val/test from the top folders. `granularity` overrides what the text shows
    (several lines: a page). `subset` names all rows' subset instead of the folders.
    """

    layout: Layout = "auto"
    granularity: Literal["auto", "line", "page"] = "auto"
    document_pattern: str = ""
    splits_from_folders: Flag = False
    subset: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        try:
            groups = re.compile(self.document_pattern).groups
        except re.error as error:
            raise ValueError(f"document_pattern: {error}") from error
        if self.document_pattern and not groups:
            raise ValueError("document_pattern needs a group (...) that names the document")


@dataclass(frozen=True)
class Folder:
    """A folder of the user's own documents."""

    name: str
    role: str = "train"

    def fetch(self, destination: Path, options: Mapping[str, Any]) -> None:
        """Copy, unpack or download the files as the options say (see `fetchers.fetch`)."""
        fetch(self.name, options, destination)

    def rows(self, root: Path, options: Mapping[str, Any]) -> Iterator[RawRow | Rejection]:
        """Stream the rows of every image in path order."""
        yield from self.part_rows(root, options, 0, 1)

    def part_rows(
        self, root: Path, options: Mapping[str, Any], part: int, parts: int
    ) -> Iterator[RawRow | Rejection]:
        """Stream the rows of every `parts`-th image or annotation file."""
        parsed = corpus_options(FolderOptions, self.name, options)
        layout = detect_layout(root) if parsed.layout == "auto" else parsed.layout
        view = FolderView(
            corpus=self.name,
            root=root,
            part=part,
            parts=parts,
            granularity=parsed.granularity,
            document_pattern=parsed.document_pattern,
            splits_from_folders=parsed.splits_from_folders,
            subset=parsed.subset,
            language=parsed.language,
            license=parsed.license or "unknown",
            raw_boxes=parsed.raw_boxes,
        )
        yield from LAYOUTS[layout](view)


def detect_layout(root: Path) -> str:
    """Return the layout of a folder by the names of its files and the first `LOOKED_AT` of a kind.

    Raises:
        UserError: no image, or nothing that could hold text.
    """
    names = list(walk_files(root))
    if not any(is_image(name) for name in names):
        raise UserError(f"{root}: holds no images; nothing to read")
    if any(name.rsplit("/", 1)[-1] in imagefolder.NAMES for name in names):
        return "imagefolder"
    xml = _first(root, names, ".xml")
    if any(xml_pages.is_pages(path, XML_PARSERS) for path in xml):
        return "page_xml"
    texts = _first(root, names, ".txt")
    if any(annotations.is_paddle(path) for path in texts):
        return "paddleocr"
    if texts:
        return "pairs"
    for path in _first(root, names, ".json"):
        if layout := _json_layout(path):
            return layout
    only = f" ({_why_no_pages(xml[0])})" if xml else ""
    raise UserError(
        f"{root}: images but no text{only}: put NAME.txt or NAME.gt.txt beside each image, or "
        "PAGE-XML, ALTO, COCO-Text, Label Studio JSON, PaddleOCR label lists or metadata.jsonl "
        "(docs/corpora.md shows each layout)"
    )


def _why_no_pages(path: Path) -> str:
    try:
        xml_pages.parse_xml(path)
    except ValueError as error:
        return f"{path.name}: {error}"
    return f"{path.name} is neither PAGE-XML nor ALTO"


def _first(root: Path, names: list[str], suffix: str) -> list[Path]:
    chosen = (root / name for name in names if name.lower().endswith(suffix))
    return list(islice(chosen, LOOKED_AT))


def _json_layout(path: Path) -> str:
    try:
        value = read_json(path)
    except UserError:
        return ""
    if annotations.is_coco_text(value):
        return "coco_text"
    return "label_studio" if annotations.is_label_studio(value) else ""
