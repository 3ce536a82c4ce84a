"""From a folder of scans to labelled lines: crops, pre-read text, a page for correction."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from PIL import Image

from manifold_ocr.errors import UserError
from manifold_ocr.files import atomic_write, read_json
from manifold_ocr.reading.label.align import Alignment, align
from manifold_ocr.reading.layout.lines import Line
from manifold_ocr.reading.page import Mode, PageReader, open_pages
from manifold_ocr.resources import progress

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".pdf")
INDEX = "labels.jsonl"
DOCUMENT_PATTERN = r"^(.*)-\d{4}\.png$"  # of a crop's path: the page, which keeps its split


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """One line to be checked: its crop (relative to the output folder) and its text.

    `source` is `transcript` (cut from the page's own text), `read` (the recogniser's
    reading: check it) or `corrected`. `box` is in pixels of the page `page`.
    """

    image: str
    page: str
    box: tuple[float, float, float, float]
    text: str
    read: str
    confidence: float | None
    source: str


@dataclass(frozen=True, slots=True)
class Labelled:
    """What happened: labels, pages that could not be read, transcript text left over."""

    labels: tuple[Label, ...]
    failed: tuple[str, ...]
    left_over: tuple[tuple[str, str], ...]
    without_text: int


def find_images(folder: Path) -> list[Path]:
    """Return the images and PDFs of a folder, sorted.

    Raises:
        UserError: the folder is missing or holds none.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder")
    found = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    if not found:
        raise UserError(f"{folder}: holds no image ({', '.join(SUFFIXES)})")
    return found


def label_folder(reader: PageReader, folder: Path, out: Path, mode: Mode = "auto") -> Labelled:
    """Read every image of `folder` and write line crops with their texts below `out`.

    A text file beside an image (`scan.txt` or `scan.gt.txt`) is its transcript. A page that
    cannot be read is reported and the others still are.

    Raises:
        UserError: no image in the folder, or `out` lies inside it or holds labels already.
    """
    images = find_images(folder)
    if out.resolve() == folder.resolve() or folder.resolve() in out.resolve().parents:
        raise UserError(f"{out}: choose an output folder outside {folder}")
    if (out / INDEX).exists():
        raise UserError(f"{out / INDEX}: exists; corrections would be lost, choose another folder")
    labels: list[Label] = []
    failed: list[str] = []
    left_over: list[tuple[str, str]] = []
    without_text = 0
    for path in progress(images, "label", total=len(images), unit="file"):
        try:
            for name, page, transcript in _pages(path, folder):
                result, crops = reader.read_with_crops(page, mode)
                lines = result.lines
                aligned = align([line.text for line in lines], transcript) if transcript else None
                found = list(_labels(name, lines, crops, aligned, out))
                without_text += len(lines) - len(found)
                labels += found
                left_over += [(name, text) for text in (aligned.left_over if aligned else ())]
        except UserError as error:
            failed.append(str(error))
    write_index(out, labels)
    return Labelled(tuple(labels), tuple(failed), tuple(left_over), without_text)


def _pages(path: Path, folder: Path) -> Iterator[tuple[str, Image.Image, str]]:
    """Yield (name, page, transcript); a PDF's transcript is divided by form feeds."""
    name = path.relative_to(folder).with_suffix("").as_posix()
    parts = _transcript(path).split("\f")
    for number, (label, page) in enumerate(open_pages(path)):
        several = "#page=" in label
        page_name = f"{name}-p{number + 1:04d}" if several else name
        text = parts[number] if several and len(parts) > 1 and number < len(parts) else ""
        yield page_name, page, text if several else "\n".join(parts)


def _transcript(path: Path) -> str:
    for suffix in (".gt.txt", ".txt"):
        text = path.with_suffix(suffix)
        if text.is_file():
            try:
                return text.read_text(encoding="utf-8")
            except UnicodeDecodeError as error:
                raise UserError(
                    f"{text}: not UTF-8 (byte {error.start}); save it as such"
                ) from error
    return ""


def _labels(
    name: str,
    lines: Sequence[Line],
    crops: Sequence[Image.Image],
    aligned: Alignment | None,
    out: Path,
) -> Iterator[Label]:
    for number, (line, crop) in enumerate(zip(lines, crops, strict=True)):
        fitted = aligned.lines[number].text if aligned else None
        text = fitted if fitted is not None else line.text.strip()
        if not text:
            continue
        image = f"{name}-{number + 1:04d}.png"
        target = out / image
        target.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(target, "wb") as file:
            crop.save(file, "PNG")
        _write_text(target, text)
        yield Label(
            image=image,
            page=name,
            box=line.box,
            text=text,
            read=line.text,
            confidence=line.confidence,
            source="read" if fitted is None else "transcript",
        )


def _write_text(image: Path, text: str) -> None:
    with atomic_write(image.with_suffix(".gt.txt")) as file:
        file.write(text + "\n")


def write_index(out: Path, labels: Iterable[Label]) -> None:
    """Write labels.jsonl: one label a line, with its page, box and confidence."""
    with atomic_write(out / INDEX) as file:
        for label in labels:
            row = {field: getattr(label, field) for field in Label.__dataclass_fields__}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def apply_corrections(out: Path, corrections: Path) -> tuple[int, int]:
    """Write the texts that the correction page saved; return (changed, removed).

    The file is `{"lines": [{"image": ..., "text": ..., "keep": true}, ...]}`. A line with
    `keep` false loses its text file, so that it is no longer a label; its crop stays.

    Raises:
        UserError: not such a file, or a line that names no crop of this folder.
    """
    value = read_json(corrections)
    rows: Any = value.get("lines") if isinstance(value, dict) else None
    if not isinstance(rows, list):
        raise UserError(f"{corrections}: not a corrections file of the label page")
    targets = [_target(out, row, corrections) for row in rows]
    changed = removed = 0
    for row, image in zip(rows, targets, strict=True):
        text_file = image.with_suffix(".gt.txt")
        if not row.get("keep", True) or not row["text"].strip():
            removed += text_file.exists()
            text_file.unlink(missing_ok=True)
            continue
        text = " ".join(row["text"].split())
        if not text_file.exists() or text_file.read_text(encoding="utf-8").strip() != text:
            _write_text(image, text)
            changed += 1
    return changed, removed


def _target(out: Path, row: Any, corrections: Path) -> Path:
    name = row.get("image") if isinstance(row, dict) else None
    if not isinstance(name, str) or not isinstance(row.get("text"), str):
        raise UserError(f"{corrections}: a line needs 'image' and 'text': {row!r}")
    image = (out / name).resolve()
    if out.resolve() not in image.parents or not image.is_file():
        raise UserError(f"{corrections}: {name!r} is no line image below {out}")
    return image


PAGE = "index.html"


def write_page(out: Path, labels: Sequence[Label]) -> Path:
    """Write index.html beside the line images and return its path.

    The images stay files of their own, so the page stays small; the texts are data inside
    it. What was corrected is saved by the browser as corrections.json.
    """
    rows = [
        {
            "image": label.image,
            "text": label.text,
            "confidence": label.confidence,
            "source": label.source,
        }
        for label in labels
    ]
    data = json.dumps(rows, ensure_ascii=False)
    for character in "<>&\u2028\u2029":
        data = data.replace(character, f"\\u{ord(character):04x}")
    template = resources.files("manifold_ocr.reading.label") / "page.html"
    block = f'<script type="application/json" id="data">{data}</script>'
    path = out / PAGE
    with atomic_write(path) as file:
        file.write(template.read_text(encoding="utf-8").replace("<!--DATA-->", block))
    return path
