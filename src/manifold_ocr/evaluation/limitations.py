"""The bias and failure report: where the model is worst, what it confuses, how it fails.

Written from the metrics and predictions of the last run. Sample images in git are drawn by
this project (corpus `synthetic`); those of real documents stay under output/.
"""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from manifold_ocr.config import EvaluateConfig
from manifold_ocr.errors import UserError
from manifold_ocr.evaluation.explorer.build import ExplorerConfig, confusions, thumbnail
from manifold_ocr.evaluation.markdown import interval, render, whole
from manifold_ocr.files import atomic_directory, atomic_write
from manifold_ocr.metrics.normalize import normalize
from manifold_ocr.metrics.row_score import RowScore
from manifold_ocr.metrics.score import score_rows
from manifold_ocr.records import Prediction, Sample

OWN_CORPUS = "synthetic"
COHORTS = ("empty_rate", "looping_rate", "too_long_rate", "too_short_rate", "hallucination_rate")
CLASSES = (
    "letter case only",
    "white space",
    "accent or mark",
    "punctuation",
    "digit for digit",
    "letter and digit mixed up",
    "one letter for another",
    "missed character",
    "invented character",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One badly read line, to be shown as an image."""

    sample: Sample
    prediction: str
    errors: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What the report states, in counts."""

    name: str
    section: Mapping[str, Any]
    pairs: Sequence[tuple[tuple[str, str], int]]
    classes: Mapping[str, int]
    examples: Sequence[Example]


def error_class(wanted: str, got: str) -> str:
    """Name the kind of one wrong character (either side may be empty)."""
    if wanted.isspace() or got.isspace():
        return "white space"
    if not got:
        return "missed character"
    if not wanted:
        return "invented character"
    if wanted.casefold() == got.casefold():
        return "letter case only"
    if _bare(wanted) == _bare(got):
        return "accent or mark"
    if wanted.isdigit() and got.isdigit():
        return "digit for digit"
    if wanted.isalpha() and got.isalpha():
        return "one letter for another"
    if wanted.isalnum() and got.isalnum():
        return "letter and digit mixed up"
    return "punctuation"


def _bare(character: str) -> str:
    decomposed = unicodedata.normalize("NFKD", character)
    return "".join(c for c in decomposed if not unicodedata.combining(c))


def of_granularities_read(
    samples: Sequence[Sample], predictions: Sequence[Prediction]
) -> list[Sample]:
    """Return the samples of the granularities that were read at all.

    A line recognizer reads no page rows: they are no missed text. A row without prediction
    among those that were read stays, and counts as empty.
    """
    ids = {prediction.id for prediction in predictions}
    read = {sample.granularity for sample in samples if sample.id in ids}
    return [sample for sample in samples if sample.granularity in read]


def find(
    evaluation: Mapping[str, Any],
    system: str,
    samples: Sequence[Sample],
    predictions: Iterable[Prediction],
    config: EvaluateConfig,
    examples: int = 6,
) -> Findings:
    """Count confusions and error classes, and pick the worst lines of each corpus.

    Raises:
        UserError: the evaluation holds no such system.
    """
    section = evaluation.get(system)
    if not isinstance(section, Mapping):
        raise UserError(f"metrics/evaluate.json holds no {system!r}; run `dvc repro evaluate`")
    texts = {prediction.id: prediction.text for prediction in predictions}
    pairs: Counter[tuple[str, str]] = Counter()
    read = [s for s in samples if s.task == "transcribe"]
    for sample in read:
        wanted = normalize(sample.text, config.profile)
        pairs += confusions(wanted, normalize(texts.get(sample.id, ""), config.profile))
    classes: Counter[str] = Counter()
    for (wanted, got), count in pairs.items():
        classes[error_class(wanted, got)] += count
    plain = EvaluateConfig(metric_tokenizer="whitespace", profile=config.profile)
    rows = score_rows(read, [Prediction(id=k, text=v) for k, v in texts.items()], plain)
    ranked = sorted(pairs.items(), key=lambda item: (-item[1], item[0]))
    return Findings(
        name=system,
        section=section,
        pairs=ranked[:25],
        classes={name: classes[name] for name in CLASSES},
        examples=_worst(read, texts, rows, examples),
    )


def _worst(
    samples: Sequence[Sample],
    texts: Mapping[str, str],
    rows: Sequence[RowScore],
    count: int,
) -> list[Example]:
    """Return the lines with most errors, at most one a document, `count` a corpus."""
    scores = {row.id: row for row in rows}
    chosen: list[Example] = []
    seen: set[tuple[str, str]] = set()
    per_corpus: Counter[str] = Counter()
    lines = [s for s in samples if s.granularity == "line" and scores[s.id].distance]
    for sample in sorted(lines, key=lambda s: (-scores[s.id].distance, s.id)):
        key = (sample.corpus, sample.document)
        if key in seen or per_corpus[sample.corpus] >= count:
            continue
        seen.add(key)
        per_corpus[sample.corpus] += 1
        example = Example(
            sample=sample,
            prediction=texts.get(sample.id, ""),
            errors=scores[sample.id].distance,
        )
        chosen.append(example)
    return chosen


def markdown(findings: Findings, images: Mapping[str, str], private: Path) -> str:
    """Return the report; `images` maps sample ids to the image files that may be shown."""
    total = sum(findings.classes.values())
    shown = [e for e in findings.examples if e.sample.id in images]
    return render(
        "evaluation/templates/limitations.md.j2",
        findings=findings,
        group_rows=_group_rows(findings.section),
        space_rows=_space_rows(findings.section),
        cohort_titles=["Group", *(n.removesuffix("_rate").replace("_", " ") for n in COHORTS)],
        cohort_rows=_cohort_rows(findings.section),
        class_rows=[
            (name, whole(count), f"{count / total:.1%}" if total else "-")
            for name, count in findings.classes.items()
        ],
        pair_rows=[(_shown(a), _shown(b), whole(count)) for (a, b), count in findings.pairs],
        shown=[
            {
                "subset": example.sample.subset,
                "errors": example.errors,
                "image": images[example.sample.id],
                "reference": _quoted(example.sample.text),
                "read": _quoted(example.prediction),
            }
            for example in shown
        ],
        hidden=len(findings.examples) - len(shown),
        private=private.as_posix(),
    )


def _shown(character: str) -> str:
    if not character:
        return "nothing"
    return "space" if character == " " else f"`{character}`" if character != "`" else "backtick"


def _group_rows(section: Mapping[str, Any]) -> list[tuple[str, ...]]:
    groups = []
    for grouping in ("by_subset", "by_language", "by_corpus"):
        for name, values in section.get(grouping, {}).items():
            if "cer" in values:
                groups.append((values["cer"], f"{grouping.removeprefix('by_')} {name}", values))
    return [
        (
            name,
            whole(values.get("documents", 0)),
            whole(values["n"]),
            *(interval(values, key) for key in ("cer", "insertion_rate", "deletion_rate")),
        )
        for _, name, values in sorted(groups, key=lambda group: (-group[0], group[1]))
    ]


def _space_rows(section: Mapping[str, Any]) -> list[tuple[str, ...]]:
    keys = ("cer", "cer_without_spaces", "space_precision", "space_recall")
    groups = [("overall", section.get("overall", {}))]
    groups += [(f"subset {name}", values) for name, values in section.get("by_subset", {}).items()]
    return [
        (name, *(interval(values, key) for key in keys))
        for name, values in groups
        if keys[1] in values
    ]


def _cohort_rows(section: Mapping[str, Any]) -> list[tuple[str, ...]]:
    groups = [("overall", section.get("overall", {}))]
    groups += [(f"subset {name}", values) for name, values in section.get("by_subset", {}).items()]
    return [(name, *(interval(values, key) for key in COHORTS)) for name, values in groups]


def _quoted(text: str) -> str:
    flat = " ".join(text.split())
    marks = "``" if "`" in flat else "`"
    return f"{marks} {flat} {marks}" if flat else "(nothing)"


def write(findings: Findings, image_root: Path, document: Path, private: Path) -> tuple[int, int]:
    """Write the report, its own images beside it, and real ones below `private`.

    Returns:
        How many images were published and how many were kept private.
    """
    folder = document.parent / "limitations"
    shown: dict[str, str] = {}
    config = ExplorerConfig(quality=80)
    own = [e for e in findings.examples if e.sample.corpus == OWN_CORPUS]
    others = [e for e in findings.examples if e.sample.corpus != OWN_CORPUS]
    with atomic_directory(folder) as target:
        for number, example in enumerate(own):
            name = f"{number + 1:02d}.jpg"
            (target / name).write_bytes(thumbnail(example.sample, image_root, config))
            shown[example.sample.id] = f"{folder.name}/{name}"
    with atomic_directory(private) as target:
        for number, example in enumerate(others):
            name = f"{example.sample.corpus}-{number + 1:02d}.jpg"
            (target / name).write_bytes(thumbnail(example.sample, image_root, config))
            shown_text = f"{example.sample.id}\n{example.sample.text}\n{example.prediction}\n"
            (target / name).with_suffix(".txt").write_text(shown_text, encoding="utf-8")
    with atomic_write(document) as file:
        file.write(markdown(findings, shown, private))
    return len(own), len(others)
