"""What was corrected in the label page: texts, order, turned and divided lines; and exports."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image

from manifold_ocr.errors import UserError
from manifold_ocr.files import atomic_write, read_json
from manifold_ocr.images import Document, open_image
from manifold_ocr.reading.export import ALTO, baseline, direction, xml_text
from manifold_ocr.reading.label.folder import (
    Label,
    read_index,
    text_file,
    write_index,
    write_page,
    write_text,
)
from manifold_ocr.reading.layout.lines import Line
from manifold_ocr.records import Box

PAGE_XML = "http://schema.primaresearch.org/PAGE/gts/pagecontent/2019-07-15"
FORMATS = ("page", "alto")


def apply_corrections(out: Path, corrections: Path) -> tuple[int, int]:
    """Write what the correction page saved; return (changed, removed).

    The file is `{"lines": [{"image": ..., "text": ..., "keep": true, "rotate": 90,
    "split": [0.4], "texts": [...]}, ...], "order": [image, ...]}`. A line with `keep` false
    loses its text file, so that it is no longer a label; its crop stays. `rotate` turns a crop
    clockwise; `split` cuts it at shares of its width into lines with the `texts`. `order` is
    that of the lines in labels.jsonl and in exports.

    Raises:
        UserError: not such a file, or a line that names no crop of this folder.
    """
    value = read_json(corrections)
    rows: Any = value.get("lines") if isinstance(value, dict) else None
    if not isinstance(rows, list):
        raise UserError(f"{corrections}: not a corrections file of the label page")
    order: Any = value.get("order") or []
    if not isinstance(order, list):
        raise UserError(f"{corrections}: 'order' must be a list of line images, not {order!r}")
    targets = [_target(out, row, corrections) for row in rows]
    labels = {label.image: [label] for label in read_index(out)}
    changed = removed = 0
    for row, image in zip(rows, targets, strict=True):
        name = image.relative_to(out.resolve()).as_posix()
        if not row.get("keep", True) or not row["text"].strip():
            removed += text_file(image).exists()
            text_file(image).unlink(missing_ok=True)
            labels.pop(name, None)
            continue
        label = labels.get(name, [None])[0]
        before = text_file(image).read_text(encoding="utf-8") if text_file(image).exists() else ""
        parts = _corrected(out, image, row, label, corrections)
        texts = [text for text, _ in parts]
        changed += len(texts) > 1 or bool(row.get("rotate")) or before.strip() != texts[0]
        labels[name] = [part for _, part in parts if part is not None]
    places = {name: place for place, name in enumerate(order) if isinstance(name, str)}
    chosen = sorted(labels, key=lambda name: places.get(name, len(places)))
    kept = [label for name in chosen for label in labels[name]]
    write_index(out, kept)
    write_page(out, kept)
    return changed, removed


def _target(out: Path, row: Any, corrections: Path) -> Path:
    name = row.get("image") if isinstance(row, dict) else None
    if not isinstance(name, str) or not isinstance(row.get("text"), str):
        raise UserError(f"{corrections}: a line needs 'image' and 'text': {row!r}")
    image = (out / name).resolve()
    if out.resolve() not in image.parents or not image.is_file():
        raise UserError(f"{corrections}: {name!r} is no line image below {out}")
    return image


def _corrected(
    out: Path, image: Path, row: Any, label: Label | None, corrections: Path
) -> list[tuple[str, Label | None]]:
    """Rewrite a crop and its text as a row says; return its parts with their labels."""
    turns, cuts, texts = row.get("rotate", 0), row.get("split") or [], row.get("texts")
    if turns not in (0, 90, 180, 270):
        raise UserError(f"{corrections}: 'rotate' is 0, 90, 180 or 270, not {turns!r}")
    texts = texts if cuts else [row["text"]]
    numbers = isinstance(cuts, list) and all(isinstance(c, int | float) and 0 < c < 1 for c in cuts)
    words = isinstance(texts, list) and all(isinstance(text, str) for text in texts)
    if not numbers or not words or len(texts) != len(cuts) + 1:
        raise UserError(f"{corrections}: 'split' needs shares of the width and their 'texts'")
    crop = open_image(image).rotate(-turns, expand=True) if turns else open_image(image)
    edges = [0.0, *sorted(float(cut) for cut in cuts), 1.0]
    parts: list[tuple[str, Label | None]] = []
    for number, text in enumerate(texts):
        start, end = edges[number], edges[number + 1]
        target = image if not number else _free_name(image)
        if turns or cuts:
            box = round(start * crop.width), 0, round(end * crop.width), crop.height
            _save(crop.crop(box), target)
        text = " ".join(text.split())
        write_text(target, text)
        part = None
        if label is not None:
            x0, y0, x1, y1 = label.box
            width = x1 - x0
            part = replace(
                label,
                image=target.relative_to(out.resolve()).as_posix(),
                text=text,
                source="corrected",
                box=(x0 + start * width, y0, x0 + end * width, y1),
            )
        parts.append((text, part))
    return parts


def _free_name(image: Path) -> Path:
    """Return the path of the page's next crop number that is not taken."""
    page = image.stem.rpartition("-")[0]
    number = 1
    while (target := image.with_name(f"{page}-{number:04d}.png")).exists():
        number += 1
    return target


def _save(image: Image.Image, path: Path) -> None:
    with atomic_write(path, "wb") as file:
        image.save(file, "PNG")


def export_labels(folder: Path, out: Path, kind: str) -> int:
    """Write PAGE.xml and PAGE.png into `out`-KIND for every labeled page; return how many.

    The image is the upright page, so that any program shows the boxes where they are.

    Raises:
        UserError: unknown `kind`, no labels, or a scan that is gone.
    """
    if kind not in FORMATS:
        raise UserError(f"--export is {' or '.join(FORMATS)}, not {kind!r}")
    pages: dict[str, list[Label]] = {}
    for label in read_index(out):
        if text_file(out / label.image).is_file():
            text = text_file(out / label.image).read_text(encoding="utf-8").strip()
            pages.setdefault(label.page, []).append(replace(label, text=text))
    for name, labels in pages.items():
        target = export_folder(out, kind) / f"{name}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        with Document(folder / labels[0].file) as document:
            image = document.render(labels[0].frame)
        _save(image, target)
        write = page_xml if kind == "page" else alto_xml
        with atomic_write(target.with_name(f"{target.name.removesuffix('.png')}.xml")) as file:
            file.write(write(target.name, image.size, labels))
    return len(pages)


def export_folder(out: Path, kind: str) -> Path:
    """Return the folder beside `out` that an export goes to: `out` holds line images only."""
    return out.resolve().with_name(f"{out.resolve().name}-{kind}")


def page_xml(image: str, size: tuple[int, int], labels: Sequence[Label]) -> str:
    """Return one page as PAGE-XML 2019-07-15, its lines in reading order in one region."""
    boxes = [_within(label.box, size) for label in labels]
    lines = [
        f'<TextLine id="l{number}"><Coords points="{_points(box)}"/>'
        f'<Baseline points="{_baseline(label, box)}"/>'
        f"<TextEquiv><Unicode>{xml_text(label.text)}</Unicode></TextEquiv></TextLine>"
        for number, (label, box) in enumerate(zip(labels, boxes, strict=True), 1)
    ]
    stamp = "1970-01-01T00:00:00"  # required by the schema; equal labels give equal files
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<PcGts xmlns="{PAGE_XML}"><Metadata><Creator>manifold-ocr</Creator>'
        f"<Created>{stamp}</Created><LastChange>{stamp}</LastChange></Metadata>\n"
        f'<Page imageFilename="{xml_text(image)}" imageWidth="{size[0]}" imageHeight="{size[1]}">\n'
        '<ReadingOrder><OrderedGroup id="order"><RegionRefIndexed index="0" regionRef="r1"/>'
        "</OrderedGroup></ReadingOrder>\n"
        f'<TextRegion id="r1" type="paragraph"><Coords points="{_points(_around(boxes))}"/>\n'
        + "\n".join(lines)
        + "\n</TextRegion></Page></PcGts>\n"
    )


def alto_xml(image: str, size: tuple[int, int], labels: Sequence[Label]) -> str:
    """Return one page as ALTO 4, a String per line."""
    width, height = size
    boxes = [_within(label.box, size) for label in labels]
    lines = [
        f'<TextLine ID="l{number}" {_place(box)} BASELINE="{_baseline(label, box)}">'
        f'<Shape><Polygon POINTS="{_points(box)}"/></Shape>'
        f'<String ID="s{number}" {_place(box)} CONTENT="{xml_text(label.text)}"/></TextLine>'
        for number, (label, box) in enumerate(zip(labels, boxes, strict=True), 1)
    ]
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<alto xmlns="{ALTO}"><Description><MeasurementUnit>pixel</MeasurementUnit>'
        f"<sourceImageInformation><fileName>{xml_text(image)}</fileName></sourceImageInformation>"
        f'</Description>\n<Layout><Page ID="p1" PHYSICAL_IMG_NR="1" WIDTH="{width}" '
        f'HEIGHT="{height}"><PrintSpace {_place((0, 0, width, height))}>\n'
        f'<TextBlock ID="b1" {_place(_around(boxes))}>\n'
        + "\n".join(lines)
        + "\n</TextBlock></PrintSpace></Page></Layout></alto>\n"
    )


Pixels = tuple[int, int, int, int]


def _within(box: Box, size: tuple[int, int]) -> Pixels:
    """Return the box in whole pixels of the page, at least one wide and high."""
    width, height = size
    x0, x1 = sorted(min(max(0, round(value)), width) for value in box[::2])
    y0, y1 = sorted(min(max(0, round(value)), height) for value in box[1::2])
    x0, y0 = min(x0, width - 1), min(y0, height - 1)
    return x0, y0, max(x1, x0 + 1), max(y1, y0 + 1)


def _around(boxes: Sequence[Pixels]) -> Pixels:
    return (
        min(b[0] for b in boxes), min(b[1] for b in boxes),
        max(b[2] for b in boxes), max(b[3] for b in boxes),
    )  # fmt: skip


def _baseline(label: Label, box: Pixels) -> str:
    way = direction(Line(box, label.text, None))
    return " ".join(f"{x},{y}" for x, y in baseline(box, way))


def _points(box: Pixels) -> str:
    x0, y0, x1, y1 = box
    return f"{x0},{y0} {x1},{y0} {x1},{y1} {x0},{y1}"


def _place(box: Pixels) -> str:
    x0, y0, x1, y1 = box
    return f'HPOS="{x0}" VPOS="{y0}" WIDTH="{x1 - x0}" HEIGHT="{y1 - y0}"'
