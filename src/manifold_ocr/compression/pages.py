"""The text unit of compression, the page: lines of one page joined by newlines."""

import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from manifold_ocr.errors import UserError
from manifold_ocr.reading.engines.rows import compared_name, read_candidates
from manifold_ocr.records import Prediction, Sample, iter_manifest

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
        image = f"{sample.image}@{sample.frame}" if sample.frame else sample.image
        place = image if sample.box is not None or whole else ""  # a line image: ""
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


SUFFIXES = (".txt", ".md", ".mmd", ".html", ".json", ".csv")


def read_texts(source: Path) -> Iterator[tuple[str, bytes]]:
    """Yield (id, UTF-8 bytes) of each text below a folder, or of each page of a manifest.jsonl.

    A folder's documents are its files with a text suffix, named by relative path, sorted; a
    folder of manifest shards is a manifest.

    Raises:
        UserError: no such path, no text in it, or a file that is not UTF-8.
    """
    if source.is_file() or (source.is_dir() and any(source.glob("shard-*.jsonl"))):
        for page in gather(iter_manifest(source), None).pages:
            yield page.id, page.reference.encode("utf-8")
        return
    if not source.is_dir():
        raise UserError(f"{source}: no such folder or manifest")
    files = sorted(p for p in source.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    if not files:
        raise UserError(f"{source}: no text file ({', '.join(SUFFIXES)}) in it")
    for path in files:
        yield path.relative_to(source).as_posix(), read_text_file(path)


def read_text_file(path: Path) -> bytes:
    """Return the bytes of a UTF-8 text file.

    Raises:
        UserError: missing, unreadable or not UTF-8; names the file.
    """
    try:
        data = path.read_bytes()
        data.decode("utf-8")
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file") from error
    except OSError as error:
        raise UserError(f"{path}: could not be read ({error.strerror or error})") from error
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}: not UTF-8 (byte {error.start}); save the file as UTF-8"
        ) from error
    return data


def read_replay(
    path: Path, vision_tokens: int | None = None, text_key: str | None = None
) -> tuple[list[Prediction], int]:
    """Return the predictions of a file of any program, and how many rows a later one replaced.

    `vision_tokens` fills in for rows that carry none; see `read_candidates` for the rules.

    Raises:
        UserError: missing file, not UTF-8, a broken row, or one without id or text.
    """
    rows: dict[str, Prediction] = {}
    repeated = 0
    for row in read_candidates(path, text_key):
        repeated += row.keys[0] in rows
        tokens = vision_tokens if row.vision_tokens is None else row.vision_tokens
        rows[row.keys[0]] = Prediction(id=row.keys[0], text=row.text, vision_tokens=tokens)
    return list(rows.values()), repeated


def gather_system(name: str, samples: Sequence[Sample], rows: Iterable[Prediction]) -> Pages:
    """Return the pages as a system read them, whether it answered lines or whole pages.

    Pages are found by page id, document, or image path compared from its end, with or
    without suffix.

    Raises:
        UserError: no prediction names a row or a page of the manifest, or one id twice.
    """
    answers: dict[str, Prediction] = {}
    ours = {compared_name(sample.id): sample.id for sample in samples}
    for row in rows:
        own = ours.get(compared_name(row.id), row.id)
        if own in answers:
            raise UserError(f"the predictions of {name} answer {row.id!r} twice; remove one")
        answers[own] = dataclasses.replace(row, id=own)
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
