"""Import what other systems read: prediction files joined to a manifest's rows.

Four forms, told apart by looking: a folder of Markdown files named after the images (as
OmniDocBench takes them), a folder of PAGE-XML, ALTO or hOCR files, JSON Lines of DeepSeek-OCR runs
(`doc_id`, `image_path`, `prediction`, or `doc_id`, `page_id`, `text`), and plain JSON Lines (`id`
or an image path, and a text). A manifest row without a prediction scores as an empty text;
predictions that fit no row are counted, never guessed at.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from manifold_ocr.errors import UserError
from manifold_ocr.reading.engines.layout_files import layout_files, page_texts
from manifold_ocr.records import Prediction, Sample

TEXT_KEYS = ("prediction", "text", "pred", "output", "answer")
IMAGE_KEYS = ("image_path", "image", "img_path", "image_name", "file_name", "source_path")
TOKEN_KEYS = ("vision_tokens", "image_tokens")
CONFIDENCE_KEYS = ("confidence", "score")


@dataclass(frozen=True, slots=True)
class Candidate:
    """One foreign row: the keys that may name its sample (best first), its text, its place."""

    keys: tuple[str, ...]
    text: str
    confidence: float | None
    vision_tokens: int | None
    where: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """Predictions by the id of their sample, and what happened to each row.

    `unmatched`: rows that name no sample; `ambiguous`: rows that name several (a page's text
    for line samples); `repeated`: rows that replaced an earlier row of the same sample (the
    last one counts). `examples` are the first rows that were not joined.
    """

    found: Mapping[str, Prediction]
    rows: int
    unmatched: int
    ambiguous: int
    repeated: int
    examples: tuple[str, ...]

    @property
    def matched(self) -> int:
        """Samples that got a prediction."""
        return len(self.found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """Predictions in the order of the manifest, one a sample (see `Joined` for the counts).

    `missing`: samples without a prediction (their text is empty).
    """

    predictions: tuple[Prediction, ...]
    missing: int
    joined: Joined

    def counts(self) -> dict[str, int]:
        """Return the counts as plain values."""
        names = ("rows", "matched", "unmatched", "ambiguous", "repeated")
        counts = {name: getattr(self.joined, name) for name in names}
        return {**counts, "missing": self.missing}


def import_predictions(path: Path, samples: Sequence[Sample]) -> Imported:
    """Join the predictions of a JSON Lines file or a Markdown folder to `samples`.

    Raises:
        UserError: nothing at `path`, a row that cannot be understood (file and line are
            named), or not a single row that fits.
    """
    joined = join_predictions(path, samples)
    found = joined.found
    if not found:
        raise UserError(
            f"{path}: none of its {joined.rows} rows names a row of the manifest "
            f"(first: {joined.examples[0] if joined.examples else 'the file is empty'}); "
            "image paths are compared from their end, ids exactly"
        )
    return Imported(
        predictions=tuple(found.get(s.id, Prediction(id=s.id, text="")) for s in samples),
        missing=len(samples) - len(found),
        joined=joined,
    )


def join_predictions(path: Path, samples: Sequence[Sample]) -> Joined:
    """Join as `import_predictions` does; a file that fits nothing is no error here.

    Raises:
        UserError: nothing at `path`, or a row that cannot be understood.
    """
    index = SampleIndex(samples)
    found: dict[str, Prediction] = {}
    rows = unmatched = ambiguous = repeated = 0
    examples: list[str] = []
    for candidate in read_candidates(path):
        rows += 1
        matches = index.find(candidate.keys)
        if len(matches) != 1:
            unmatched += not matches
            ambiguous += len(matches) > 1
            if len(examples) < 5:
                examples.append(f"{candidate.where}: {candidate.keys[0]!r}")
            continue
        repeated += matches[0] in found
        found[matches[0]] = _prediction(matches[0], candidate)
    return Joined(
        found=found,
        rows=rows,
        unmatched=unmatched,
        ambiguous=ambiguous,
        repeated=repeated,
        examples=tuple(examples),
    )


def _prediction(sample: str, candidate: Candidate) -> Prediction:
    return Prediction(
        id=sample,
        text=candidate.text,
        confidence=candidate.confidence,
        vision_tokens=candidate.vision_tokens,
    )


class SampleIndex:
    """Samples by id, by document, and by every ending of their image's path."""

    def __init__(self, samples: Iterable[Sample]) -> None:
        """Index `samples`; a key that fits several keeps them all."""
        self._ids: set[str] = set()
        self._whole: set[str] = set()
        self._by_key: dict[str, list[str]] = {}
        for sample in samples:
            self._ids.add(sample.id)
            if sample.box is None:
                self._whole.add(sample.id)
            for key in {*_endings(sample.image), sample.document}:
                self._by_key.setdefault(key, []).append(sample.id)

    def find(self, keys: Iterable[str]) -> list[str]:
        """Return the ids of the first key that fits exactly one sample, else the most exact.

        An id is exact. A path that several samples share means the one that is the whole
        image, where there is one: a text by path is the text of the page, not of a line.
        """
        several: list[str] = []
        for key in keys:
            if key in self._ids:
                return [key]
            matches = self._by_key.get(key, [])
            whole = [match for match in matches if match in self._whole]
            if len(matches) == 1 or len(whole) == 1:
                return whole or matches
            several = several or matches
        return several


def _endings(image: str) -> Iterator[str]:
    """Yield `c/b/a.png`, `b/a.png`, `a.png`, and the same without the suffix, longest first."""
    parts = PurePosixPath(image.replace("\\", "/")).parts
    for start in range(len(parts)):
        path = PurePosixPath(*parts[start:])
        yield path.as_posix()
        yield path.with_suffix("").as_posix()


def read_candidates(path: Path) -> Iterator[Candidate]:
    """Stream the rows of a prediction file or Markdown folder."""
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
        with open(path, encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield _json_row(line, f"{path}:{number}")
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file or folder") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 ({error.reason}); save the file as UTF-8") from error


def _layout(file: Path, root: Path) -> Iterator[Candidate]:
    """Yield the pages of a layout file: named by their image, else by the file and number."""
    name = file.relative_to(root).with_suffix("").as_posix()
    pages = list(page_texts(file))
    images = [image for image, _ in pages]
    for number, (image, text) in enumerate(pages, 1):
        keys = _endings(image) if image and images.count(image) == 1 else ()
        own = (name, *_endings(name)) if len(pages) == 1 else ()
        numbered = (f"{name}{mark}{number}" for mark in ("#", "-", "_")) if not own else ()
        yield Candidate((*keys, *own, *numbered), text, None, None, f"{file}#{number}")


def _markdown(file: Path, root: Path) -> Candidate:
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: not UTF-8 ({error.reason}); save the file as UTF-8") from error
    name = file.relative_to(root).with_suffix("").as_posix()
    return Candidate((name, *_endings(name)), text, None, None, str(file))


def _json_row(line: str, where: str) -> Candidate:
    try:
        value = json.loads(line)
    except json.JSONDecodeError as error:
        raise UserError(f"{where}: not valid JSON ({error.msg}); mend or remove the row") from error
    if not isinstance(value, dict):
        raise UserError(f"{where}: a row must be a JSON object")
    text = next((value[key] for key in TEXT_KEYS if value.get(key) is not None), None)
    if not isinstance(text, str):
        raise UserError(f"{where}: no text; one of {', '.join(TEXT_KEYS)} must be a string")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise UserError(
            f"{where}: the text holds half of a surrogate pair, which is no character; "
            "write the whole pair, or U+FFFD for it"
        )
    keys = _keys(value)
    if not keys:
        raise UserError(f"{where}: nothing names the image; give id, image_path or doc_id")
    tokens = next((value[k] for k in TOKEN_KEYS if value.get(k) is not None), None)
    if tokens is not None and (type(tokens) is not int or tokens < 0):
        raise UserError(f"{where}: vision tokens must be a whole number, not {tokens!r}")
    confidence = next((value[k] for k in CONFIDENCE_KEYS if value.get(k) is not None), None)
    return Candidate(
        tuple(keys),
        text,
        float(confidence) if isinstance(confidence, (int, float)) else None,
        tokens,
        where,
    )


def _keys(value: Mapping[str, Any]) -> list[str]:
    keys = [str(value["id"])] if value.get("id") is not None else []
    for name in IMAGE_KEYS:
        if isinstance(value.get(name), str):
            keys += _endings(value[name])
    document, page = value.get("doc_id"), value.get("page_id")
    if document is not None and page is not None:
        joined = [f"{document}{mark}{page}" for mark in ("/", "_", "-", "#", ":")]
        keys += joined if str(page).isdigit() else [*joined, *_endings(str(page))]
    if document is not None:
        keys += [str(document), *_endings(str(document))]
    return keys


COUNTS = ("rows", "matched", "missing", "unmatched", "ambiguous", "repeated")


@dataclass(frozen=True, slots=True, kw_only=True)
class Runs:
    """The samples that the files answer for, one prediction each, and what became of the rows.

    `counts` are summed over the files; `notes` has one line a file, with examples of rows that
    fit nothing.
    """

    samples: tuple[Sample, ...]
    predictions: tuple[Prediction, ...]
    counts: dict[str, int]
    notes: tuple[str, ...]


def read_runs(folder: Path, samples: Sequence[Sample]) -> Runs:
    """Join every `*.jsonl` of `folder` to `samples`.

    A file named after a corpus is joined to the rows of that corpus, any other to all. The
    system answers for the granularity (line or page) that its rows name, in each corpus that
    a file names or fits: what it did not read there is an empty text. A file that fits no
    sample is counted and changes nothing.

    Raises:
        UserError: a row that cannot be understood; names file and line.
    """
    corpora = {sample.corpus for sample in samples}
    texts: dict[str, Prediction] = {}
    answered: set[tuple[str, str]] = set()
    counts: Counter[str] = Counter()
    notes = []
    for path in sorted(folder.glob("*.jsonl")):
        part = [s for s in samples if path.stem not in corpora or s.corpus == path.stem]
        joined = join_predictions(path, part)
        counts.update({key: getattr(joined, key) for key in COUNTS if key != "missing"})
        counts["files"] += 1
        found = {sample.id: sample for sample in part if sample.id in joined.found}
        answered |= {(sample.corpus, sample.granularity) for sample in found.values()}
        texts |= joined.found
        notes.append(_note(path, joined.rows, len(found), joined.examples))
    wanted = tuple(s for s in samples if (s.corpus, s.granularity) in answered)
    counts["missing"] = sum(sample.id not in texts for sample in wanted)
    return Runs(
        samples=wanted,
        predictions=tuple(texts.get(s.id, Prediction(id=s.id, text="")) for s in wanted),
        counts=dict(counts),
        notes=tuple(notes),
    )


def _note(path: Path, rows: int, matched: int, examples: Sequence[str]) -> str:
    text = f"{path}: {rows:,} rows, {matched:,} joined"
    return text + (f"; fit no row: {', '.join(examples[:3])}" if examples else "")
