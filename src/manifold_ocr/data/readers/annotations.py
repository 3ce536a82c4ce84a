"""Annotation files beside images: COCO-Text and TextOCR, Label Studio, PaddleOCR.

One wrong annotation is one rejection that names file and place; it never ends the reading.
"""

import json
import math
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from manifold_ocr.data.formats import EncodingError, bounding_box, is_image, read_text, unescaped
from manifold_ocr.data.readers.pairs import FolderView, ImageFinder
from manifold_ocr.errors import UserError
from manifold_ocr.files import read_json
from manifold_ocr.images import image_size
from manifold_ocr.records import UNDETERMINED, Box, RawRow, Rejection, all_text, language_tag

UNREADABLE = frozenset((".", "###", "*"))  # TextOCR; ICDAR and PaddleOCR
_SPLITS = {"train": "train", "val": "val", "test": "test"}
_NO_LANGUAGE = frozenset(("na", "n/a", "not english", "non-english", "none", ""))
_UPLOAD = re.compile(r"^[0-9a-f]{8}-")  # Label Studio puts it before the name of an upload
_QUOTED = re.compile(r'([^,]+),\s*"(.*)"')
_PADDLE_SPLIT = re.compile(r"(?:^|_)(train|val|test)(?:_|\.|$)")

Rows = Iterator[RawRow | Rejection]


def is_coco_text(value: Any) -> bool:
    """Say whether parsed JSON is COCO-Text or TextOCR."""
    return isinstance(value, dict) and "anns" in value and "imgs" in value


def is_label_studio(value: Any) -> bool:
    """Say whether parsed JSON is an export of Label Studio (JSON or JSON-MIN)."""
    first = value[0] if isinstance(value, list) and value else None
    if not isinstance(first, dict):
        return False
    full = isinstance(first.get("data"), dict) and (
        "annotations" in first or "completions" in first
    )
    return full or ("transcription" in first and ("bbox" in first or "poly" in first))


def json_rows(view: FolderView) -> Rows:
    """Stream a row per legible annotation of every JSON file that is one of the formats."""
    names = list(view.files())
    finder = ImageFinder(names)
    labeled: set[str] = set()
    for name in (n for n in names if n.lower().endswith(".json")):
        try:
            value = read_json(view.root / name)
        except UserError as error:
            if not view.part:
                detail = str(error).replace(f"{view.root}/", "")
                yield view.reject(name, "broken_row", detail)
            continue
        if is_coco_text(value):
            yield from _coco_rows(view, name, value, finder, labeled)
        elif is_label_studio(value):
            yield from _studio_rows(view, name, value, finder, labeled)
    yield from view.unlabeled(finder.images, labeled, "no annotation file names it")


# --- COCO-Text and TextOCR: `imgs`, `anns` with bbox [x, y, w, h] and utf8_string


def _coco_rows(
    view: FolderView, name: str, value: Any, finder: ImageFinder, labeled: set[str]
) -> Rows:
    images, annotations = _keyed(value["imgs"]), _keyed(value["anns"])
    places = {}
    for key, image in images.items():
        stated = image.get("file_name") if isinstance(image, dict) else None
        if isinstance(stated, str) and stated:
            places[key] = finder.find(stated, name)
            labeled.add(places[key][0])
    by_image: dict[str, list[str]] = defaultdict(list)
    for key in sorted(annotations):
        ann = annotations[key]
        by_image[str(ann.get("image_id")) if isinstance(ann, dict) else ""].append(key)
    for image in view.share(sorted(by_image)):
        for key in by_image[image]:
            where = f"{name}#{key}"
            found, problem = places.get(image, ("", ""))
            if problem:
                yield view.reject(where, "missing_image", problem)
                continue
            yield _coco_row(view, annotations[key], images.get(image), found, where)
    bare = sorted({path for key, (path, _) in places.items() if path and key not in by_image})
    for path in view.share(bare):
        yield view.reject(path, "missing_label", f"{name} has no annotation of it")


def _keyed(value: Any) -> dict[str, Any]:
    """Return a list of objects, or a mapping, by id."""
    if isinstance(value, dict):
        return {str(key): item for key, item in value.items()}
    found: dict[str, Any] = {}
    for number, item in enumerate(value if isinstance(value, list) else ()):
        key = str(item["id"]) if isinstance(item, dict) and "id" in item else ""
        found[key if key and key not in found else f"{key}[{number}]"] = item
    return found


def _coco_row(view: FolderView, ann: Any, image: Any, path: str, where: str) -> RawRow | Rejection:
    if not isinstance(ann, dict) or not isinstance(image, dict) or not path:
        return view.reject(where, "broken_row", "no annotation, or its image has no file_name")
    text = ann.get("utf8_string", "")
    if ann.get("legibility") == "illegible" or not text:
        return view.reject(where, "empty_text", "illegible, or without utf8_string")
    if not isinstance(text, str):
        return view.reject(where, "broken_row", "utf8_string is no text")
    if text in UNREADABLE:
        return view.reject(where, "unreadable_text", f"marked {text} by the annotators")
    try:
        x, y, width, height = (float(v) for v in ann["bbox"])
    except (KeyError, TypeError, ValueError) as error:
        return view.reject(where, "broken_row", f"bbox must be [x, y, width, height]: {error!r}")
    if width <= 0 or height <= 0:
        return view.reject(where, "broken_row", f"a box of {width:g}x{height:g} pixels")
    more: dict[str, Any] = {"box": (x, y, x + width, y + height), "granularity": "line"}
    more["split"] = _SPLITS.get(str(image.get("set") or ""))
    if not view.language:
        more["language"] = _coco_language(ann.get("language"))
    if isinstance(ann.get("class"), str):
        more["tags"] = (ann["class"].replace(" ", "_"),)
    return view.row(path, text, where, **more)


def _coco_language(stated: Any) -> str:
    """Return the tag of COCO-Text's own values: `english`, `not english`, `na`."""
    if not isinstance(stated, str) or stated.strip().lower() in _NO_LANGUAGE:
        return UNDETERMINED
    try:
        return language_tag(stated)
    except UserError:
        return UNDETERMINED


# --- Label Studio: boxes in percent of the image, texts under the same id


def _studio_rows(
    view: FolderView, name: str, tasks: list[Any], finder: ImageFinder, labeled: set[str]
) -> Rows:
    for number, task in enumerate(tasks):
        where = f"{name}[{number}]"
        image, problem = _studio_image(task, name, finder)
        labeled.add(image)
        if number % view.parts != view.part:
            continue
        if not image:
            yield view.reject(where, "missing_image", problem)
            continue
        regions = _studio_regions(task)
        if not regions:
            yield view.reject(where, "missing_label", "no annotation holds a box with a text")
        for place, (value, text) in regions.items():
            yield _studio_row(view, value, text, image, f"{where}#{place}")


def _studio_image(task: Any, name: str, finder: ImageFinder) -> tuple[str, str]:
    if not isinstance(task, dict):
        return "", "a task must be a JSON object"
    data = task.get("data") if isinstance(task.get("data"), dict) else task
    stated = [v for v in (data or {}).values() if isinstance(v, str) and is_image(_path_of(v))]
    if not stated:
        return "", "the task's data names no image"
    wanted = _path_of(stated[0])
    found, problem = finder.find(wanted, name)
    if not found:
        found = finder.find(_UPLOAD.sub("", wanted.rpartition("/")[2]), name)[0]
    return found, "" if found else problem


def _path_of(address: str) -> str:
    """Return the path of `/data/local-files/?d=scans/a.png`, an upload or an address."""
    address = address.rsplit("?d=", 1)[-1]
    return re.sub(r"^[a-z0-9]+://[^/]*/", "", address).split("?", maxsplit=1)[0].lstrip("/")


def _studio_regions(task: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return (box value, text) by region, of the annotation that is ground truth or the last."""
    if "annotations" not in task and "completions" not in task:
        boxes, texts = task.get("bbox") or task.get("poly"), task.get("transcription")
        boxes = boxes if isinstance(boxes, list) else []
        texts = texts if isinstance(texts, list) else [texts]
        texts += [""] * (len(boxes) - len(texts))
        return {str(i): (box, texts[i]) for i, box in enumerate(boxes)}
    done = task.get("annotations") or task.get("completions")
    done = [a for a in done or () if isinstance(a, dict) and not a.get("was_canceled")]
    chosen = next((a for a in done if a.get("ground_truth")), done[-1] if done else {})
    boxes_of: dict[str, Any] = {}
    text_of: dict[str, Any] = {}
    for part in chosen.get("result") or ():
        if not isinstance(part, dict) or not isinstance(part.get("value"), dict):
            continue
        key = str(part.get("id"))
        boxes_of.setdefault(key, part["value"])
        if "text" in part["value"]:
            text_of[key] = part["value"]["text"]
    return {key: (box, text_of.get(key, "")) for key, box in boxes_of.items()}


def _studio_row(
    view: FolderView, value: Any, text: Any, image: str, where: str
) -> RawRow | Rejection:
    text = "\n".join(text) if isinstance(text, list) and all_text(text) else text
    if not isinstance(text, str) or not text.strip():
        return view.reject(where, "empty_text", "the box has no text")
    if isinstance(value, dict) and not {"x", "points"} & set(value):
        return view.row(image, text, where)  # the text of the whole image
    try:
        size = image_size(view.root / image)
        box = _percent_box(value, size)
    except UserError:
        return view.row(image, text, where)  # the manifest stage says what is wrong with it
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        return view.reject(where, "broken_row", f"no box in percent of the image: {error!r}")
    return view.row(image, text, where, box=box)


def _percent_box(value: dict[str, Any], size: tuple[int, int]) -> Box:
    """Return the box in pixels; a turned rectangle (clockwise about its x, y) by its bounds."""
    across, down = size[0] / 100, size[1] / 100
    if "points" in value:
        points = [float(v) for point in value["points"] for v in point]
        pixels = [v * (down if i % 2 else across) for i, v in enumerate(points)]
    else:
        x, y = float(value["x"]) * across, float(value["y"]) * down
        width, height = float(value["width"]) * across, float(value["height"]) * down
        angle = math.radians(float(value.get("rotation") or 0))
        right = (width * math.cos(angle), width * math.sin(angle))
        below = (-height * math.sin(angle), height * math.cos(angle))
        pixels = [x, y, x + right[0], y + right[1], x + below[0], y + below[1]]
        pixels += [x + right[0] + below[0], y + right[1] + below[1]]
    x0, y0, x1, y1 = bounding_box(pixels)
    return (round(x0, 2), round(y0, 2), round(x1, 2), round(y1, 2))


# --- PaddleOCR: `image TAB text` (rec_gt_train.txt), `image TAB [{transcription, points}]`,
# and ICDAR's word lists (gt.txt): `image, "text"`, task 2.3 of https://rrc.cvc.uab.es/?ch=2&com=tasks


def is_paddle(path: Path) -> bool:
    """Say whether a text file starts with an image's path and its label."""
    if path.suffix.lower() != ".txt" or path.name == "fileState.txt":  # PPOCRLabel's own notes
        return False
    try:
        with open(path, encoding="utf-8-sig", errors="replace") as file:
            head = file.readline(4096)
    except OSError:
        return False
    return is_image(_image_and_label(head)[0])


def _image_and_label(line: str) -> tuple[str, str]:
    """Return the path and the label that a line names; two empty texts for any other line."""
    if "\t" in line:
        path, _, label = line.partition("\t")
        return path.strip(), label
    if quoted := _QUOTED.fullmatch(line.rstrip()):
        return quoted[1].strip(), unescaped(quoted[2])
    return "", ""


def paddle_rows(view: FolderView) -> Rows:
    """Stream the rows of every label list; its name's train, val, test are splits if all are."""
    names = list(view.files())
    finder = ImageFinder(names)
    lists = [name for name in names if is_paddle(view.root / name)]
    splits = {name: _paddle_split(name) for name in lists}
    if "test" not in splits.values():  # then the manifest stage draws a test split
        splits = dict.fromkeys(lists)
    labeled: set[str] = set()
    for name in lists:
        try:
            lines = read_text(view.root / name).split("\n")
        except EncodingError as error:
            if not view.part:
                yield view.reject(name, "wrong_encoding", str(error))
            continue
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            stated, label = _image_and_label(line)
            image, problem = finder.find(stated, name)
            labeled.add(image)
            if number % view.parts == view.part:
                where = f"{name}:{number}"
                if not image:
                    reason = "missing_image" if stated else "broken_row"
                    detail = (
                        str(problem) if stated else 'neither `image TAB label` nor `image, "label"`'
                    )
                    yield view.reject(where, reason, detail)
                    continue
                yield from _paddle_line(view, image, label, where, splits[name])
    yield from view.unlabeled(finder.images, labeled, "no label list names it")


def _paddle_split(name: str) -> str | None:
    found = _PADDLE_SPLIT.search(name.rpartition("/")[2].lower())
    if not found:
        return None
    return "train_val" if found.group(1) == "train" else found.group(1)


def _paddle_line(view: FolderView, image: str, label: str, where: str, split: str | None) -> Rows:
    more: dict[str, Any] = {"split": split} if split else {}
    if not label.lstrip().startswith("[{") and label.strip() != "[]":
        if label.strip() in UNREADABLE - {"."}:
            yield view.reject(where, "unreadable_text", f"marked {label.strip()}")
        else:
            yield view.row(image, label, where, **more)
        return
    try:
        regions = json.loads(label)
    except (ValueError, RecursionError) as error:
        yield view.reject(where, "broken_row", f"not JSON: {error}")
        return
    if not regions:
        yield view.reject(where, "missing_label", "its list of boxes is empty")
    texts = []
    for number, region in enumerate(regions):
        place = f"{where}#{number}"
        try:
            text = region["transcription"]
            box = bounding_box([float(v) for point in region["points"] for v in point])
        except (KeyError, TypeError, ValueError) as error:
            yield view.reject(place, "broken_row", f"no transcription and points: {error!r}")
            continue
        if not isinstance(text, str) or text in ("###", "*") or region.get("difficult"):
            yield view.reject(place, "unreadable_text", "marked ###, * or difficult")
            continue
        texts.append(text)
        yield view.row(image, text, place, box=box, granularity="line", **more)
    if texts:
        yield view.row(image, "\n".join(texts), where, granularity="page", **more)
