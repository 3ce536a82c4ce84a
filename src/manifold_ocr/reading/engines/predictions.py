"""Import what other systems read: prediction files joined to a manifest's rows.

Four forms, told apart by looking: a folder of Markdown files named after the images (as
OmniDocBench takes them), a folder of PAGE-XML, ALTO or hOCR files, JSON Lines of DeepSeek-OCR runs
(`doc_id`, `image_path`, `prediction`, or `doc_id`, `page_id`, `text`), and plain JSON Lines (`id`
or an image path, and a text). A manifest row without a prediction scores as an empty text;
predictions that fit no row are counted, never guessed at.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from manifold_ocr.errors import UserError
from manifold_ocr.reading.engines.rows import Candidate, compared_name, endings, read_candidates
from manifold_ocr.records import Prediction, Sample


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


def import_predictions(
    path: Path, samples: Sequence[Sample], text_key: str | None = None
) -> Imported:
    """Join the predictions of a JSON Lines file or a Markdown folder to `samples`.

    Raises:
        UserError: nothing at `path`, a row that cannot be understood (file and line are
            named), or not a single row that fits.
    """
    joined = join_predictions(path, samples, text_key)
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


def join_predictions(path: Path, samples: Sequence[Sample], text_key: str | None = None) -> Joined:
    """Join as `import_predictions` does; a file that fits nothing is no error here.

    Raises:
        UserError: nothing at `path`, or a row that cannot be understood.
    """
    index = SampleIndex(samples)
    found: dict[str, Prediction] = {}
    rows = unmatched = ambiguous = repeated = 0
    examples: list[str] = []
    for candidate in read_candidates(path, text_key):
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
        self._ids: dict[str, str] = {}
        self._whole: set[str] = set()
        self._by_key: dict[str, list[str]] = {}
        for sample in samples:
            self._ids.setdefault(compared_name(sample.id), sample.id)
            if sample.box is None:
                self._whole.add(sample.id)
            names = {*endings(sample.image), compared_name(sample.document)}
            if frame := getattr(sample, "frame", 0):
                names = {
                    *endings(f"{sample.image}#page={frame + 1}"),
                    compared_name(sample.document),
                }
            for key in names:
                self._by_key.setdefault(key, []).append(sample.id)

    def find(self, keys: Iterable[str]) -> list[str]:
        """Return the ids of the first key that fits exactly one sample, else the most exact.

        An id is exact. A path that several samples share means the one that is the whole
        image, where there is one: a text by path is the text of the page, not of a line.
        """
        several: list[str] = []
        for key in keys:
            if key in self._ids:
                return [self._ids[key]]
            matches = self._by_key.get(key, [])
            whole = [match for match in matches if match in self._whole]
            if len(matches) == 1 or len(whole) == 1:
                return whole or matches
            several = several or matches
        return several


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
