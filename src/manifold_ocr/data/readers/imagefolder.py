"""Folders as the `datasets` library loads them: metadata.jsonl or .csv that names the images.

Donut's `ground_truth` column is JSON: `gt_parse` is a target of task `json` (or the text itself,
where it is a `text_sequence`), `gt_parses` are questions with their answers.
"""

import csv
import io
import json
import re
from collections.abc import Iterator
from typing import Any

from manifold_ocr.data.formats import EncodingError, read_text
from manifold_ocr.data.readers.pairs import FolderView, ImageFinder
from manifold_ocr.errors import UserError
from manifold_ocr.records import RawRow, Rejection, language_tag

NAMES = ("metadata.jsonl", "metadata.csv")
TEXT_COLUMNS = ("text", "transcription", "ground_truth", "label", "caption")
QUESTION = "Return the document's fields as JSON."


def rows(view: FolderView) -> Iterator[RawRow | Rejection]:
    """Stream the rows of every metadata file; file names are relative to its folder.

    The text is the first of `TEXT_COLUMNS` that a row has; `language` is read too.
    """
    names = list(view.files())
    finder = ImageFinder(names)
    labeled: set[str] = set()
    for name in (n for n in names if n.rsplit("/", 1)[-1] in NAMES):
        for place, (number, value) in enumerate(_read(view, name)):
            where = f"{name}:{number}" if number else name
            image, problem = "", ""
            if isinstance(value, dict) and isinstance(value.get("file_name"), str):
                image, problem = finder.find(value["file_name"], name)
                labeled.add(image)
            if place % view.parts != view.part:
                continue
            if isinstance(value, Rejection):
                yield value
            elif problem:
                yield view.reject(where, "missing_image", problem)
            else:
                yield from _rows(view, image, value, where)
    yield from view.unlabeled(finder.images, labeled, "no metadata file names it")


def _read(view: FolderView, name: str) -> Iterator[tuple[int, Any]]:
    """Yield (line number, row or Rejection) of a metadata file."""
    try:
        text = read_text(view.root / name)
    except EncodingError as problem:
        yield 0, view.reject(name, "wrong_encoding", str(problem))
        return
    if name.endswith(".csv"):
        yield from _read_csv(view, name, text)
        return
    if text.lstrip().startswith("["):
        yield 0, view.reject(name, "broken_row", "a JSON array; write one object per line")
        return
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            yield number, json.loads(line)
        except (ValueError, RecursionError) as error:
            yield number, view.reject(f"{name}:{number}", "broken_row", f"not JSON: {error}")


def _read_csv(view: FolderView, name: str, text: str) -> Iterator[tuple[int, Any]]:
    reader = csv.DictReader(io.StringIO(text), strict=True)
    try:
        columns = list(reader.fieldnames or ())
        if len(columns) == 1 and (found := re.search("[;\t]", columns[0])):
            detail = f"its columns are separated by {found[0]!r}, not by commas"
            yield 1, view.reject(f"{name}:1", "broken_row", detail)
            return
        for row in reader:
            yield reader.line_num, row
    except csv.Error as error:
        where = f"{name}:{reader.line_num}"
        yield reader.line_num, view.reject(where, "broken_row", f"not CSV: {error}")


def _rows(view: FolderView, image: str, value: Any, where: str) -> Iterator[RawRow | Rejection]:
    column = next((c for c in TEXT_COLUMNS if isinstance(value, dict) and c in value), "")
    if not image or not column:
        wanted = "file_name and one of " + ", ".join(TEXT_COLUMNS)
        yield view.reject(where, "broken_row", f"a row needs {wanted}")
        return
    text = value[column]
    if column == "ground_truth" and isinstance(text, str) and "gt_parse" in text:
        yield from _donut_rows(view, image, text, where)
        return
    if not isinstance(text, str):
        yield view.reject(where, "broken_row", f"{column} must be a string")
        return
    more = {}
    try:
        if value.get("language"):
            more["language"] = language_tag(str(value["language"]))
    except UserError as error:
        yield view.reject(where, "broken_row", str(error))
        return
    yield view.row(image, text, where, **more)


def _donut_rows(
    view: FolderView, image: str, text: str, where: str
) -> Iterator[RawRow | Rejection]:
    try:
        truth = json.loads(text)
        several = truth.get("gt_parses") or [truth["gt_parse"]]
        if not isinstance(several, list):
            raise ValueError("gt_parses is no list")
    except (ValueError, RecursionError, KeyError, AttributeError) as error:
        yield view.reject(where, "broken_row", f"ground_truth is no JSON with gt_parse: {error}")
        return
    questions: dict[str, list[str]] = {}
    for parsed in several:
        if isinstance(parsed, dict) and {"question", "answer"} <= set(parsed):
            questions.setdefault(str(parsed["question"]), []).append(str(parsed["answer"]))
        elif isinstance(parsed, dict) and isinstance(parsed.get("text_sequence"), str):
            yield view.row(image, parsed["text_sequence"], where)
        else:
            target = json.dumps(parsed, ensure_ascii=False)
            yield view.row(image, target, where, granularity="page", task="json", question=QUESTION)
    for question, answers in questions.items():
        shared: dict[str, Any] = {"granularity": "page", "task": "qa", "question": question}
        yield view.row(image, answers[0], where, answers=tuple(answers), **shared)
