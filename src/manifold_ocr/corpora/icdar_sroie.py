"""ICDAR 2019 SROIE receipts in the official layout: img/, box/ and key/ (or entities/).

A box file has a line a text line: eight integers (four corners, clockwise from top left)
and the text, which may hold commas. A key file is JSON with company, date, address, total.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from manifold_ocr.corpora.base import RawRow
from manifold_ocr.corpora.fetchers import fetch
from manifold_ocr.corpora.geometry import bounding_box
from manifold_ocr.corpora.listing import is_image
from manifold_ocr.corpora.options import CommonOptions, corpus_options
from manifold_ocr.corpora.sources import SOURCES
from manifold_ocr.corpora.text_files import EncodingError, read_text
from manifold_ocr.errors import UserError
from manifold_ocr.records import Box, Rejection

KEYS = ("company", "date", "address", "total")
QUESTION = "Return the receipt's company, date, address and total as JSON."
_IMAGE_FOLDERS = ("img", "images", "image")
_BOX_FOLDERS = ("box", "boxes")
_KEY_FOLDERS = ("key", "keys", "entities")


@dataclass(frozen=True, kw_only=True)
class SroieOptions(CommonOptions):
    """`subset` is the name under which lines and receipts are counted."""

    subset: str = "receipts"


@dataclass(frozen=True)
class IcdarSroie:
    """Lines, whole receipts and key information of scanned receipts."""

    name: str = "icdar_sroie"
    role: str = "train"

    def fetch(self, destination: Path, options: Mapping[str, Any]) -> None:
        """Copy, unpack or download the files as the options say (see `fetchers.fetch`)."""
        fetch(self.name, options, destination)

    def rows(self, root: Path, options: Mapping[str, Any]) -> Iterator[RawRow | Rejection]:
        """Stream each receipt's lines, then its whole text, then its key information.

        Official `train/` and `test/` folders become fixed splits; without them every
        receipt is split by hash.
        """
        parsed = corpus_options(SroieOptions, self.name, options)
        licence = parsed.license or SOURCES["icdar_sroie"].license
        for base, split in _bases(root):
            for folder, image in _images(root / base):
                receipt = _Receipt(self.name, root, base, folder, image, split, parsed, licence)
                yield from receipt.rows()


def _bases(root: Path) -> list[tuple[str, str | None]]:
    if (root / "train").is_dir():
        bases: list[tuple[str, str | None]] = [("train/", "train_val")]
        return bases + ([("test/", "test")] if (root / "test").is_dir() else [])
    return [("", None)]


def _images(base: Path) -> list[tuple[str, str]]:
    for folder in _IMAGE_FOLDERS:
        if (base / folder).is_dir():
            return [(folder, p.name) for p in sorted((base / folder).iterdir()) if is_image(p.name)]
    raise UserError(f"{base}: no img/ folder; SROIE has img/ID.jpg, box/ID.csv, key/ID.json")


def parse_box_line(line: str) -> tuple[Box, str]:
    """Return the bounding box and text of one line `x1,y1,x2,y2,x3,y3,x4,y4,text`.

    Only the first eight commas separate: the text keeps its own.

    Raises:
        ValueError: fewer than nine fields, or a corner that is no number.
    """
    fields = line.split(",", 8)
    if len(fields) < 9:
        raise ValueError(f"9 comma-separated fields expected, {len(fields)} found")
    return bounding_box([float(field) for field in fields[:8]]), fields[8].strip()


@dataclass(frozen=True, slots=True)
class _Receipt:
    corpus: str
    root: Path
    base: str
    folder: str
    image: str
    split: str | None
    options: SroieOptions
    licence: str

    @property
    def stem(self) -> str:
        return Path(self.image).stem

    def _companion(self, folders: tuple[str, ...], suffixes: tuple[str, ...]) -> str:
        for folder in folders:
            for suffix in suffixes:
                name = f"{self.base}{folder}/{self.stem}{suffix}"
                if (self.root / name).is_file():
                    return name
        return ""

    def _row(self, text: str, source: str, **more: Any) -> RawRow:
        return RawRow(
            document=self.base + self.stem,
            image=f"{self.base}{self.folder}/{self.image}",
            text=text,
            source=source,
            subset=self.options.subset,
            language=self.options.language or "en",
            split=self.split,
            license=self.licence,
            **more,
        )

    def _rejection(self, source: str, reason: str, detail: str) -> Rejection:
        return Rejection(corpus=self.corpus, source=source, reason=reason, detail=detail)

    def rows(self) -> Iterator[RawRow | Rejection]:
        boxes = self._companion(_BOX_FOLDERS, (".csv", ".txt"))
        if boxes:
            yield from self._text_rows(boxes)
        else:
            image = f"{self.base}{self.folder}/{self.image}"
            yield self._rejection(image, "missing_label", "the image has no file in box/")
        if keys := self._companion(_KEY_FOLDERS, (".json", ".txt")):
            yield self._key_row(keys)

    def _text_rows(self, source: str) -> Iterator[RawRow | Rejection]:
        try:
            lines = read_text(self.root / source).split("\n")
        except EncodingError as problem:
            yield self._rejection(source, "wrong_encoding", str(problem))
            return
        texts = []
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            where = f"{source}:{number}"
            try:
                box, text = parse_box_line(line)
            except ValueError as error:
                yield self._rejection(where, "broken_row", str(error))
                continue
            texts.append(text)
            yield self._row(text, where, box=box)
        if texts:
            yield self._row("\n".join(texts), source, granularity="page")

    def _key_row(self, source: str) -> RawRow | Rejection:
        try:
            value = json.loads(read_text(self.root / source))
        except (EncodingError, json.JSONDecodeError) as error:
            return self._rejection(source, "broken_row", f"key information: {error}")
        if not isinstance(value, dict):
            return self._rejection(source, "broken_row", "key information is no JSON object")
        target = {key: str(value[key]) for key in KEYS if key in value}
        text = json.dumps(target, ensure_ascii=False)
        return self._row(text, source, granularity="page", task="json", question=QUESTION)
