"""The `datasets` imagefolder layout: metadata.jsonl (or .csv) with a `file_name` a row."""

import csv
import io
import json
from collections.abc import Iterator
from typing import Any

from manifold_ocr.corpora.base import RawRow
from manifold_ocr.corpora.languages import language_tag
from manifold_ocr.corpora.pairs import FolderView
from manifold_ocr.corpora.text_files import EncodingError, read_text
from manifold_ocr.errors import UserError
from manifold_ocr.records import Rejection

NAMES = ("metadata.jsonl", "metadata.csv")
TEXT_COLUMNS = ("text", "transcription", "ground_truth", "label", "caption")


def rows(view: FolderView) -> Iterator[RawRow | Rejection]:
    """Stream the rows of every metadata file; file names are relative to its folder.

    The text is the first of `TEXT_COLUMNS` that a row has; `language` is read too.
    """
    listed = [name for name in view.files() if name.rsplit("/", 1)[-1] in NAMES]
    for name in listed:
        folder = name.rpartition("/")[0]
        for number, value in list(_read(view, name))[view.part :: view.parts]:
            where = f"{name}:{number}"
            if isinstance(value, Rejection):
                yield value
                continue
            yield _row(view, folder, value, where)


def _read(view: FolderView, name: str) -> Iterator[tuple[int, Any]]:
    try:
        text = read_text(view.root / name)
    except EncodingError as problem:
        yield 0, view.reject(name, "wrong_encoding", str(problem))
        return
    if name.endswith(".csv"):
        yield from enumerate(csv.DictReader(io.StringIO(text)), 2)
        return
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            yield number, json.loads(line)
        except json.JSONDecodeError as error:
            yield number, view.reject(f"{name}:{number}", "broken_row", f"not JSON: {error}")


def _row(view: FolderView, folder: str, value: Any, where: str) -> RawRow | Rejection:
    name = value.get("file_name") if isinstance(value, dict) else None
    column = next((c for c in TEXT_COLUMNS if isinstance(value, dict) and c in value), "")
    if not isinstance(name, str) or not column:
        wanted = "file_name and one of " + ", ".join(TEXT_COLUMNS)
        return view.reject(where, "broken_row", f"a row needs {wanted}")
    if not isinstance(value[column], str):
        return view.reject(where, "broken_row", f"{column} must be a string")
    more = {}
    try:
        if value.get("language"):
            more["language"] = language_tag(str(value["language"]))
    except UserError as error:
        return view.reject(where, "broken_row", str(error))
    return view.row(f"{folder}/{name}" if folder else name, value[column], where, **more)
