"""An engine's scores in the form that the leaderboard reads (metrics/engines/NAME.json)."""

import os
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from manifold_ocr.config import EvaluateConfig
from manifold_ocr.errors import UserError
from manifold_ocr.evaluation.report import EvalManifest
from manifold_ocr.files import read_json, sha256_json, sha256_text
from manifold_ocr.metrics.paired import document_sums
from manifold_ocr.metrics.score import score_rows, summarize
from manifold_ocr.models.conventions import applied, read_conventions
from manifold_ocr.reading.engines.base import EngineOptions, load_engine, run_engine
from manifold_ocr.reading.engines.predictions import import_predictions
from manifold_ocr.records import Prediction, Sample
from manifold_ocr.resources import peak_memory_gib
from manifold_ocr.settings import load_section


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Predictions in the order of the samples, who made them, and what went wrong.

    `notes` are lines for the terminal; `counts` says how many rows of an imported file
    matched, were missing and so on. `about` is what reading a row of each granularity
    took (seconds, memory_gib, vision_tokens, hardware).
    """

    name: str
    predictions: Sequence[Prediction]
    failures: Sequence[str] = ()
    notes: Sequence[str] = ()
    counts: dict[str, int] | None = None
    about: dict[str, dict[str, float | str]] = field(default_factory=dict)


def evaluate_config(params: Path) -> EvaluateConfig:
    """Return the `evaluate` section of a params file; the defaults where there is no params.yaml.

    Raises:
        UserError: another file was named and is not there, or the section is wrong.
    """
    if params == Path("params.yaml") and not params.exists():
        return EvaluateConfig()
    return load_section(EvaluateConfig, "evaluate", params)


def import_or_read(
    samples: Sequence[Sample],
    image_root: Path,
    model: Path | None,
    predictions: Path | None,
    text_key: str | None = None,
) -> Reading:
    """Import `predictions` where they are given, else read the images with `model`."""
    if predictions is not None:
        return import_file(predictions, samples, text_key)
    return read_samples_with("checkpoint", samples, image_root, EngineOptions(model=model))


def import_file(path: Path, samples: Sequence[Sample], text_key: str | None = None) -> Reading:
    """Import a prediction file or folder; every mismatch is counted and said."""
    imported = import_predictions(path, samples, text_key)
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
    about: dict[str, dict[str, float | str]] = {}
    for granularity in sorted({sample.granularity for sample in samples}):
        part = [sample for sample in samples if sample.granularity == granularity]
        engine = load_engine(
            name,
            replace(options, granularity=granularity),
        )
        names.append(engine.name)
        begin = time.perf_counter()
        read = list(run_engine(engine, part, image_root, failures))
        about[granularity] = _taken(read, time.perf_counter() - begin)
        found |= {prediction.id: prediction for prediction in read}
    notes = [f"could not be read: {failure}" for failure in failures[:10]]
    return Reading(
        name=" + ".join(names),
        predictions=applied(
            [found[sample.id] for sample in samples], samples, read_conventions(options.model)
        ),
        failures=tuple(failures),
        notes=tuple(notes),
        about=about,
    )


def _taken(read: Sequence[Prediction], seconds: float) -> dict[str, float | str]:
    """Return what reading one row took: seconds, peak memory of the process, vision tokens."""
    taken: dict[str, float | str] = {
        "seconds": round(seconds / len(read), 4),
        "memory_gib": round(peak_memory_gib(), 3),
        "hardware": f"{os.cpu_count()} CPU cores",
    }
    tokens = [p.vision_tokens for p in read if p.vision_tokens is not None]
    if len(tokens) == len(read):
        taken["vision_tokens"] = round(sum(tokens) / len(tokens), 1)
    return taken


def slug(name: str) -> str:
    """Return a file name for an engine's name: letters and digits of any script stay."""
    return re.sub(r"[^\w.-]+", "-", name).strip("-.").lower() or "engine"


def claim(path: Path, name: str) -> None:
    """Refuse to overwrite the result of a system of another name.

    Raises:
        UserError: `path` holds one.
    """
    held = read_json(path).get("name", name) if path.is_file() else name
    if held != name:
        raise UserError(f"{path} is the result of {held!r}; give {name!r} another --label")


def with_about(
    values: dict[str, Any], before: Path, stated: Mapping[str, Any], kinds: Iterable[str]
) -> dict[str, Any]:
    """Return a result with what is known of its system beside the scores.

    Times that were measured when these very predictions were read (`before`, the result that
    will be replaced) are kept: importing predictions again measures none. `stated` is what no
    run measures, such as the license; it is added for each of `kinds` (line, page).
    """
    held = read_json(before) if before.is_file() else {}
    about = values["about"]
    if not about and held.get("predictions_sha256") == values["predictions_sha256"]:
        about = held.get("about") or {}
    known = {key: value for key, value in stated.items() if value}
    if known:
        about = {kind: {**about.get(kind, {}), **known} for kind in sorted(kinds)}
    return {**values, "about": about}


def some_documents(samples: Sequence[Sample], count: int, seed: int) -> tuple[Sample, ...]:
    """Return all samples of `count` documents (0: of all), chosen by hash within each subset.

    Subsets take turns, so that a small sample holds a document of each.
    """
    if not count:
        return tuple(samples)
    by_subset: dict[tuple[str, str], set[str]] = {}
    for sample in samples:
        by_subset.setdefault((sample.corpus, sample.subset), set()).add(sample.document)
    queues = [
        [(corpus, d) for d in sorted(documents, key=lambda d: sha256_text(f"{seed}:{d}"))]
        for (corpus, _), documents in sorted(by_subset.items())
    ]
    longest = max(map(len, queues))
    turns = [queue[turn] for turn in range(longest) for queue in queues if turn < len(queue)]
    chosen = set(list(dict.fromkeys(turns))[:count])
    return tuple(s for s in samples if (s.corpus, s.document) in chosen)


def scores_of(
    name: str,
    manifest: EvalManifest,
    samples: Sequence[Sample],
    reading: Reading,
    config: EvaluateConfig,
) -> dict[str, Any]:
    """Return the metrics file of an engine that read `samples`, which `manifest` holds.

    `manifest_sha256` tells whether two files are comparable; `documents` are the sums of each
    document, from which the leaderboard compares in pairs with whatever else read them; `about`
    is what the reading took.
    """
    rows = score_rows(samples, reading.predictions, config)
    return {
        "name": name,
        "manifest_sha256": manifest.sha256,
        "import": reading.counts or {},
        "unreadable_images": len(reading.failures),
        "predictions_sha256": sha256_json([[p.id, p.text] for p in reading.predictions]),
        "about": reading.about,
        "documents": document_sums(rows),
        **summarize(rows, config),
    }
