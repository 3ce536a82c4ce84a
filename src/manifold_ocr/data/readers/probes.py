"""Corpora without transcripts: questions of DocVQA, layouts of PubLayNet.

DocVQA (single page), scored by ANLS:
train_v1.0.json / val_v1.0.json / test_v1.0.json hold {"dataset_name", "dataset_split",
"data": [{"questionId", "question", "image": "documents/ID_page.png", "docId",
"ucsf_document_id", "ucsf_document_page_no", "answers": [...], "data_split"}]}; the v1.0
withQT files add "question_types". The official test has no public answers and is left out.

PubLayNet: layout of scientific pages as COCO JSON (text, title, list, table, figure).
train.json / val.json hold {"images": [{id, file_name, width, height}], "annotations":
[{image_id, category_id, bbox [x, y, w, h], segmentation, area, iscrowd}], "categories"};
pages lie in train/ and val/. There is no text, so no row ever enters a CER: each page is
one row of task `layout`, whose target is the list of its boxes as JSON, and whose subset is
the kind of page. Detection and page-type reports select it by task.
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from manifold_ocr.data.fetch import fetch
from manifold_ocr.data.formats import unlisted
from manifold_ocr.data.sources import SOURCES, CommonOptions, corpus_options
from manifold_ocr.errors import UserError
from manifold_ocr.files import read_json
from manifold_ocr.records import RawRow, Rejection
from manifold_ocr.settings import Share, settings

_SPLITS = {
    "train": "train",
    "val": "test",
}  # both hide the labels of test


@dataclass(frozen=True)
class DocVqa:
    """Questions about pages of industry documents."""

    name: str = "docvqa"
    role: str = "train"

    def fetch(self, destination: Path, options: Mapping[str, Any]) -> None:
        """Copy or unpack the registered download (see `fetchers.fetch`)."""
        fetch(self.name, options, destination)

    def rows(self, root: Path, options: Mapping[str, Any]) -> Iterator[RawRow | Rejection]:
        """Stream a row per question; the first accepted answer is the target text.

        Official train is split into train and validation by document, official validation
        is the test split. Pages of one source document stay together.
        """
        parsed = corpus_options(CommonOptions, self.name, options)
        files = sorted(path for path in root.rglob("*.json") if "v1.0" in path.name)
        if not files:
            raise UserError(f"{root}: no *_v1.0*.json of DocVQA")
        license = parsed.license or SOURCES["docvqa"].license
        listed = set()
        for path in files:
            value = read_json(path)
            entries = value.get("data") if isinstance(value, dict) else None
            if not isinstance(entries, list):
                name = path.relative_to(root).as_posix()
                yield self._reject(name, "broken_row", "no list under the key data")
                continue
            for number, entry in enumerate(entries):
                where = f"{path.relative_to(root).as_posix()}[{number}]"
                row = self._row(root, path.parent, entry, where, license)
                if isinstance(row, RawRow) or row.reason == "no_answer":
                    listed.add((path.parent / entry["image"]).relative_to(root).as_posix())
                yield row
        for image in unlisted(root, "", listed):
            yield self._reject(image, "missing_label", "no question is asked about it")

    def _row(
        self, root: Path, folder: Path, entry: Any, where: str, license: str
    ) -> RawRow | Rejection:
        try:
            answers = tuple(str(answer) for answer in entry.get("answers") or ())
            split = entry.get("data_split", "")
            image = (folder / entry["image"]).relative_to(root).as_posix()
            document = str(entry.get("ucsf_document_id") or entry.get("docId") or image)
            question = str(entry["question"])
        except (KeyError, AttributeError, TypeError, ValueError) as error:
            return self._reject(where, "broken_row", repr(error))
        if not answers:
            return self._reject(where, "no_answer", "the official test split hides its answers")
        return RawRow(
            document=document,
            image=image,
            text=answers[0],
            source=where,
            subset="questions",
            tags=tuple(str(kind).replace(" ", "_") for kind in entry.get("question_types") or ()),
            language="en",
            split="train_val" if _SPLITS.get(split) == "train" else _SPLITS.get(split),
            granularity="page",
            task="qa",
            question=question,
            answers=answers,
            license=license,
        )

    def _reject(self, source: str, reason: str, detail: str) -> Rejection:
        return Rejection(corpus=self.name, source=source, reason=reason, detail=detail)


LAYOUT_QUESTION = "Return the layout of the page: one {label, box} a region."


@settings
class PubLayNetOptions(CommonOptions):
    """A page is `table_page` or `figure_page` from this share of its area upwards."""

    heavy_share: Share = 0.3


@dataclass(frozen=True)
class PubLayNet:
    """Page layouts."""

    name: str = "publaynet"
    role: str = "train"

    def fetch(self, destination: Path, options: Mapping[str, Any]) -> None:
        """Copy or unpack the published archives (see `fetchers.fetch`)."""
        fetch(self.name, options, destination)

    def rows(self, root: Path, options: Mapping[str, Any]) -> Iterator[RawRow | Rejection]:
        """Stream a row per page; a page without regions is rejected."""
        parsed = corpus_options(PubLayNetOptions, self.name, options)
        found = [path for name in _SPLITS for path in sorted(root.rglob(f"{name}.json"))]
        if not found:
            raise UserError(f"{root}: no train.json or val.json of PubLayNet")
        for path in found:
            yield from self._file(root, path, parsed)

    def _file(
        self, root: Path, path: Path, options: PubLayNetOptions
    ) -> Iterator[RawRow | Rejection]:
        name = path.relative_to(root).as_posix()
        value = read_json(path)
        if not isinstance(value, dict) or not all(
            isinstance(value.get(key), list) for key in ("images", "annotations", "categories")
        ):
            yield self._reject(name, "broken_row", "no lists of images, annotations, categories")
            return
        regions: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for number, annotation in enumerate(value["annotations"]):
            try:
                image, region = _region(annotation, value["categories"])
                regions[image].append(region)
            except (KeyError, TypeError, ValueError, StopIteration) as error:
                where = f"{name}#annotations[{number}]"
                yield self._reject(where, "broken_row", f"not an annotation: {error!r}")
        base = path.parent.relative_to(root).as_posix()
        prefix = f"{path.stem}/" if base == "." else f"{base}/{path.stem}/"
        for image in sorted(value["images"], key=_file_name):
            yield self._row(image, regions, f"{name}#", prefix, options)
        listed = {prefix + _file_name(image) for image in value["images"]}
        for image in unlisted(root, prefix.rstrip("/"), listed):
            yield self._reject(image, "missing_label", f"{name} does not name it")

    def _row(
        self,
        image: Any,
        regions: dict[str, list[dict[str, Any]]],
        where: str,
        prefix: str,
        options: PubLayNetOptions,
    ) -> RawRow | Rejection:
        split = where.rpartition("/")[2].removesuffix(".json#")
        try:
            where += str(image["id"])
            found = regions.get(str(image["id"]), [])
            if not found:
                return self._reject(where, "empty_layout", "no region is annotated")
            return RawRow(
                document=_file_name(image).split("_", maxsplit=1)[0],  # the article
                image=prefix + image["file_name"],
                text=json.dumps(found),
                source=where,
                subset=_page_type(found, image, options.heavy_share),
                language="en",
                split="train_val" if split == "train" else _SPLITS[split],
                granularity="page",
                task="layout",
                question=LAYOUT_QUESTION,
                license=options.license or SOURCES["publaynet"].license,
            )
        except (KeyError, TypeError, ValueError) as error:
            return self._reject(where, "broken_row", f"not an image of PubLayNet: {error!r}")

    def _reject(self, source: str, reason: str, detail: str) -> Rejection:
        return Rejection(corpus=self.name, source=source, reason=reason, detail=detail)


def _file_name(image: Any) -> str:
    return str(image.get("file_name")) if isinstance(image, dict) else ""


def _region(annotation: Any, categories: list[Any]) -> tuple[str, dict[str, Any]]:
    """Return (image id, region) of an annotation."""
    x, y, w, h = (round(float(v), 2) for v in annotation["bbox"])
    label = next(c["name"] for c in categories if c["id"] == annotation["category_id"])
    box = [x, y, round(x + w, 2), round(y + h, 2)]
    return str(annotation["image_id"]), {"label": str(label), "box": box}


def _page_type(regions: list[dict[str, Any]], image: dict[str, Any], share: float) -> str:
    page = float(image["width"]) * float(image["height"]) or 1.0
    for label in ("table", "figure"):
        boxes = [region["box"] for region in regions if region["label"] == label]
        if sum((b[2] - b[0]) * (b[3] - b[1]) for b in boxes) / page >= share:
            return f"{label}_page"
    return "text_page"
