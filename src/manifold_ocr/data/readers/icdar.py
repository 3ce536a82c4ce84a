"""ICDAR layouts: SROIE receipts (2019), lists of boxes and words of scene images (2013, 2015).

A box file has one line per text line: eight integers (four corners, clockwise from top left)
and the text, which may hold commas. A key file is JSON with company, date, address, total.

A line of 2013 has left, top, right, bottom and the quoted text, between them spaces (training
files) or commas (test files): https://rrc.cvc.uab.es/?ch=2&com=tasks, task 2.1.

Official names: img_1.jpg with gt_img_1.txt; `###` marks what cannot be read. Folders such
as ch4_training_images and ch4_test_images, or train and test, give the official splits.
"""

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from manifold_ocr.data.fetch import fetch
from manifold_ocr.data.formats import (
    EncodingError,
    bounding_box,
    is_image,
    read_text,
    unescaped,
    walk_files,
)
from manifold_ocr.data.readers.pairs import split_of
from manifold_ocr.data.sources import SOURCES, CommonOptions, corpus_options
from manifold_ocr.errors import UserError
from manifold_ocr.records import Box, RawRow, Rejection, language_tag
from manifold_ocr.settings import settings

KEYS = ("company", "date", "address", "total")
QUESTION = "Return the receipt's company, date, address and total as JSON."
_IMAGE_FOLDERS = ("img", "images", "image")
_BOX_FOLDERS = ("box", "boxes")
_KEY_FOLDERS = ("key", "keys", "entities")


@settings
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
        license = parsed.license or SOURCES["icdar_sroie"].license
        for base, split in _bases(root):
            companions = _Companions(root, base)
            for folder, image in _images(root / base):
                receipt = _Receipt(
                    self.name, root, base, folder, image, split, parsed, license, companions
                )
                yield from receipt.rows()
            for name in companions.unclaimed():
                detail = "no image of the same name in img/"
                yield Rejection(
                    corpus=self.name, source=name, reason="missing_image", detail=detail
                )


class _Companions:
    """The box and key files of a split, by stem; suffixes are of either case."""

    def __init__(self, root: Path, base: str) -> None:
        self._files: dict[tuple[str, str], str] = {}
        for folder in (*_BOX_FOLDERS, *_KEY_FOLDERS):
            if not (root / base / folder).is_dir():
                continue
            for path in sorted((root / base / folder).iterdir()):
                key = (folder, path.stem + path.suffix.lower())
                if path.is_file() and path.suffix.lower() in (".csv", ".txt", ".json"):
                    self._files.setdefault(key, f"{base}{folder}/{path.name}")
        self._claimed: set[str] = set()

    def find(self, stem: str, folders: tuple[str, ...], suffixes: tuple[str, ...]) -> str:
        """Return the file of an image's stem, or an empty string."""
        for folder in folders:
            for suffix in suffixes:
                if name := self._files.get((folder, stem + suffix)):
                    same = ((folder, stem + other) for other in (".csv", ".txt", ".json"))
                    self._claimed.update(self._files[key] for key in same if key in self._files)
                    return name
        return ""

    def unclaimed(self) -> list[str]:
        """Return the box and key files of no image."""
        return sorted(set(self._files.values()) - self._claimed)


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


_SIDE = r"\s*(-?\d+(?:\.\d+)?)(?:\s*,|\s)"
_SIDES_AND_TEXT = re.compile(4 * _SIDE + r'\s*"(.*)"\s*')


def parse_box_line(line: str) -> tuple[Box, str]:
    """Return the bounding box and text of one line `x1,y1,x2,y2,x3,y3,x4,y4,text`.

    Only the first eight commas separate: the text keeps its own. A line of 2013, `left top
    right bottom "text"` with spaces or commas, has a backslash
    before each quote and backslash of the text.

    Raises:
        ValueError: fewer than nine fields, or a corner that is no number.
    """
    if found := _SIDES_AND_TEXT.fullmatch(line):
        *sides, text = found.groups()
        return bounding_box([float(side) for side in sides]), unescaped(text).strip()
    fields = line.split(",", 8)
    if len(fields) < 9:
        raise ValueError(
            f"9 comma-separated fields expected, {len(fields)} found (or 4 numbers and a text in "
            'double quotes, as in `38, 43, 920, 215, "Word"`)'
        )
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
    license: str
    companions: _Companions

    @property
    def stem(self) -> str:
        return Path(self.image).stem

    def _row(self, text: str, source: str, **more: Any) -> RawRow:
        return RawRow(
            document=self.base + self.stem,
            image=f"{self.base}{self.folder}/{self.image}",
            text=text,
            source=source,
            subset=self.options.subset,
            language=self.options.language or "en",
            split=self.split,
            license=self.license,
            **more,
        )

    def _rejection(self, source: str, reason: str, detail: str) -> Rejection:
        return Rejection(corpus=self.corpus, source=source, reason=reason, detail=detail)

    def rows(self) -> Iterator[RawRow | Rejection]:
        boxes = self.companions.find(self.stem, _BOX_FOLDERS, (".csv", ".txt"))
        if boxes:
            yield from self._text_rows(boxes)
        else:
            image = f"{self.base}{self.folder}/{self.image}"
            yield self._rejection(image, "missing_label", "the image has no file in box/")
        if keys := self.companions.find(self.stem, _KEY_FOLDERS, (".json", ".txt")):
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
            texts += [text] if text else []
            yield self._row(text, where, box=box)
        if texts:
            yield self._row("\n".join(texts), source, granularity="page")
        elif not any(line.strip() for line in lines):
            yield self._rejection(source, "empty_text", "the file holds no line")

    def _key_row(self, source: str) -> RawRow | Rejection:
        try:
            value = json.loads(read_text(self.root / source))
        except (ValueError, RecursionError) as error:  # EncodingError is one
            return self._rejection(source, "broken_row", f"key information: {error}")
        if not isinstance(value, dict):
            return self._rejection(source, "broken_row", "key information is no JSON object")
        target = {key: str(value[key]) for key in KEYS if value.get(key) is not None}
        text = json.dumps(target, ensure_ascii=False)
        return self._row(text, source, granularity="page", task="json", question=QUESTION)


UNREADABLE = "###"


@settings
class Icdar2015Options(CommonOptions):
    """`subset` is the name under which the words are counted."""

    subset: str = "scene"


@dataclass(frozen=True)
class Icdar2015:
    """Words and lines of images, one box each."""

    name: str = "icdar2015"
    role: str = "train"

    def fetch(self, destination: Path, options: Mapping[str, Any]) -> None:
        """Copy, unpack or download the files as the options say (see `fetchers.fetch`)."""
        fetch(self.name, options, destination)

    def rows(self, root: Path, options: Mapping[str, Any]) -> Iterator[RawRow | Rejection]:
        """Stream a row per readable box, images in path order."""
        parsed = corpus_options(Icdar2015Options, self.name, options)
        names = list(walk_files(root))
        labels = _Labels(name for name in names if name.lower().endswith(".txt"))
        for image in (name for name in names if is_image(name)):
            label, problem = labels.of(image)
            if problem:
                yield self._reject(image, *problem)
                continue
            yield from self._lines(root, image, label, parsed)
        for label in labels.unclaimed():
            yield self._reject(label, "missing_image", "no image of the same name in its split")

    def _lines(
        self, root: Path, image: str, label: str, options: Icdar2015Options
    ) -> Iterator[RawRow | Rejection]:
        try:
            lines = read_text(root / label).split("\n")
        except EncodingError as problem:
            yield self._reject(label, "wrong_encoding", str(problem))
            return
        if not any(line.strip() for line in lines):
            yield self._reject(label, "empty_text", "the file holds no line")
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            where = f"{label}:{number}"
            try:
                box, text = parse_box_line(line)
            except ValueError as error:
                yield self._reject(where, "broken_row", str(error))
                continue
            if text == UNREADABLE:
                yield self._reject(where, "unreadable_text", "marked ### by the annotators")
                continue
            yield RawRow(
                document=image.rsplit(".", 1)[0],
                image=image,
                text=text,
                source=where,
                subset=options.subset,
                language=language_tag(options.language or "en"),
                split=_split(image),
                box=box,
                license=options.license or SOURCES["icdar2015"].license,
            )

    def _reject(self, source: str, reason: str, detail: str) -> Rejection:
        return Rejection(corpus=self.name, source=source, reason=reason, detail=detail)


class _Labels:
    """Finds an image's label: beside it, or the only one of its stem in its split."""

    def __init__(self, names: Iterable[str]) -> None:
        self._by_stem: dict[str, list[str]] = defaultdict(list)
        for name in names:
            self._by_stem[Path(name).stem.lower().removeprefix("gt_")].append(name)
        self._claimed: set[str] = set()

    def of(self, image: str) -> tuple[str, tuple[str, str] | None]:
        """Return (label, None), or why there is none: (reason, detail)."""
        folder, split = image.rpartition("/")[0], split_of(image)
        found = self._by_stem.get(Path(image).stem.lower(), [])
        beside = [name for name in found if name.rpartition("/")[0] == folder]
        found = beside or [name for name in found if not split or split_of(name) in (split, "")]
        self._claimed.update(found)
        if len(found) == 1:
            return found[0], None
        if found:
            return "", ("ambiguous_label", f"several label files fit: {', '.join(found)}")
        return "", ("missing_label", "no gt_NAME.txt of the same name in its split")

    def unclaimed(self) -> list[str]:
        """Return the label files that no image has."""
        every = {name for names in self._by_stem.values() for name in names}
        return sorted(every - self._claimed)


def _split(image: str) -> str | None:
    split = split_of(image)
    return "train_val" if split == "train" else split or None
