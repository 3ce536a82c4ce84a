"""Reports on any manifest: our scorer, Fox's metrics and OmniDocBench's, as JSON and Markdown.

Beside every text score stands the whole-page insertion rate, since some scores do not see
invented text; names carry the evaluator's version and Fox's two orientations.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from manifold_ocr.evaluation.markdown import interval, md_table
from manifold_ocr.evaluation.samples import EvalManifest
from manifold_ocr.files import atomic_write, write_json
from manifold_ocr.metrics.fox import fox_mean, fox_metrics, fox_metrics_swapped
from manifold_ocr.metrics.omnidocbench.evaluate import score_page, summarise_pages
from manifold_ocr.metrics.score import EvaluateConfig, score, summarise
from manifold_ocr.records import Prediction, write_rows

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
    scored = [
        score_page(
            manifest.omnidocbench[s.id],
            texts.get(s.id, ""),
            tokenizer=config.metric_tokenizer,
        )
        for s in pages
        if s.id in manifest.omnidocbench
    ]
    overall, undefined = summarise_pages(scored) if scored else ({}, [])
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
        summary=summarise(scores.rows, config),
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
    settings = report.summary["settings"]
    counts = ", ".join(f"{key.replace('_', ' ')} {value:,}" for key, value in report.counts.items())
    parts = [
        f"# {report.name} on {report.manifest}",
        f"Rows: {counts}. A row without a prediction counts as an empty text. Profile "
        f"`{settings['profile']}`, metric tokenizer `{settings['metric_tokenizer']}`; shares in "
        "percent with 95 % bootstrap intervals by document.",
        "## Text",
        _text_table(report.summary),
    ]
    if report.omnidocbench:
        parts += ["## OmniDocBench", _omnidocbench(report)]
    if report.fox:
        parts += ["## Fox", _fox_table(report)]
    if report.failures:
        shown = "\n".join(f"- {failure}" for failure in report.failures[:50])
        parts += [f"## Images that could not be read ({len(report.failures)})", shown]
    return "\n\n".join(parts) + "\n"


def _text_table(summary: Mapping[str, Any]) -> str:
    header = ("Group", "Rows", "CER", "NED", "WER", "Token F1", "Insertion rate", "Deletion rate")
    keys = ("cer", "ned", "wer", "token_f1", "insertion_rate", "deletion_rate")
    rows = []
    groups = [("overall", summary["overall"])] if "overall" in summary else []
    for grouping in GROUPS:
        groups += [
            (f"{grouping.removeprefix('by_')} {name}", values)
            for name, values in summary[grouping].items()
        ]
    for name, values in groups:
        rows.append((name, f"{int(values['n']):,}", *(interval(values, key) for key in keys)))
    return md_table(header, rows)


def _omnidocbench(report: EvalReport) -> str:
    lines = md_table(
        ("Metric", "Value"),
        [(name, f"{value:.4f}") for name, value in report.omnidocbench.items()],
    )
    undefined = ", ".join(report.omnidocbench_undefined)
    note = (
        "The text-block distance does not see invented paragraphs: read it with the whole-page "
        "insertion rate. CDM is not computed (it needs TeX)."
    )
    pages = md_table(
        ("Page", "Text-block distance", "Insertion rate", "Reading order"),
        [
            (
                str(page["page"]),
                *(
                    _number(page[k])
                    for k in ("text_edit_distance", "insertion_rate", "reading_order_distance")
                ),
            )
            for page in report.omnidocbench_pages
        ],
    )
    return "\n\n".join(
        part for part in (lines, f"Undefined here: {undefined}." if undefined else "", note, pages)
        if part
    )  # fmt: skip


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _fox_table(report: EvalReport) -> str:
    names = [n for n in report.fox if n != "pages" and not n.startswith("compat_swapped_")]
    rows = [
        (
            name,
            f"{report.fox[name]:.4f}",
            _number(report.fox.get(f"compat_swapped_{name}")),
            str(report.fox_missing.get(name, 0)),
        )
        for name in names
    ]
    pages = report.summary["by_granularity"]["page"]
    return (
        md_table(("Metric", "Mean of pages", "As Fox's script prints it", "Pages without"), rows)
        + f"\n\n{int(report.fox['pages'])} pages. Fox's script swaps reference and prediction, so "
        "its precision is our recall. Whole-page insertion rate of the same pages: "
        f"{interval(pages, 'insertion_rate')} %."
    )
