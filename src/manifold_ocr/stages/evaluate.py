"""Stage evaluate: read the test split with base model and adapter first, score second.

Prediction files that lie in output/deepseek_runs are scored along, as one more system.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from manifold_ocr import resources
from manifold_ocr.config import DecodeConfig, EvaluateConfig, ModelConfig, Spaces
from manifold_ocr.files import atomic_directory, sha256_file, write_json
from manifold_ocr.metrics import score
from manifold_ocr.metrics.paired import document_sums
from manifold_ocr.models import conventions, registry
from manifold_ocr.reading.engines.predictions import read_runs
from manifold_ocr.reading.predict import (
    Reading,
    predict_and_measure,
    process_share,
    reading_fingerprint,
)
from manifold_ocr.records import Sample, iter_manifest, manifest_sha256, write_rows
from manifold_ocr.settings import load_section
from manifold_ocr.stages.runner import run_stage

TEST = Path("data/manifest/test.jsonl")
ADAPTER = Path("output/adapter")
PREDICTIONS = Path("output/predictions")
DEEPSEEK_RUNS = Path("output/deepseek_runs")
IMAGE_ROOT = Path("data/raw")
WITH_GAPS = "base+gap"


def main() -> None:
    """Write output/predictions/{base,adapter,base+gap}.jsonl and metrics/evaluate.json."""
    model = load_section(ModelConfig, "model")
    config = load_section(EvaluateConfig, "evaluate")
    decode = load_section(DecodeConfig, "decode")
    everything = list(iter_manifest(TEST))
    family = registry.family(model)
    samples, unread = readable(everything, family)
    readings = {
        name: read(name, model, adapter, samples, config, decode.spaces)
        for name, adapter in (("base", None), ("adapter", ADAPTER))
    }
    if family == "ctc" and decode.spaces == "model":
        readings[WITH_GAPS] = with_gaps(readings["base"])
    if process_share()[0]:
        return  # torchrun's first process has all rows and writes
    with atomic_directory(PREDICTIONS) as folder:
        for name, reading in readings.items():
            write_rows(folder / f"{name}.jsonl", reading.predictions)
    rows = {
        name: score.score_rows(samples, reading.predictions, config)
        for name, reading in readings.items()
    }
    report = score.evaluation(rows["adapter"], rows["base"], config)
    if WITH_GAPS in rows:
        report[WITH_GAPS] = score.summarize(rows[WITH_GAPS], config)
        report["difference+gap"] = score.compare(rows["adapter"], rows[WITH_GAPS], config)
    report["not_read"] = dict(sorted(unread.items()))
    report["test_sha256"] = manifest_sha256(TEST)
    report["test_rows"] = dict(sorted(transcription_rows(everything).items()))
    report["predictions_sha256"] = {
        name: sha256_file(PREDICTIONS / f"{name}.jsonl") for name in readings
    }
    report["documents"] = {name: document_sums(scored) for name, scored in rows.items()}
    if any(DEEPSEEK_RUNS.glob("*.jsonl")):
        report["imported"] = {}
        if found := imported("deepseek-ocr", DEEPSEEK_RUNS, everything, config):
            report["imported"]["deepseek-ocr"], report["documents"]["deepseek-ocr"] = found
    write_json("metrics/evaluate.json", report)
    describe(report, readings)


def with_gaps(reading: Reading) -> Reading:
    """Return the base model's reading with its own best decoding, from the same frames.

    An adapter that has mostly learned to write spaces is compared with a base that puts them at
    wide gaps, too. Families that generate text have no frames and so no such rule.
    """
    predictions = [
        found if text is None else replace(found, text=text)
        for found, text in zip(reading.predictions, reading.gap_texts, strict=True)
    ]
    return Reading(predictions, fresh=0, seconds=0.0)


def transcription_rows(samples: Sequence[Sample]) -> Counter[str]:
    """Count the rows to transcribe of each granularity: what a system could have read."""
    return Counter(s.granularity for s in samples if s.task == score.TRANSCRIBE)


def imported(
    name: str,
    folder: Path,
    samples: Sequence[Sample],
    config: EvaluateConfig,
) -> tuple[dict[str, Any], list[str]] | None:
    """Score the prediction files of a folder as one system; return scores and document sums."""
    runs = read_runs(folder, samples)
    print("\n".join(f"evaluate: {note}" for note in runs.notes))
    counts = ", ".join(f"{key} {value:,}" for key, value in runs.counts.items())
    print(f"evaluate: {name}: {counts}; missing rows count as empty")
    if not runs.samples:
        return None
    theirs = score.score_rows(runs.samples, runs.predictions, config)
    section = score.summarize(theirs, config)
    return {**section, "import": runs.counts}, document_sums(theirs)


def readable(samples: Sequence[Sample], family: str) -> tuple[list[Sample], Counter[str]]:
    """Return the rows that the family can read, and how many of each granularity it cannot.

    A line recognizer reads line rows; whole pages are for `manifold-ocr read` and the
    engines, which detect lines first.
    """
    kept = [s for s in samples if s.granularity in registry.granularities(family)]
    return kept, Counter(s.granularity for s in samples) - Counter(s.granularity for s in kept)


def read(
    name: str,
    model: ModelConfig,
    adapter: Path | None,
    samples: Sequence[Sample],
    config: EvaluateConfig,
    spaces: Spaces = "model",
) -> Reading:
    """Read all samples with the base model or with the adapter on it, cached row by row.

    What it cost goes to metrics/perf.json, the only file with clocks.
    """
    base = registry.base_path(model)
    weights = [base] if adapter is None else [base, adapter]
    modules = registry.modules(registry.family(model))
    fingerprint = reading_fingerprint(model, weights, config.generation_max_length, modules, spaces)
    loaded = registry.load_model(
        model, adapter, max_new_tokens=config.generation_max_length, spaces=spaces
    )
    reading, cost = predict_and_measure(loaded, samples, IMAGE_ROOT, fingerprint, name)
    if cost and process_share()[0] == 0:
        resources.record(f"evaluate_{name}", cost)
    kept = conventions.read_conventions(adapter)
    return replace(reading, predictions=conventions.applied(reading.predictions, samples, kept))


def describe(report: dict[str, Any], readings: dict[str, Reading]) -> None:
    """Print what was read and the headline."""
    for name, reading in readings.items():
        print(f"evaluate: {name}: {len(reading.predictions)} rows, {reading.fresh} read anew")
    for name, compared in (("base", "difference"), (WITH_GAPS, "difference+gap")):
        if name not in report or "overall" not in report["adapter"]:  # no row is a transcription
            continue
        adapter, other = report["adapter"]["overall"], report[name]["overall"]
        difference = report[compared]["overall"]
        print(
            f"evaluate: CER {name} {other['cer']:.4f}, adapter {adapter['cer']:.4f}, difference "
            f"{difference['cer']:+.4f} "
            f"[{difference.get('cer_low', 0):+.4f}, {difference.get('cer_high', 0):+.4f}]; "
            f"without spaces {other['cer_without_spaces']:.4f}, "
            f"{adapter['cer_without_spaces']:.4f}"
        )


if __name__ == "__main__":
    run_stage("evaluate", main)
