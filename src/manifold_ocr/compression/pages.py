"""The text unit of compression, the page: lines of one page joined by newlines."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from manifold_ocr.records import Prediction, Sample

TRANSCRIBE = "transcribe"


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One page: its reference text and what a system read on it.

    `vision_tokens` is the sum over the page's rows, or None where a row has none.
    """

    id: str
    document: str
    image: str
    corpus: str
    subset: str
    language: str
    rows: int
    reference: str
    reading: str
    vision_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Pages:
    """Pages in a stable order, and counts of what was left out or not answered."""

    pages: list[Page]
    other_task: int = 0
    covered_by_page_row: int = 0
    unread: int = 0


def gather(samples: Iterable[Sample], predictions: Iterable[Prediction] | None) -> Pages:
    """Group the transcription rows of a manifest into pages.

    Lines with a box belong to the page image they lie on, line images to their document.
    A row that holds the whole page stands for it and its lines are left out, unless the
    system read lines only: then they stand for the page. Without `predictions` the reading
    is the reference. A row that no prediction answers was read as nothing: it is counted
    and its text is missing from the reading.
    """
    read = None if predictions is None else {row.id: row for row in predictions}
    groups: dict[tuple[str, str, str], list[Sample]] = {}
    other = covered = unread = 0
    for sample in samples:
        if sample.task != TRANSCRIBE:
            other += 1
            continue
        whole = sample.granularity == "page"
        place = sample.image if sample.box is not None or whole else ""  # a line image: ""
        groups.setdefault((sample.corpus, sample.document, place), []).append(sample)
    pages = []
    for rows in groups.values():
        used = _used(rows, read)
        covered += len(rows) - len(used)
        if read is not None:
            unread += sum(row.id not in read for row in used)
        pages.append(_page(used, read))
    return Pages(sorted(pages, key=lambda p: (p.corpus, p.id)), other, covered, unread)


def reading_order(rows: list[Sample]) -> list[Sample]:
    """Sort lines top to bottom, and left to right where they overlap by half their height.

    Rows without a box keep the natural order of their ids.
    """
    unboxed = sorted((row for row in rows if row.box is None), key=lambda row: natural(row.id))
    boxed = [(row.box, row) for row in rows if row.box is not None]
    boxed.sort(key=lambda item: (item[0][1] + item[0][3], item[0][0], natural(item[1].id)))
    ordered: list[Sample] = []
    band: list[tuple[tuple[float, float, float, float], Sample]] = []
    for box, row in boxed:
        if band and (box[1] + box[3]) / 2 > (band[0][0][1] + band[0][0][3] * 3) / 4:
            ordered += [item[1] for item in sorted(band, key=lambda item: item[0][0])]
            band = []
        band.append((box, row))
    ordered += [item[1] for item in sorted(band, key=lambda item: item[0][0])]
    return ordered + unboxed


def natural(name: str) -> list[tuple[int, int, str]]:
    """Return a sort key that puts `line10` after `line9`."""
    return [
        (1, int(part), "") if part.isdigit() else (0, 0, part)
        for part in re.split(r"([0-9]+)", name)
    ]


def _used(rows: list[Sample], read: Mapping[str, Prediction] | None) -> list[Sample]:
    whole = [row for row in rows if row.granularity == "page" and row.box is None]
    lines = [row for row in rows if row.granularity != "page" or row.box is not None]
    answered = read is None or all(row.id in read for row in whole)
    return whole if whole and (answered or not lines) else reading_order(lines)


def _page(rows: list[Sample], read: Mapping[str, Prediction] | None) -> Page:
    first = rows[0]
    answers = [None if read is None else read.get(row.id) for row in rows]
    tokens = [answer.vision_tokens if answer else None for answer in answers]
    texts = [
        row.text if read is None else answer.text if answer else ""
        for row, answer in zip(rows, answers, strict=True)
    ]
    line_image = first.box is None and first.granularity != "page"
    place = "" if line_image else f"#{first.image}"
    known = [count for count in tokens if count is not None]
    return Page(
        id=first.document + place,
        document=first.document,
        image=first.image,
        corpus=first.corpus,
        subset=first.subset,
        language=first.language,
        rows=len(rows),
        reference="\n".join(row.text for row in rows),
        reading="\n".join(texts),
        vision_tokens=sum(known) if len(known) == len(rows) else None,
    )
