"""JSON Lines with images: our own rows and the older row format.

Older rows have `doc_id`, `text` or `text_path`, `image_path` or `source_path`, `subset`,
`language`. A folder mounted at data/benchmark_corpus/NAME, with
`metadata/text_manifest.jsonl` and `raw/`, is found by its name.
"""

import codecs
import json
import math
import posixpath
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from manifold_ocr.data.fetch import fetch
from manifold_ocr.data.formats import EncodingError, read_text, visible, walk_files
from manifold_ocr.data.readers.pairs import ImageFinder
from manifold_ocr.data.sources import CommonOptions, corpus_options
from manifold_ocr.errors import UserError
from manifold_ocr.files import CHUNK
from manifold_ocr.records import TASKS, RawRow, Rejection, language_tag
from manifold_ocr.settings import Flag, settings

_CANDIDATES = ("metadata/text_manifest.jsonl", "manifest.jsonl", "metadata.jsonl")
_SPLITS = {
    "train": "train",
    "train_val": "train_val",
    "val": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
}


@settings
class ManifestOptions(CommonOptions):
    """`manifest` and `image_root` are relative to the corpus's folder (empty: found by name).

    `keep_splits` keeps the rows' own split; false splits by hash of the document.
    """

    manifest: str = ""
    image_root: str = ""
    keep_splits: Flag = True
    granularity: str = ""


@dataclass(frozen=True)
class ManifestCorpus:
    """Rows of somebody's manifest; `look_up` finds images whose paths are spelled otherwise."""

    name: str
    role: str = "train"
    look_up: bool = True

    def fetch(self, destination: Path, options: Mapping[str, Any]) -> None:
        """Copy, unpack or download the files as the options say (see `fetchers.fetch`)."""
        fetch(self.name, options, destination)

    def rows(self, root: Path, options: Mapping[str, Any]) -> Iterator[RawRow | Rejection]:
        """Stream the manifest's rows in file order."""
        yield from self.part_rows(root, options, 0, 1)

    def part_rows(
        self, root: Path, options: Mapping[str, Any], part: int, parts: int
    ) -> Iterator[RawRow | Rejection]:
        """Stream share `part` of `parts` of the file; rows of one image are never divided."""
        parsed = corpus_options(ManifestOptions, self.name, options)
        manifest = _find_manifest(root, parsed)
        relative = manifest.relative_to(root).as_posix()
        images = _Images(root, _image_root(root, parsed), self.look_up)
        reader = _RowReader(self.name, root, images, parsed)
        with open(manifest, "rb") as file:
            utf16 = file.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
        if utf16:
            detail = f"UTF-16, not UTF-8: convert it: iconv -f UTF-16 -t UTF-8 {manifest.name}"
            if not part:
                yield reader.reject(relative, "wrong_encoding", detail)
            return
        for number, line in part_lines(manifest, part, parts):
            if line.strip():
                yield reader.read(line, f"{relative}:{number}")


def part_lines(path: Path, part: int, parts: int) -> Iterator[tuple[int, bytes]]:
    """Yield (number, line) of share `part` of `parts`; the shares are disjoint and complete.

    A share begins where the image changes; lines that name no image stay with those before.
    """
    size = path.stat().st_size
    with open(path, "rb") as file:
        start = _seam(file, size * part // parts)
        stop = size if part + 1 == parts else _seam(file, size * (part + 1) // parts)
        first = 1 + _count_lines(file, start)
        file.seek(start)
        for number, line in enumerate(file, first):
            if start >= stop:
                return
            start += len(line)
            yield number, line


def _seam(file: BinaryIO, position: int) -> int:
    """Return where the first image begins that starts after the line across `position`."""
    if position == 0:
        return 0
    file.seek(position - 1)
    position += len(file.readline()) - 1
    shown = ""
    while line := file.readline():
        image = _image_of(line)
        if shown and image not in ("", shown):
            break
        shown = shown or image
        position += len(line)
    return position


def _count_lines(file: BinaryIO, stop: int) -> int:
    file.seek(0)
    count = position = 0
    while position < stop and (chunk := file.read(min(CHUNK, stop - position))):
        count += chunk.count(b"\n")
        position += len(chunk)
    return count


def _find_manifest(root: Path, options: ManifestOptions) -> Path:
    for name in (options.manifest,) if options.manifest else _CANDIDATES:
        if (root / name).is_file():
            return root / name
    found = sorted(root.glob("*.jsonl"))
    if len(found) == 1 and not options.manifest:
        return found[0]
    raise UserError(
        f"{root}: no manifest ({options.manifest or ', '.join(_CANDIDATES)}); "
        "set the corpus's `manifest` option to its path below the folder"
    )


def _image_root(root: Path, options: ManifestOptions) -> str:
    if options.image_root:
        return options.image_root
    return "raw" if (root / "raw").is_dir() else "."


def _image_of(line: bytes) -> str:
    try:
        value = orjson.loads(line.removeprefix(codecs.BOM_UTF8))
    except orjson.JSONDecodeError:
        return ""
    image = _image(value) if isinstance(value, dict) else None
    return image if isinstance(image, str) else ""


def _image(value: dict[str, Any]) -> Any:
    return value.get("image") or value.get("image_path") or value.get("source_path")


@dataclass(frozen=True, slots=True)
class _RowReader:
    corpus: str
    root: Path
    images: "_Images"
    options: ManifestOptions

    def read(self, line: bytes, where: str) -> RawRow | Rejection:
        try:
            value = orjson.loads(line.removeprefix(codecs.BOM_UTF8))
        except orjson.JSONDecodeError as error:
            return self.reject(where, "broken_row", f"not valid UTF-8 JSON: {error}")
        if not isinstance(value, dict):
            return self.reject(where, "broken_row", "a row must be a JSON object")
        try:
            return self._row(value, where)
        except EncodingError as problem:
            return self.reject(where, "wrong_encoding", str(problem))
        except (KeyError, TypeError, ValueError, UserError, OSError) as error:
            detail = f"key {error} is missing" if isinstance(error, KeyError) else str(error)
            return self.reject(where, "broken_row", detail)

    def reject(self, where: str, reason: str, detail: str) -> Rejection:
        return Rejection(corpus=self.corpus, source=where, reason=reason, detail=detail)

    def _row(self, value: dict[str, Any], where: str) -> RawRow:
        if problem := value.get("problem"):  # found while the corpus was fetched
            raise ValueError(str(problem))
        image = _image(value)
        if not isinstance(image, str):
            raise ValueError("image must be a file name")
        options = self.options
        split = value.get("split") if options.keep_splits else None
        language = options.language or language_tag(str(value.get("language") or ""))
        box, question = value.get("box"), value.get("question")
        return RawRow(
            document=str(value.get("document") or value.get("doc_id") or image),
            image=self.images.find(image),
            text=self._text(value),
            source=where,
            subset=str(value.get("subset") or "all"),
            tags=_strings(value, "tags"),
            language=language,
            split=_split(split) if split else None,
            box=None if box is None else _box(box),
            granularity=_granularity(value.get("granularity") or options.granularity, value),
            task=_task(value.get("task") or "transcribe"),
            question=None if question is None else str(question),
            answers=_strings(value, "answers"),
            license=options.license or str(value.get("license") or "unknown"),
            frame=_frame(value.get("frame") or 0),
        )

    def _text(self, value: dict[str, Any]) -> str:
        text = value.get("text")
        if text is None and value.get("text_path"):
            text = read_text(_inside(self.root, str(value["text_path"])))
        if not isinstance(text, str):
            stated = "" if text is None else f", not {type(text).__name__}"
            raise ValueError(f"text (or text_path) must be a string{stated}")
        return visible(text)


class _Images:
    """Finds the image that a row names; other spellings of its path are looked up only then."""

    def __init__(self, root: Path, base: str, look_up: bool) -> None:
        self._root = root
        self._base = base
        self._look_up = look_up
        self._last = ("", "")
        self._finder: ImageFinder | None = None

    def find(self, stated: str) -> str:
        """Return the image's path below the root; as it is stated where there is none."""
        if self._last[0] != stated:  # rows of one image follow each other
            path = posixpath.normpath(f"{self._base}/{stated}")
            if self._look_up and "\0" not in path and not (self._root / path).exists():
                path = self._spelled(stated) or path
            self._last = (stated, path)
        return self._last[1]

    def _spelled(self, stated: str) -> str:
        if self._finder is None:
            self._finder = ImageFinder(walk_files(self._root))
        return self._finder.find(stated, f"{self._base}/manifest.jsonl".removeprefix("./"))[0]


def _inside(root: Path, name: str) -> Path:
    path = root / name
    for candidate in (path, root / "raw" / name):
        if candidate.resolve().is_relative_to(root.resolve()) and candidate.is_file():
            return candidate
    raise UserError(f"text_path {name!r}: no such file below {root.name}/")


def _box(value: Any) -> tuple[float, float, float, float]:
    if not isinstance(value, list) or len(value) != 4:
        raise ValueError(f"box must be [x0, y0, x1, y1], not {json.dumps(value)}")
    x0, y0, x1, y1 = (float(number) for number in value)
    if not all(map(math.isfinite, (x0, y0, x1, y1))):
        raise ValueError(f"box holds a number that is not finite: {value}")
    return x0, y0, x1, y1


def _split(name: Any) -> str:
    if name not in _SPLITS:
        raise ValueError(f"split {name!r} is not one of {', '.join(_SPLITS)}")
    return _SPLITS[name]


def _task(name: Any) -> str:
    if name not in TASKS:
        raise ValueError(f"task {name!r} is not one of {', '.join(TASKS)}")
    return str(name)


def _granularity(stated: Any, value: dict[str, Any]) -> str:
    if stated in ("line", "page"):
        return str(stated)
    if stated:
        raise ValueError(f"granularity {stated!r} is neither line nor page")
    if value.get("box") is not None:
        return "line"
    return "page" if "doc_id" in value or "\n" in (value.get("text") or "") else "line"


def _strings(value: dict[str, Any], key: str) -> tuple[str, ...]:
    stated = value.get(key) or ()
    if isinstance(stated, str):
        return (stated,)
    if not isinstance(stated, (list, tuple)):
        raise ValueError(f"{key} must be a list of strings")
    return tuple(str(item) for item in stated)


def _frame(stated: Any) -> int:
    if not isinstance(stated, int) or isinstance(stated, bool) or stated < 0:
        raise ValueError(f"frame must be a page number from 0, not {stated!r}")
    return stated
