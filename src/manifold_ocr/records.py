"""The rows that stages exchange: JSON Lines, UTF-8, stable key order, in one file or in shards."""

import dataclasses
import json
import math
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from manifold_ocr.errors import UserError
from manifold_ocr.files import atomic_write, sha256_file, sha256_json

Box = tuple[float, float, float, float]
# what a row asks a model for: its text, or an answer that a probe's own rule scores
Task = Literal["transcribe", "json", "latex", "table", "needle", "qa", "layout"]
TASKS: tuple[Task, ...] = get_args(Task)
PLANTED = "planted"  # tag of a line that is on its page only to be found (needle probes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One row of a manifest: a line or a page image with its target text.

    `image` is a path relative to the image root (data/raw for the pipeline's own
    manifests). `box` is [x0, y0, x1, y1] in pixels of that image, or None for all of it.
    `language` is BCP-47. `question` and `answers` serve question and probe tasks only.
    `width` and `height` are those of the image file; `max_pixels` (0: no limit) is the
    budget to which a reader scales the image before it crops. `frame` is the page (from 0) of
    a file of several; it is not written where it is 0. The `image_sha256` of a later page is
    that of the file's hash and the frame's number, so pages never pass for each other.
    """

    id: str
    document: str
    corpus: str
    subset: str
    image: str
    text: str
    tags: tuple[str, ...] = ()
    language: str = "und"
    split: str = "test"
    role: str = "train"
    image_sha256: str = ""
    width: int = 0
    height: int = 0
    max_pixels: int = 0
    box: Box | None = None
    granularity: str = "line"
    task: str = "transcribe"
    question: str | None = None
    answers: tuple[str, ...] = ()
    license: str = "unknown"
    frame: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """What a model read for the sample of the same id.

    `confidence` is in [0, 1] or None where the model gives none. `vision_tokens` is the
    number of positions that the language model or decoder was fed for the image, or None.
    """

    id: str
    text: str
    confidence: float | None = None
    vision_tokens: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """A row that could not be used, with the reason code and a sentence that explains it."""

    corpus: str
    source: str
    reason: str
    detail: str


Row = TypeVar("Row", Sample, Prediction, Rejection)


@dataclass(frozen=True, slots=True, kw_only=True)
class RawRow:
    """One usable row as its corpus states it; split, hashes and ids are added later.

    `image` is relative to the corpus's own raw folder. `document` groups rows that must
    share a split (all lines of a page, all pages of a book). `split` is a fixed official
    split or None for the hash split. `source` (file and row) is for messages.
    """

    document: str
    image: str
    text: str
    source: str
    subset: str = "all"
    tags: tuple[str, ...] = ()
    language: str = "und"
    split: str | None = None
    box: Box | None = None
    granularity: str = "line"
    task: str = "transcribe"
    question: str | None = None
    answers: tuple[str, ...] = ()
    license: str = "unknown"
    frame: int = 0


def to_json(row: Sample | Prediction | Rejection) -> str:
    """Return one line of JSON with the keys in the order of the fields, no line end."""
    fields = {field.name: getattr(row, field.name) for field in dataclasses.fields(row)}
    if not fields.get("frame", 1):
        del fields["frame"]
    return json.dumps(fields, ensure_ascii=False, allow_nan=False)


def from_mapping(cls: type[Row], value: Any, where: str) -> Row:
    """Build a row from parsed JSON.

    Raises:
        UserError: not an object, a key missing or unknown, or of the wrong type; `where`
            (file and line) opens the message.
    """
    if not isinstance(value, dict):
        raise UserError(f"{where}: a row must be a JSON object, not {type(value).__name__}")
    kind: Any = cls  # the cache takes it by its hash, which a type has
    known, required = _keys(kind)
    if not (value.keys() <= known and required <= value.keys()):
        unknown, missing = sorted(value.keys() - known), sorted(required - value.keys())
        problem = f"unknown key {unknown[0]!r}" if unknown else f"key {missing[0]!r} is missing"
        listed = ", ".join(field.name for field in dataclasses.fields(cls))
        raise UserError(f"{where}: {problem}; a {cls.__name__} row has {listed}")
    for name in known & STRINGS:
        if not isinstance(value.get(name, ""), str):
            raise UserError(f"{where}: {name!r} must be a string, not {value[name]!r}")
    for name in NUMBERS:
        if type(value.get(name, 0)) is not int or value.get(name, 0) < 0:
            raise UserError(f"{where}: {name!r} must be a number from 0, not {value[name]!r}")
    if (box := value.get("box")) is not None and not _is_box(box):
        raise UserError(f"{where}: 'box' must be [x0, y0, x1, y1] in pixels, not {box!r}")
    values = dict(value)
    for name in LISTS:
        if (items := values.get(name)) is not None:
            if not isinstance(items, list) or (name != "box" and not all_text(items)):
                raise UserError(f"{where}: {name!r} must be a list of texts, not {items!r}")
            values[name] = tuple(items)
    for name in SHARED:
        if isinstance(text := values.get(name), str):
            values[name] = sys.intern(text)
    return cls(**values)


STRINGS = frozenset(
    ("id", "text", "image", "document", "corpus", "subset", "language", "split", "role", "license",
     "granularity", "task", "image_sha256")
)  # fmt: skip
NUMBERS = ("width", "height", "max_pixels", "frame")
LISTS = ("tags", "answers", "box")
# Equal over many rows: kept in memory once, which halves a manifest of a million rows.
SHARED = ("document", "corpus", "subset", "image", "language", "split", "role", "granularity",
          "task", "license")  # fmt: skip


def all_text(values: Iterable[Any]) -> bool:
    """Say whether all values are strings."""
    return all(isinstance(value, str) for value in values)


def _is_box(value: Any) -> bool:
    numbers = isinstance(value, list | tuple) and len(value) == 4
    return numbers and all(type(v) in (int, float) and math.isfinite(v) for v in value)


@cache
def _keys(cls: Any) -> tuple[frozenset[str], frozenset[str]]:
    """Return the keys that a row of a class may have, and those that it must have."""
    fields = dataclasses.fields(cls)
    required = (field.name for field in fields if field.default is dataclasses.MISSING)
    return frozenset(field.name for field in fields), frozenset(required)


def read_rows(cls: type[Row], path: Path | str) -> Iterator[Row]:
    """Stream the rows of a JSON Lines file; blank lines are skipped.

    Raises:
        UserError: missing file, wrong encoding or a broken row; names file and line.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="\n") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    where = f"{path}:{number}"
                    value = parse_json(line, where)
                    if "\\ud" in line or "\\uD" in line:
                        _check_unicode(value, where)
                    yield from_mapping(cls, value, where)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file; run the stage that writes it first") from error
    except IsADirectoryError as error:
        raise UserError(f"{path}: a folder, not a file of rows; name the file") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 ({error.reason}); save the file as UTF-8") from error


def parse_json(text: str, where: str, number: Callable[[str], float] | None = None) -> Any:
    """Return the JSON of a row; `number` makes its numbers with a point, as json.loads takes it.

    Raises:
        UserError: not JSON, nested too deep, or a whole number of thousands of digits.
    """
    try:
        return json.loads(text, parse_float=number)
    except json.JSONDecodeError as error:
        raise UserError(f"{where}: not valid JSON ({error.msg}); fix or remove the row") from error
    except (RecursionError, ValueError) as error:
        raise UserError(
            f"{where}: JSON nested too deep, or a number without end; fix or remove the row"
        ) from error


def _check_unicode(value: Any, where: str) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise UserError(
            f"{where}: half of a surrogate pair, which is no character; "
            "write the whole pair, or U+FFFD for it"
        ) from error


def read_samples(path: Path | str) -> Iterator[Sample]:
    """Stream the samples of a manifest (see `read_rows`)."""
    return read_rows(Sample, path)


def read_predictions(path: Path | str) -> Iterator[Prediction]:
    """Stream the predictions of a file (see `read_rows`)."""
    return read_rows(Prediction, path)


def write_rows(path: Path | str, rows: Iterable[Sample | Prediction | Rejection]) -> int:
    """Write rows atomically, in the order given; return how many."""
    count = 0
    with atomic_write(path) as file:
        for row in rows:
            file.write(to_json(row) + "\n")
            count += 1
    return count


SHARD = "shard-{:05d}.jsonl"


def write_lines(path: Path, lines: Iterable[bytes], total: int, shard_rows: int) -> None:
    """Write JSON lines to the file `path`, or to shards in a folder of that name.

    The name is the same either way, so that the pipeline's declared outputs never change.
    """
    if total <= shard_rows:
        _write(path, lines)
        return
    path.mkdir(parents=True)
    stream = iter(lines)
    for number in range(-(-total // shard_rows)):
        _write(path / SHARD.format(number), islice(stream, shard_rows))


def _write(path: Path, lines: Iterable[bytes]) -> None:
    with open(path, "wb") as file:
        file.writelines(lines)


def manifest_files(path: Path | str) -> list[Path]:
    """Return the files of a manifest: itself, or its shards in order.

    Raises:
        UserError: nothing there.
    """
    path = Path(path)
    if path.is_dir():
        shards = sorted(path.glob("shard-*.jsonl"))
        if not shards:
            raise UserError(f"{path}: a folder without shards; run the manifest stage again")
        return shards
    if not path.is_file():
        raise UserError(f"{path}: no such file; run the manifest stage first")
    return [path]


def iter_manifest(path: Path | str) -> Iterator[Sample]:
    """Stream the samples of a manifest, sharded or not, in order."""
    for file in manifest_files(path):
        yield from read_samples(file)


def manifest_sha256(path: Path | str) -> str:
    """Return the SHA-256 of a manifest's file, or of its shards' hashes in order.

    Raises:
        UserError: nothing there.
    """
    hashes = [sha256_file(file) for file in manifest_files(path)]
    return sha256_json(hashes) if Path(path).is_dir() else hashes[0]


UNDETERMINED = "und"

_SPELLINGS = {
    "zh": "zh cn chi zho chs chinese simplified_chinese chinese_simplified zh_cn zh_hans "
    "zh_hans_cn mandarin ch_sim chi_sim text_simplified_chinese",
    "zh-Hant": "zh_hant zh_tw zh_hk cht chinese_cht traditional_chinese chinese_traditional "
    "ch_tra chi_tra text_traditional_chinese",
    "en": "en eng english en_us en_gb text_english",
    "mul": "mul mixed multilingual en_ch_mixed en_zh_mixed text_en_ch_mixed",
    "ja": "ja jp jpn japanese ja_jp",
    "ko": "ko kor korean ko_kr",
    "de": "de ger deu german de_de",
    "fr": "fr fre fra french fr_fr",
    "es": "es spa spanish es_es",
    "it": "it ita italian it_it",
    "pt": "pt por portuguese pt_pt pt_br",
    "nl": "nl dut nld dutch",
    "ru": "ru rus russian",
    "uk": "uk ukr ukrainian",
    "pl": "pl pol polish",
    "cs": "cs cze ces czech",
    "tr": "tr tur turkish",
    "ar": "ar ara arabic",
    "hi": "hi hin hindi",
    "vi": "vi vie vietnamese",
    "la": "la lat latin",
    UNDETERMINED: "und unknown other none",
}
_TAGS = {spelling: tag for tag, names in _SPELLINGS.items() for spelling in names.split()}
_WELL_FORMED = re.compile(r"[a-z]{2,3}(-[a-z]{4})?(-([a-z]{2}|\d{3}))?", re.IGNORECASE)


@lru_cache(maxsize=1024)  # asked for every row
def language_tag(name: str) -> str:
    """Return the BCP-47 tag for a language name or code in any common spelling.

    Known names map to their shortest tag (`cn`, `Chinese`, `simplified_chinese` -> `zh`);
    any other well-formed tag is kept (`pt-AO`); an empty name is `und`.

    Raises:
        UserError: neither a known name nor a well-formed tag.
    """
    key = re.sub(r"[\s\-]+", "_", name.strip().lower())
    if not key:
        return UNDETERMINED
    if key in _TAGS:
        return _TAGS[key]
    tag = name.strip().replace("_", "-")
    if not _WELL_FORMED.fullmatch(tag):
        raise UserError(f"language {name!r}: not a known name or BCP-47 tag such as en, zh, pt-BR")
    parts = tag.split("-")
    return "-".join([parts[0].lower(), *(_part_case(part) for part in parts[1:])])


def check_language(name: str) -> str:
    """Return a name that `language_tag` knows, else ValueError."""
    try:
        language_tag(name)
    except UserError as error:
        raise ValueError(str(error)) from error
    return name


def _part_case(part: str) -> str:
    return part.title() if len(part) == 4 else part.upper()
