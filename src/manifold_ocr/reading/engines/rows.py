r"""The rows of prediction files as other systems write them: what names the image, what was read.

One rule for each oddity of a row:
- two text keys (a data set's rows with a reading added): refused unless a text key is named;
- null: an empty reading; a number: its digits as written; any other value: refused;
- a lone surrogate: refused, as it is no character;
- a confidence that is no finite number from 0 to 1: unknown;
- names are compared in Unicode's NFC, with / for \ and without file://;
- of two rows for one sample the last one counts, and the first is counted as repeated;
- UTF-8 with or without a byte order mark, UTF-16 with one; JSON Lines or one JSON array.
"""

import codecs
import math
import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote

from manifold_ocr.errors import UserError
from manifold_ocr.images import IMAGE_SUFFIXES
from manifold_ocr.reading.engines.layout_files import layout_files, page_texts
from manifold_ocr.records import parse_json

TEXT_KEYS = ("prediction", "text", "pred", "output", "answer")
IMAGE_KEYS = ("image_path", "image", "img_path", "image_name", "file_name", "source_path")
TOKEN_KEYS = ("vision_tokens", "image_tokens")
CONFIDENCE_KEYS = ("confidence", "score")
SUFFIXES = IMAGE_SUFFIXES | {".pdf", ".md", ".txt", ".json"}  # dropped when names are compared
SURROGATE = re.compile("[\\ud800-\\udfff]")
PAGE_MARK = re.compile(r"(.*)(#page=\d+)")


class Literal(float):
    """A JSON number that remembers how it was written: 18.50 is not 18.5 in a text."""

    written: str

    def __new__(cls, written: str) -> "Literal":
        """Keep the number and its characters."""
        value = super().__new__(cls, written)
        value.written = written
        return value


@dataclass(frozen=True, slots=True)
class Candidate:
    """One foreign row: the keys that may name its sample (best first), its text, its place."""

    keys: tuple[str, ...]
    text: str
    confidence: float | None
    vision_tokens: int | None
    where: str


def compared_name(text: str) -> str:
    """Return a name or path as it is compared."""
    if text.lower().startswith("file://"):
        text = unquote(text[len("file://") :])
    return unicodedata.normalize("NFC", text.replace("\\", "/"))


def endings(image: str) -> Iterator[str]:
    """Yield `c/b/a.png`, `b/a.png`, `a.png`, and the same without the suffix, longest first.

    `#page=N` stays at the end of each.
    """
    marked = PAGE_MARK.fullmatch(compared_name(image))
    path, mark = (marked[1], marked[2]) if marked else (compared_name(image), "")
    parts = PurePosixPath(path).parts
    for start in range(len(parts)):
        ending = PurePosixPath(*parts[start:])
        yield ending.as_posix() + mark
        if ending.suffix.lower() in SUFFIXES:
            yield ending.with_suffix("").as_posix() + mark


def read_candidates(path: Path, text_key: str | None = None) -> Iterator[Candidate]:
    """Stream the rows of a prediction file or Markdown folder; see the module for the rules.

    Raises:
        UserError: nothing at `path`, or a row that cannot be understood; names its place.
    """
    if path.is_dir():
        files = sorted(path.rglob("*.md"))
        layouts = [] if files else layout_files(path)
        if not files and not layouts:
            raise UserError(
                f"{path}: no .md, PAGE-XML, ALTO or hOCR file; one file per image is needed"
            )
        for file in files:
            yield _markdown(file, path)
        for file in layouts:
            yield from _layout(file, path)
        return
    try:
        with open(path, encoding=_encoding(path), newline="\n") as lines:
            for number, line in enumerate(lines, 1):
                if number == 1 and line.lstrip().startswith("["):
                    yield from _array(line + lines.read(), path, text_key)
                    return
                if line.strip():
                    where = f"{path}:{number}"
                    yield _row(parse_json(line, where, Literal), where, text_key)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file or folder") from error
    except UnicodeError as error:
        raise UserError(f"{path}: not UTF-8 ({error}); save the file as UTF-8") from error


def _layout(file: Path, root: Path) -> Iterator[Candidate]:
    """Yield the pages of a layout file: named by their image, else by the file and number."""
    name = compared_name(file.relative_to(root).with_suffix("").as_posix())
    pages = list(page_texts(file))
    images = [image for image, _ in pages]
    for number, (image, text) in enumerate(pages, 1):
        keys = endings(image) if image and images.count(image) == 1 else ()
        own = (name, *endings(name)) if len(pages) == 1 else ()
        numbered = (f"{name}{mark}{number}" for mark in ("#", "-", "_")) if not own else ()
        yield Candidate((*keys, *own, *numbered), text, None, None, f"{file}#{number}")


def _encoding(path: Path) -> str:
    with open(path, "rb") as file:
        start = file.read(2)
    return "utf-16" if start in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8-sig"


def _markdown(file: Path, root: Path) -> Candidate:
    try:
        text = file.read_text(encoding=_encoding(file))
    except UnicodeError as error:
        raise UserError(f"{file}: not UTF-8 ({error}); save the file as UTF-8") from error
    name = compared_name(file.relative_to(root).as_posix()).removesuffix(".md")
    return Candidate((name, *endings(name)), text, None, None, str(file))


def _array(text: str, path: Path, text_key: str | None) -> Iterator[Candidate]:
    rows = parse_json(text, str(path), Literal)
    for number, row in enumerate(rows if isinstance(rows, list) else [rows], 1):
        where = f"{path} (row {number})"
        yield _row(row, where, text_key)


def _row(value: Any, where: str, text_key: str | None) -> Candidate:
    if not isinstance(value, dict):
        raise UserError(f"{where}: a row must be a JSON object")
    text = _text(value, where, text_key)
    keys = _keys(value)
    if not keys:
        raise UserError(f"{where}: nothing names the image; give id, image_path or doc_id")
    tokens = next((value[k] for k in TOKEN_KEYS if value.get(k) is not None), None)
    if tokens is not None and (type(tokens) is not int or tokens < 0):
        raise UserError(f"{where}: vision tokens must be a whole number, not {tokens!r}")
    confidence = next((value[k] for k in CONFIDENCE_KEYS if value.get(k) is not None), None)
    return Candidate(tuple(keys), text, _confidence(confidence), tokens, where)


def _text(value: Mapping[str, Any], where: str, text_key: str | None) -> str:
    present = [key for key in ((text_key,) if text_key else TEXT_KEYS) if key in value]
    if not present:
        wanted = repr(text_key) if text_key else f"one of {', '.join(TEXT_KEYS)}"
        raise UserError(f"{where}: no text; {wanted} must be in the row")
    if len(present) > 1:
        raise UserError(
            f"{where}: {' and '.join(map(repr, present))} may both be what was read; "
            "say which with --text-key"
        )
    text = value[present[0]]
    if text is None:
        return ""
    if isinstance(text, Literal):
        return text.written
    if type(text) is int:
        return str(text)
    if not isinstance(text, str):
        raise UserError(f"{where}: {present[0]!r} must be a text, not {type(text).__name__}")
    if SURROGATE.search(text):
        raise UserError(
            f"{where}: the text holds half of a surrogate pair, which is no character; "
            "write the whole pair, or U+FFFD for it"
        )
    return text


def _confidence(value: Any) -> float | None:
    if type(value) not in (int, float, Literal):
        return None
    number = float(value)
    return number if math.isfinite(number) and 0.0 <= number <= 1.0 else None


def _keys(value: Mapping[str, Any]) -> list[str]:
    keys = [compared_name(str(value["id"]))] if value.get("id") is not None else []
    for name in IMAGE_KEYS:
        if isinstance(value.get(name), str):
            keys += endings(value[name])
    document, page = value.get("doc_id"), value.get("page_id")
    if document is not None and page is not None:
        joined = [f"{document}{mark}{page}" for mark in ("/", "_", "-", "#", ":")]
        keys += joined if str(page).isdigit() else [*joined, *endings(str(page))]
    if document is not None:
        keys += [compared_name(str(document)), *endings(str(document))]
    return keys
