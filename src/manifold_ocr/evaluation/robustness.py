"""How fast does reading fail as images get worse? Sweeps of one harm at a time.

Each sweep damages the same sample of test lines at growing strength and reads them again;
the sample and the damage are seeded per row, so a curve is the same on every machine.
"""

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from manifold_ocr.augment import ops
from manifold_ocr.augment.ops import generator, paper_level, to_array
from manifold_ocr.config import EvaluateConfig
from manifold_ocr.errors import UserError
from manifold_ocr.files import atomic_write, sha256_text
from manifold_ocr.images import load_sample
from manifold_ocr.metrics.score import score_rows, summarize
from manifold_ocr.models.base import OcrModel
from manifold_ocr.records import Prediction, Sample
from manifold_ocr.resources import progress

Harm = Callable[[np.random.Generator, Image.Image, int], Image.Image]
KEPT = ("cer", "cer_low", "cer_high", "insertion_rate", "deletion_rate", "exact_match", "n")


@dataclass(frozen=True, slots=True)
class Sweep:
    """One harm at growing strength; `unit` says what `levels` count. 0 leaves images alone."""

    unit: str
    levels: tuple[int, ...]
    harm: Harm


def rotate(rng: np.random.Generator, image: Image.Image, tenths: int) -> Image.Image:
    """Rotate by `tenths` of a degree, either way, on paper large enough for every corner."""
    sign = 1 if rng.integers(2) else -1
    return image.rotate(
        sign * tenths / 10,
        Image.Resampling.BICUBIC,
        expand=True,
        fillcolor=paper_level(to_array(image)),
    )


SWEEPS: dict[str, Sweep] = {
    "blur": Sweep("tenths of a pixel", (0, 5, 10, 15, 20, 30), lambda _, im, s: ops.blur(im, s)),
    "noise": Sweep("gray levels of standard deviation", (0, 8, 16, 24, 32, 48), ops.grain),
    "rotation": Sweep("tenths of a degree", (0, 10, 20, 30, 50, 80), rotate),
    "jpeg": Sweep(
        "100 less JPEG quality", (0, 40, 60, 75, 85, 92), lambda _, im, s: ops.jpeg(im, 100 - s)
    ),
    "downscale": Sweep(
        "percent of the resolution lost",
        (0, 25, 40, 55, 65, 75),
        lambda _, im, s: ops.fewer_pixels(im, 100 - s),
    ),
}


def pick(samples: Sequence[Sample], count: int, seed: int) -> list[Sample]:
    """Return `count` line samples, chosen by hash: adding rows moves few others.

    Raises:
        UserError: there is no line to read.
    """
    lines = [s for s in samples if s.granularity == "line" and s.task == "transcribe"]
    if not lines:
        raise UserError("the robustness sweep needs lines; the manifest holds none")
    return sorted(lines, key=lambda s: sha256_text(f"{seed}:{s.id}"))[:count]


def damaged(
    samples: Sequence[Sample], image_root: Path, name: str, level: int, seed: int
) -> Iterator[Image.Image]:
    """Yield each sample's image under one harm; level 0 is the image as it is, in gray."""
    for sample in samples:
        image = load_sample(sample, image_root).convert("L")
        if level:
            image = SWEEPS[name].harm(generator(seed, name, level, sample.id), image, level)
        yield image.convert("RGB")


def sweep(
    model: OcrModel,
    samples: Sequence[Sample],
    image_root: Path,
    name: str,
    config: EvaluateConfig,
    clean: Mapping[str, float] | None = None,
) -> list[dict[str, float]]:
    """Return one row of scores a level; `clean` are those of level 0 where already known."""
    rows = []
    for level in SWEEPS[name].levels:
        if level == 0 and clean is not None:
            rows.append({**clean, "level": 0})
            continue
        images = damaged(samples, image_root, name, level, config.seed)
        results = progress(model.recognize(images), f"{name} {level}", total=len(samples))
        predictions = [
            Prediction(id=sample.id, text=result.text)
            for sample, result in zip(samples, results, strict=True)
        ]
        overall = summarize(score_rows(samples, predictions, config), config)["overall"]
        rows.append({"level": level, **{key: overall[key] for key in KEPT if key in overall}})
    return rows


def sweep_all(
    models: Mapping[str, OcrModel],
    samples: Sequence[Sample],
    image_root: Path,
    names: Sequence[str],
    config: EvaluateConfig,
) -> dict[str, dict[str, list[dict[str, float]]]]:
    """Return {sweep: {system: rows}}; undamaged images are read once a system."""
    curves: dict[str, dict[str, list[dict[str, float]]]] = {name: {} for name in names}
    for system, model in models.items():
        clean: dict[str, float] | None = None
        for name in names:
            curves[name][system] = sweep(model, samples, image_root, name, config, clean)
            clean = curves[name][system][0]
    return curves


def write_curves(
    curves: Mapping[str, Mapping[str, Sequence[Mapping[str, float]]]], folder: Path
) -> None:
    """Write one CSV a sweep: `series` (the system), `level`, `cer` and its interval.

    These are the columns that the DVC template `interval` draws (.dvc/plots/interval.json).
    """
    for name, systems in curves.items():
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(["series", "level", "cer", "low", "high"])
        for system, rows in systems.items():
            for row in rows:
                values = [row.get(column, "") for column in ("cer", "cer_low", "cer_high")]
                writer.writerow([system, row["level"], *values])
        with atomic_write(folder / f"{name}.csv") as file:
            file.write(buffer.getvalue())


def as_metrics(
    curves: Mapping[str, Mapping[str, Sequence[Mapping[str, float]]]],
) -> dict[str, Any]:
    """Return {system: {sweep: {level: scores}}} as finite scalars."""
    systems = next(iter(curves.values()))
    return {
        system: {
            name: {
                str(int(row["level"])): {k: v for k, v in row.items() if k != "level"}
                for row in per_system[system]
            }
            for name, per_system in curves.items()
        }
        for system in systems
    }
