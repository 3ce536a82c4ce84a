"""COCO-Text annotations: `imgs`, `anns` with bbox [x, y, w, h] and `utf8_string`."""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from manifold_ocr.data.readers.pairs import FolderView
from manifold_ocr.errors import UserError
from manifold_ocr.files import read_json
from manifold_ocr.records import RawRow, Rejection, language_tag

_SPLITS = {"train": "train", "val": "val", "test": "test"}


def is_coco_text(path: Path) -> bool:
    """Say whether a JSON file starts like COCO-Text (`imgs` and `anns` at the top level)."""
    if path.suffix.lower() != ".json":
        return False
    try:
        value = read_json(path)
    except UserError:
        return False
    return isinstance(value, dict) and "anns" in value and "imgs" in value


def rows(view: FolderView) -> Iterator[RawRow | Rejection]:
    """Stream a row a legible annotation; illegible and empty ones are rejected, counted."""
    names = list(view.files())
    places = {name.rsplit("/", 1)[-1]: name for name in names}
    for name in names:
        if not is_coco_text(view.root / name):
            continue
        value = read_json(view.root / name)
        images = value["imgs"]
        by_image: dict[str, list[str]] = defaultdict(list)
        for key in sorted(value["anns"], key=str):
            by_image[str(value["anns"][key].get("image_id"))].append(key)
        for image in view.share(sorted(by_image)):
            for key in by_image[image]:
                yield _row(view, value["anns"][key], images, places, f"{name}#{key}")


def _row(
    view: FolderView, ann: Any, images: dict[str, Any], places: dict[str, str], where: str
) -> RawRow | Rejection:
    try:
        image = images[str(ann["image_id"])]
        x, y, width, height = (float(v) for v in ann["bbox"])
        text = ann.get("utf8_string", "")
    except (KeyError, TypeError, ValueError) as error:
        return view.reject(where, "broken_row", f"COCO-Text annotation: {error!r}")
    if ann.get("legibility") == "illegible" or not text:
        return view.reject(where, "empty_text", "illegible, or without utf8_string")
    file_name = places.get(image["file_name"].rsplit("/", 1)[-1], image["file_name"])
    more: dict[str, Any] = {"box": (x, y, x + width, y + height), "granularity": "line"}
    more["split"] = _SPLITS.get(image.get("set", ""))
    if ann.get("language") and not view.language and ann["language"] != "non-english":
        more["language"] = language_tag(ann["language"])
    if ann.get("class"):
        more["tags"] = (str(ann["class"]).replace(" ", "_"),)
    return view.row(file_name, str(text), where, **more)
