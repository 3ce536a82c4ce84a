"""Any manifest as samples, and the report on it: our scorer, Fox's metrics and OmniDocBench's.

Beside every text score stands the whole-page insertion rate, since some scores do not see
invented text; names carry the evaluator's version and Fox's two orientations.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from manifold_ocr.config import EvaluateConfig
from manifold_ocr.data.readers.jsonl import ManifestCorpus
from manifold_ocr.errors import UserError
from manifold_ocr.evaluation.markdown import digits, edits, interval, render, whole
from manifold_ocr.files import atomic_write, read_json, write_json
from manifold_ocr.metrics.fox import fox_mean, fox_metrics, fox_metrics_swapped
from manifold_ocr.metrics.omnidocbench.blocks import V1_5, V1_5_CORRECTED, reference_page
from manifold_ocr.metrics.omnidocbench.evaluate import score_page, summarize_pages
from manifold_ocr.metrics.score import score, summarize
from manifold_ocr.records import (
    Prediction,
    Rejection,
    Sample,
    iter_manifest,
    manifest_sha256,
    write_rows,
)


@dataclass(frozen=True, kw_only=True)
class EvalManifest:
    """Samples, the rows that could not be used, and OmniDocBench's pages by sample id."""

    samples: tuple[Sample, ...]
    rejected: tuple[Rejection, ...] = ()
    omnidocbench: Mapping[str, Any] = field(default_factory=dict)
    sha256: str = ""


def load_manifest(path: Path, granularity: str = "") -> EvalManifest:
    """Read a manifest, keeping only rows of `granularity` where one is given.

    Raises:
        UserError: missing, not understood, or no row left.
    """
    if not path.exists():
        raise UserError(f"{path}: no such manifest")
    manifest = _omnidocbench(path) if path.suffix == ".json" else _rows(path)
    samples = tuple(s for s in manifest.samples if granularity in ("", s.granularity))
    if not samples:
        reason = manifest.rejected[0].detail if manifest.rejected else "it is empty"
        raise UserError(f"{path}: no usable row ({len(manifest.samples)} read; {reason})")
    return EvalManifest(
        samples=samples,
        rejected=manifest.rejected,
        omnidocbench=manifest.omnidocbench,
        sha256=manifest_sha256(path),
    )


def _omnidocbench(path: Path) -> EvalManifest:
    pages = read_json(path)
    if not isinstance(pages, list) or not all(
        isinstance(page, dict) and "layout_dets" in page and "page_info" in page for page in pages
    ):
        raise UserError(f"{path}: a .json manifest must be an OmniDocBench.json; rows are .jsonl")
    samples = []
    for number, page in enumerate(pages, 1):
        try:
            samples.append(_omnidocbench_sample(page))
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise UserError(f"{path}: page {number} is broken ({error!r}); restore it") from error
    return EvalManifest(
        samples=tuple(samples),
        omnidocbench={s.id: page for s, page in zip(samples, pages, strict=True)},
    )


def _omnidocbench_sample(page: Mapping[str, Any]) -> Sample:
    info = page["page_info"]
    image = info["image_path"]
    if not isinstance(image, str):
        raise TypeError(f"image_path is {image!r}")
    attribute = info.get("page_attribute", {})
    return Sample(
        id=image,
        document=image,
        corpus="omnidocbench",
        subset=str(attribute.get("data_source", "all")),
        language=_language(str(attribute.get("language", ""))),
        image=image,
        text=reference_page(page).text,
        granularity="page",
        role="eval_only",
    )


def _language(name: str) -> str:
    known = {"english": "en", "simplified_chinese": "zh", "traditional_chinese": "zh-Hant"}
    return known.get(name, name or "und")


def _rows(path: Path) -> EvalManifest:
    if path.is_dir() or _is_ours(path):
        return EvalManifest(samples=tuple(iter_manifest(path)))
    samples: list[Sample] = []
    rejected: list[Rejection] = []
    options = {"manifest": path.name, "image_root": "."}
    for row in ManifestCorpus(path.stem, look_up=False).rows(path.parent, options):
        if isinstance(row, Rejection):
            rejected.append(row)
            continue
        samples.append(
            Sample(
                id=f"{row.document}:{row.source.rsplit(':', 1)[-1]}",
                document=row.document,
                corpus=path.stem,
                subset=row.subset,
                tags=row.tags,
                language=row.language,
                image=row.image,
                text=row.text,
                box=row.box,
                granularity=row.granularity,
                task=row.task,
                question=row.question,
                answers=row.answers,
                license=row.license,
            )
        )
    return EvalManifest(samples=tuple(samples), rejected=tuple(rejected))


def _is_ours(path: Path) -> bool:
    """Tell by the first row whether it has an id, a document and a corpus."""
    try:
        with open(path, encoding="utf-8-sig") as file:
            first = next((line for line in file if line.strip()), "")
        value = json.loads(first) if first else {}
    except (ValueError, RecursionError):  # not UTF-8, or not JSON: the rows' reader says so
        return False
    return isinstance(value, dict) and {"id", "document", "corpus"} <= set(value)


TEXT = ("cer", "ned", "wer", "token_f1", "insertion_rate", "deletion_rate")
SPACES = ("cer", "cer_without_spaces", "cer_casefold", "space_precision", "space_recall")
FAILURES = (
    "empty_rate",
    "looping_rate",
    "too_long_rate",
    "too_short_rate",
    "hallucination_rate",
    "blank_false_positive_rate",
)
GROUPS = ("by_corpus", "by_subset", "by_language", "by_granularity")


@dataclass(frozen=True, kw_only=True)
class EvalReport:
    """Everything measured of one system on one manifest, ready for JSON."""

    name: str
    manifest: str
    manifest_sha256: str
    counts: Mapping[str, int]
    summary: Mapping[str, Any]
    fox: Mapping[str, float]
    fox_missing: Mapping[str, int]
    omnidocbench: Mapping[str, float]
    omnidocbench_undefined: Sequence[str]
    omnidocbench_pages: Sequence[Mapping[str, Any]]
    failures: Sequence[str]

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "name": self.name,
            "manifest": self.manifest,
            "manifest_sha256": self.manifest_sha256,
            "counts": dict(self.counts),
            **self.summary,
            "fox": dict(self.fox),
            "fox_pages_without_value": dict(self.fox_missing),
            "omnidocbench": dict(self.omnidocbench),
            "omnidocbench_undefined": list(self.omnidocbench_undefined),
            "omnidocbench_pages": list(self.omnidocbench_pages),
            "failures": list(self.failures),
        }

    def headline(self) -> str:
        """Return one line for the terminal: rows, CER and the insertion rate beside it."""
        overall = self.summary.get("overall", {})
        text = f"{self.name}: {self.counts['samples']:,} rows"
        if "cer" in overall:
            text += f", CER {interval(overall, 'cer')} %"
            text += f", insertion rate {interval(overall, 'insertion_rate')} %"
        for key, words in (("looping_rate", "in a loop"), ("hallucination_rate", "invented")):
            if overall.get(key):
                text += f", {words} {100 * overall[key]:.2f} % of rows"
        if overall.get("blank_false_positive_rate"):
            share = 100 * overall["blank_false_positive_rate"]
            text += f", text on {share:.2f} % of {overall['blank']:,} blank rows"
        for task, values in self.summary.get("by_task", {}).items():
            scores = ", ".join(
                f"{name.replace('_', ' ')} {interval(values, name)} %"
                for name in _task_scores(values)
            )
            text += f"; {task} ({values['n']:,} rows): {scores}"
        for name, value in self.omnidocbench.items():
            if name.endswith(("text_edit_distance", "whole_page_insertion_rate")):
                text += f", {name} {value:.4f}"
        return text


def evaluate_predictions(
    name: str,
    manifest: EvalManifest,
    manifest_name: str,
    predictions: Sequence[Prediction],
    config: EvaluateConfig,
    failures: Sequence[str] = (),
) -> EvalReport:
    """Score `predictions`; a sample without one counts as an empty text."""
    scores = score(manifest.samples, predictions, config)
    texts = {prediction.id: prediction.text for prediction in predictions}
    pages = [s for s in manifest.samples if s.granularity == "page" and s.task == "transcribe"]
    pairs = [(sample.text, texts.get(sample.id, "")) for sample in pages]
    fox, fox_missing = _fox(pairs)
    overall: dict[str, float] = {}
    undefined: list[str] = []
    for evaluator in (V1_5_CORRECTED, V1_5):  # page values are those of the last
        scored = [
            score_page(
                manifest.omnidocbench[s.id], texts.get(s.id, ""), evaluator, config.metric_tokenizer
            )
            for s in pages
            if s.id in manifest.omnidocbench
        ]
        values, missing = summarize_pages(scored) if scored else ({}, [])
        overall, undefined = values | overall, missing + undefined
    return EvalReport(
        name=name,
        manifest=manifest_name,
        manifest_sha256=manifest.sha256,
        counts={
            "samples": len(manifest.samples),
            "rejected_rows": len(manifest.rejected),
            "missing_predictions": scores.missing,
            "unknown_predictions": scores.unknown,
            "unreadable_images": len(failures),
        },
        summary=summarize(scores.rows, config),
        fox=fox,
        fox_missing=fox_missing,
        omnidocbench=overall,
        omnidocbench_undefined=undefined,
        omnidocbench_pages=[
            {
                "page": page.page,
                "text_edit_distance": page.text_edit_distance,
                "insertion_rate": page.insertion_rate,
                "reading_order_distance": (
                    page.reading_order.edits / page.reading_order.longest
                    if page.reading_order and page.reading_order.longest
                    else None
                ),
            }
            for page in scored
        ],
        failures=failures,
    )


def _fox(pairs: Sequence[tuple[str, str]]) -> tuple[dict[str, float], dict[str, int]]:
    """Return Fox's means in the right orientation and, prefixed, as its script prints them."""
    if not pairs:
        return {}, {}
    right, missing = fox_mean([fox_metrics(a, b) for a, b in pairs])
    swapped, swapped_missing = fox_mean([fox_metrics_swapped(a, b) for a, b in pairs])
    means = {"pages": float(len(pairs)), **right}
    means |= {f"compat_swapped_{name}": value for name, value in swapped.items()}
    lacking = {**missing, **{f"compat_swapped_{k}": v for k, v in swapped_missing.items()}}
    return means, lacking


def write_eval(out: Path, report: EvalReport, predictions: Sequence[Prediction]) -> None:
    """Write report.json, report.md and predictions.jsonl below `out`."""
    write_json(out / "report.json", report.as_json())
    with atomic_write(out / "report.md") as file:
        file.write(markdown(report))
    write_rows(out / "predictions.jsonl", predictions)


def markdown(report: EvalReport) -> str:
    """Return the report for people."""
    counts = (f"{key.replace('_', ' ')} {value:,}" for key, value in report.counts.items())
    fox = [n for n in report.fox if n != "pages" and not n.startswith("compat_swapped_")]
    return render(
        "evaluation/templates/report.md.j2",
        report=report,
        counts=", ".join(counts),
        settings=report.summary["settings"],
        text_rows=_group_rows(report.summary, TEXT),
        space_rows=_group_rows(report.summary, SPACES),
        class_rows=[(name, *edits(values)) for name, values in _groups(report.summary)],
        failure_rows=_group_rows(report.summary, FAILURES),
        task_rows=[
            (task, whole(values["n"]), name.replace("_", " "), interval(values, name))
            for task, values in report.summary["by_task"].items()
            for name in _task_scores(values)
        ],
        omnidocbench_rows=[(name, digits(value)) for name, value in report.omnidocbench.items()],
        page_rows=[
            (
                str(page["page"]),
                digits(page["text_edit_distance"]),
                digits(page["insertion_rate"]),
                digits(page["reading_order_distance"]),
            )
            for page in report.omnidocbench_pages
        ],
        fox_rows=[
            (
                name,
                digits(report.fox[name]),
                digits(report.fox.get(f"compat_swapped_{name}")),
                str(report.fox_missing.get(name, 0)),
            )
            for name in fox
        ],
    )


def _task_scores(values: Mapping[str, float]) -> list[str]:
    """Return the names of a task's scores."""
    counts = ("n", "missing", "documents")
    return [k for k in values if k not in counts and not k.endswith(("_low", "_high"))]


def _group_rows(summary: Mapping[str, Any], keys: Sequence[str]) -> list[tuple[str, ...]]:
    return [
        (name, whole(values["n"]), *(interval(values, key) for key in keys))
        for name, values in _groups(summary)
    ]


def _groups(summary: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """Return (name, scores) of the whole and of every group."""
    groups = [("overall", summary["overall"])] if "overall" in summary else []
    for grouping in GROUPS:
        groups += [
            (f"{grouping.removeprefix('by_')} {name}", values)
            for name, values in summary[grouping].items()
        ]
    return groups
