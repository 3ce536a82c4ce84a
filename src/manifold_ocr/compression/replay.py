"""Predictions of any system, by line or by page, against the pages of a manifest."""

import dataclasses
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from manifold_ocr.compression.pages import Page, Pages, gather
from manifold_ocr.errors import UserError
from manifold_ocr.records import Prediction, Sample

ID_KEYS = ("id", "image_path", "image", "source_path", "doc_id", "document")
TEXT_KEYS = ("text", "prediction", "answer", "output", "markdown")
TOKEN_KEYS = ("vision_tokens", "image_tokens")


def read_replay(path: Path | str, vision_tokens: int | None = None) -> Iterator[Prediction]:
    """Stream the predictions of a JSON Lines file of this program or of another.

    The id may stand under any of `ID_KEYS` (`doc_id` is joined with `page_id` where there is
    one), the text under any of `TEXT_KEYS`. `vision_tokens` fills in for rows that carry none.

    Raises:
        UserError: missing file, not UTF-8, a broken row, or one without id or text.
    """
    try:
        with open(path, encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield _prediction(line, f"{path}:{number}", vision_tokens)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 ({error.reason}); save the file as UTF-8") from error


def _prediction(line: str, where: str, vision_tokens: int | None) -> Prediction:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise UserError(f"{where}: not valid JSON ({error.msg}); mend or remove the row") from error
    if not isinstance(row, dict):
        raise UserError(f"{where}: a row must be a JSON object")
    name, text = _first(row, ID_KEYS), _first(row, TEXT_KEYS)
    if name == row.get("doc_id") and row.get("page_id"):
        name = f"{name}/{row['page_id']}"
    if not isinstance(name, str) or not isinstance(text, str):
        raise UserError(
            f"{where}: needs an id ({', '.join(ID_KEYS)}) and a text ({', '.join(TEXT_KEYS)}), "
            "both strings"
        )
    tokens = _first(row, TOKEN_KEYS)
    if tokens is not None and (type(tokens) is not int or tokens < 0):
        raise UserError(f"{where}: vision tokens must be a whole number, not {tokens!r}")
    return Prediction(id=name, text=text, vision_tokens=vision_tokens if tokens is None else tokens)


def _first(row: dict[str, Any], keys: Sequence[str]) -> Any:
    return next((row[key] for key in keys if row.get(key) is not None), None)


def gather_system(name: str, samples: Sequence[Sample], rows: Iterable[Prediction]) -> Pages:
    """Return the pages as a system read them, whether it answered lines or whole pages.

    Pages are found by page id, document, or image path compared from its end, with or
    without suffix.

    Raises:
        UserError: no prediction names a row or a page of the manifest, or one id twice.
    """
    answers: dict[str, Prediction] = {}
    for row in rows:
        if row.id in answers:
            raise UserError(f"the predictions of {name} answer {row.id!r} twice; remove one")
        answers[row.id] = row
    if any(sample.id in answers for sample in samples):
        return gather(samples, answers.values())
    references = gather(samples, None)
    by_tail = _by_tail(answers)
    found = [_answer(page, answers, by_tail) for page in references.pages]
    if not any(found):
        raise UserError(
            f"the predictions of {name} name no row and no page of the manifest; "
            "were they made from another manifest?"
        )
    pages = [
        dataclasses.replace(
            page,
            reading=answer.text if answer else "",
            vision_tokens=answer.vision_tokens if answer else None,
        )
        for page, answer in zip(references.pages, found, strict=True)
    ]
    missing = sum(answer is None for answer in found)
    return dataclasses.replace(references, pages=pages, unread=missing)


def _by_tail(answers: dict[str, Prediction]) -> dict[str, list[Prediction]]:
    """Map file names without folder and suffix to the answers whose id ends so."""
    found: dict[str, list[Prediction]] = {}
    for name, answer in answers.items():
        found.setdefault(PurePosixPath(name).stem, []).append(answer)
    return found


def _answer(
    page: Page, answers: dict[str, Prediction], by_tail: dict[str, list[Prediction]]
) -> Prediction | None:
    """Return the answer to a page; None where none or more than one fits."""
    for key in (page.id, page.document, page.image):
        if key and key in answers:
            return answers[key]
    image = PurePosixPath(page.image)
    wanted = [*image.parts[:-1], image.stem]
    fitting = []
    for answer in by_tail.get(image.stem, []):
        name = PurePosixPath(answer.id)
        parts = [*name.parts[:-1], name.stem]
        size = min(len(parts), len(wanted))
        if parts[-size:] == wanted[-size:]:
            fitting.append(answer)
    return fitting[0] if len(fitting) == 1 else None
