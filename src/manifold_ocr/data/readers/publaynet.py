"""PubLayNet: layout of scientific pages as COCO JSON (text, title, list, table, figure).

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

from manifold_ocr.config import Share, settings
from manifold_ocr.data.fetch import fetch
from manifold_ocr.data.sources import SOURCES, CommonOptions, corpus_options
from manifold_ocr.errors import UserError
from manifold_ocr.files import read_json
from manifold_ocr.records import RawRow, Rejection

QUESTION = "Return the layout of the page: one {label, box} a region."
_SPLITS = {"train": "train", "val": "test"}  # the official test set has no public labels


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
        """Stream a row a page; a page without regions is rejected."""
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
                question=QUESTION,
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
