"""Get predictions for any samples: read the images with an engine, or import a file."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from manifold_ocr.config import load_section
from manifold_ocr.engines.base import EngineOptions, load_engine, run_engine
from manifold_ocr.engines.predictions import import_predictions
from manifold_ocr.records import Prediction, Sample
from manifold_ocr.scoring import EvaluateConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Predictions in the order of the samples, who made them, and what went wrong.

    `notes` are lines for the terminal; `counts` says how many rows of an imported file
    matched, were missing and so on.
    """

    name: str
    predictions: Sequence[Prediction]
    failures: Sequence[str] = ()
    notes: Sequence[str] = ()
    counts: dict[str, int] | None = None


def evaluate_config(params: Path) -> EvaluateConfig:
    """Return the `evaluate` section of a params file, or the defaults without such a file."""
    return (
        load_section(EvaluateConfig, "evaluate", params) if params.is_file() else EvaluateConfig()
    )


def import_or_read(
    samples: Sequence[Sample], image_root: Path, model: Path | None, predictions: Path | None
) -> Reading:
    """Import `predictions` where they are given, else read the images with `model`."""
    if predictions is not None:
        return import_file(predictions, samples)
    return read_samples_with("checkpoint", samples, image_root, EngineOptions(model=model))


def import_file(path: Path, samples: Sequence[Sample]) -> Reading:
    """Import a prediction file or folder; every mismatch is counted and said."""
    imported = import_predictions(path, samples)
    counts = imported.counts()
    notes = [f"{path}: " + ", ".join(f"{key} {value:,}" for key, value in counts.items())]
    notes += [f"  fits no row: {example}" for example in imported.joined.examples]
    return Reading(
        name=path.stem, predictions=imported.predictions, notes=tuple(notes), counts=counts
    )


def read_samples_with(
    name: str, samples: Sequence[Sample], image_root: Path, options: EngineOptions
) -> Reading:
    """Read `samples` with an engine, lines and pages each in their own way."""
    found: dict[str, Prediction] = {}
    failures: list[str] = []
    names: list[str] = []
    for granularity in sorted({sample.granularity for sample in samples}):
        part = [sample for sample in samples if sample.granularity == granularity]
        engine = load_engine(
            name,
            EngineOptions(
                granularity=granularity,
                languages=options.languages,
                model=options.model,
                threads=options.threads,
            ),
        )
        names.append(engine.name)
        found |= {p.id: p for p in run_engine(engine, part, image_root, failures)}
    notes = [f"could not be read: {failure}" for failure in failures[:10]]
    return Reading(
        name=" + ".join(names),
        predictions=[found[sample.id] for sample in samples],
        failures=tuple(failures),
        notes=tuple(notes),
    )
