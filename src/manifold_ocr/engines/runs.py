"""Prediction files that lie in a folder, one a data set, joined to the test split as one system."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from manifold_ocr.engines.predictions import join_predictions
from manifold_ocr.records import Prediction, Sample

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
