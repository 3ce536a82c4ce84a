"""ICDAR 2015 style line lists: an image and a text file of eight corners and a word a line.

Official names: img_1.jpg with gt_img_1.txt; `###` marks what cannot be read. Folders such
as ch4_training_images and ch4_test_images, or train and test, give the official splits.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from manifold_ocr.corpora.base import RawRow
from manifold_ocr.corpora.fetchers import fetch
from manifold_ocr.corpora.icdar_sroie import parse_box_line
from manifold_ocr.corpora.languages import language_tag
from manifold_ocr.corpora.listing import is_image, walk_files
from manifold_ocr.corpora.options import CommonOptions, corpus_options
from manifold_ocr.corpora.sources import SOURCES
from manifold_ocr.corpora.text_files import EncodingError, read_text
from manifold_ocr.records import Rejection

UNREADABLE = "###"


@dataclass(frozen=True, kw_only=True)
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
        """Stream a row a readable box, images in path order."""
        parsed = corpus_options(Icdar2015Options, self.name, options)
        names = list(walk_files(root))
        labels = {_stem(name): name for name in names if name.lower().endswith(".txt")}
        for image in (name for name in names if is_image(name)):
            label = labels.get(Path(image).stem.lower(), "")
            if not label:
                yield self._reject(image, "missing_label", "no gt_NAME.txt of the same name")
                continue
            yield from self._lines(root, image, label, parsed)

    def _lines(
        self, root: Path, image: str, label: str, options: Icdar2015Options
    ) -> Iterator[RawRow | Rejection]:
        try:
            lines = read_text(root / label).split("\n")
        except EncodingError as problem:
            yield self._reject(label, "wrong_encoding", str(problem))
            return
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


def _stem(name: str) -> str:
    return Path(name).stem.lower().removeprefix("gt_")


def _split(image: str) -> str | None:
    folder = image.rpartition("/")[0].lower()
    if "test" in folder:
        return "test"
    return "train_val" if "train" in folder else None
