"""From a folder of scans to labeled lines: crops, pre-read text, a page for correction."""

import codecs
import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path, PurePosixPath

from PIL import Image

from manifold_ocr.errors import UserError
from manifold_ocr.files import atomic_write
from manifold_ocr.images import IMAGE_SUFFIXES, Document
from manifold_ocr.reading.label.align import Alignment, align
from manifold_ocr.reading.layout.lines import Line
from manifold_ocr.reading.page import Mode, PageReader
from manifold_ocr.resources import progress

SUFFIXES = IMAGE_SUFFIXES | {".pdf"}
INDEX = "labels.jsonl"
DOCUMENT_PATTERN = r"^(.*)-\d{4}\.png$"  # of a crop's path: the page, which keeps its split


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """One line to be checked: its crop (relative to the output folder) and its text.

    `source` is `transcript` (cut from the page's own text), `read` (the recognizer's
    reading: check it) or `corrected`. `box` is in pixels of the upright page `page`, of
    `width` by `height` pixels: frame `frame` of the scan `file`.
    """

    image: str
    page: str
    box: tuple[float, float, float, float]
    text: str
    read: str
    confidence: float | None
    source: str
    file: str = ""
    frame: int = 0
    width: int = 0
    height: int = 0


@dataclass(frozen=True, slots=True)
class Labeled:
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
        raise UserError(f"{folder}: holds no image ({', '.join(sorted(SUFFIXES))})")
    return found


def label_folder(reader: PageReader, folder: Path, out: Path, mode: Mode = "auto") -> Labeled:
    """Read every image of `folder` and write line crops with their texts below `out`.

    A text file beside an image (`scan.txt`, `scan.gt.txt` or `scan.png.txt`, in any case) is
    its transcript, form feeds between the pages. A page that cannot be read is reported and
    the others still are.

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
    names = page_names(images, folder)
    for path in progress(images, "label", total=len(images), unit="file"):
        try:
            for page in _pages(path, folder, names[path]):
                text, crops = reader.read_with_crops(page.image, mode)
                readings = [line.text for line in text.lines]
                aligned = align(readings, page.transcript) if page.transcript else None
                found = list(_labels(page, text.lines, crops, aligned, out))
                without_text += len(text.lines) - len(found) + len(text.unreadable)
                labels += found
                rest = (*page.unused, *(aligned.left_over if aligned else ()))
                left_over += [(page.name, part) for part in rest]
        except UserError as error:
            failed.append(str(error))
    write_index(out, labels)
    return Labeled(tuple(labels), tuple(failed), tuple(left_over), without_text)


@dataclass(frozen=True, slots=True)
class ScanPage:
    """A page to be labeled; `unused` are transcripts that no page could be given."""

    name: str
    file: str
    frame: int
    image: Image.Image
    transcript: str
    unused: tuple[str, ...]


def page_names(images: Sequence[Path], folder: Path) -> dict[Path, str]:
    """Return the name below the output folder that each scan's crops begin with.

    The path without its suffix; with it where two scans would share a name, also on a file
    system that does not tell cases apart.
    """
    stems = [path.relative_to(folder).with_suffix("").as_posix() for path in images]
    count = Counter(stem.lower() for stem in stems)
    taken = {stem.lower() for stem in stems if count[stem.lower()] == 1}
    names = {}
    for path, stem in zip(images, stems, strict=True):
        name = stem
        if count[stem.lower()] > 1:
            name = base = f"{stem}_{path.suffix[1:].lower()}"
            number = 2
            while name.lower() in taken:
                name, number = f"{base}_{number}", number + 1
        taken.add(name.lower())
        names[path] = name
    return names


def _pages(path: Path, folder: Path, name: str) -> Iterator[ScanPage]:
    """Yield the pages of a scan; a page that cannot be rendered is told at the end.

    Raises:
        UserError: the scan, its transcript or a page of it cannot be read.
    """
    parts = find_transcript(path).split("\f")
    file = path.relative_to(folder).as_posix()
    problems = []
    with Document(path) as document:
        several = len(document) > 1
        divided = len(parts) > 1
        for frame in range(len(document)):
            try:
                image = document.render(frame)
            except UserError as error:
                problems.append(str(error))
                continue
            own = parts[frame] if divided and frame < len(parts) else ""
            undivided = several and not divided
            yield ScanPage(
                name=f"{name}-p{frame + 1:04d}" if several else name,
                file=file,
                frame=frame,
                image=image,
                transcript=own if several else "\n".join(parts),
                unused=tuple(p for p in parts if p.strip()) if undivided and not frame else (),
            )
    if problems:
        raise UserError("; ".join(problems))


def find_transcript(path: Path) -> str:
    """Return the text of the transcript beside a scan, or an empty text.

    Raises:
        UserError: it is not UTF-8 or UTF-16.
    """
    beside = {other.name.lower(): other for other in path.parent.iterdir()}
    for name in (path.name, path.stem):
        for suffix in (".gt.txt", ".txt"):
            text = beside.get(f"{name}{suffix}".lower())
            if text is not None and text.is_file():
                return decode_text(text)
    return ""


def decode_text(path: Path) -> str:
    """Return the text of a file in UTF-8 or UTF-16, without its byte order mark.

    Raises:
        UserError: neither.
    """
    data = path.read_bytes()
    utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return data.decode("utf-16" if utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 (byte {error.start}); save it as such") from error


def _labels(
    page: ScanPage,
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
        image = f"{page.name}-{number + 1:04d}.png"
        target = out / image
        target.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(target, "wb") as file:
            crop.save(file, "PNG")
        write_text(target, text)
        yield Label(
            image=image,
            page=page.name,
            box=line.box,
            text=text,
            read=line.text,
            confidence=line.confidence,
            source="read" if fitted is None else "transcript",
            file=page.file,
            frame=page.frame,
            width=page.image.width,
            height=page.image.height,
        )


def text_file(image: Path) -> Path:
    """Return the path of a line image's text."""
    return image.with_name(image.name.removesuffix(".png") + ".gt.txt")


def write_text(image: Path, text: str) -> None:
    """Write the text of a line image."""
    with atomic_write(text_file(image)) as file:
        file.write(text + "\n")


def read_index(out: Path) -> list[Label]:
    """Return the labels of an output folder.

    Raises:
        UserError: it holds none, or a broken row.
    """
    from pydantic import TypeAdapter, ValidationError

    path = out / INDEX
    if not path.is_file():
        raise UserError(f"{path}: no such file; label a folder first")
    schema = TypeAdapter(Label)
    labels = []
    for number, line in enumerate(decode_text(path).split("\n"), 1):
        if line.strip():
            try:
                labels.append(schema.validate_json(line))
            except ValidationError as error:
                first = error.errors(include_url=False)[0]
                place = ".".join(map(str, first["loc"]))
                raise UserError(
                    f"{path}:{number}: not a label ({place}: {first['msg']}); restore the file"
                ) from error
            _check_inside(labels[-1], f"{path}:{number}")
    return labels


def _check_inside(label: Label, where: str) -> None:
    """Refuse a label whose names lead out of the folder, or whose box is no box.

    Raises:
        UserError: such a label.
    """
    for name in (label.image, label.page, label.file):
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts or "\0" in name:
            raise UserError(f"{where}: {name!r} leads out of the folder; restore the file")
    if not all(map(math.isfinite, label.box)):
        raise UserError(f"{where}: a box of {label.box}; restore the file")


def write_index(out: Path, labels: Iterable[Label]) -> None:
    """Write labels.jsonl: one label a line, with its page, box and confidence."""
    with atomic_write(out / INDEX) as file:
        for label in labels:
            row = {field: getattr(label, field) for field in Label.__dataclass_fields__}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


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
            "page": label.page,
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
