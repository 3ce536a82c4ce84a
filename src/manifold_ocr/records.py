"""The rows that stages exchange: one JSON object a line, UTF-8, stable key order."""

import dataclasses
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from manifold_ocr.errors import UserError
from manifold_ocr.files import atomic_write

Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One row of a manifest: a line or a page image with its target text.

    `image` is a path relative to the image root (data/raw for the pipeline's own
    manifests). `box` is [x0, y0, x1, y1] in pixels of that image, or None for all of it.
    `language` is BCP-47. `question` and `answers` serve question and probe tasks only.
    `width` and `height` are those of the image file; `max_pixels` (0: no limit) is the
    budget to which a reader scales the image before it crops.
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


def to_json(row: Sample | Prediction | Rejection) -> str:
    """Return one line of JSON with the keys in the order of the fields, no line end."""
    fields = {field.name: getattr(row, field.name) for field in dataclasses.fields(row)}
    return json.dumps(fields, ensure_ascii=False, allow_nan=False)


def from_mapping(cls: type[Row], value: Any, where: str) -> Row:
    """Build a row from parsed JSON.

    Raises:
        UserError: not an object, a key missing or unknown, or of the wrong type; `where`
            (file and line) opens the message.
    """
    if not isinstance(value, dict):
        raise UserError(f"{where}: a row must be a JSON object, not {type(value).__name__}")
    fields = {field.name: field for field in dataclasses.fields(cls)}
    unknown = sorted(set(value) - set(fields))
    missing = sorted(
        name
        for name, field in fields.items()
        if field.default is dataclasses.MISSING and name not in value
    )
    if unknown or missing:
        problem = f"unknown key {unknown[0]!r}" if unknown else f"key {missing[0]!r} is missing"
        raise UserError(f"{where}: {problem}; a {cls.__name__} row has {', '.join(fields)}")
    for name in ("id", "text", "image", "document"):
        if name in fields and not isinstance(value[name], str):
            raise UserError(f"{where}: {name!r} must be a string, not {value[name]!r}")
    lists = {k: tuple(value[k]) for k in ("tags", "answers", "box") if value.get(k) is not None}
    return cls(**{**value, **lists})


def read_rows(cls: type[Row], path: Path | str) -> Iterator[Row]:
    """Stream the rows of a JSON Lines file; blank lines are skipped.

    Raises:
        UserError: missing file, wrong encoding or a broken row; names file and line.
    """
    try:
        with open(path, encoding="utf-8", newline="\n") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield from_mapping(cls, _parse(line, f"{path}:{number}"), f"{path}:{number}")
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file; run the stage that writes it first") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 ({error.reason}); save the file as UTF-8") from error


def _parse(line: str, where: str) -> Any:
    try:
        return json.loads(line)
    except json.JSONDecodeError as error:
        raise UserError(f"{where}: not valid JSON ({error.msg}); mend or remove the row") from error


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
