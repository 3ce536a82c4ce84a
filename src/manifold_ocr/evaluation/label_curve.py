"""How many documents to label: trainings on more and more of them, and what more would give."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from manifold_ocr.config import EvaluateConfig
from manifold_ocr.errors import UserError
from manifold_ocr.images import load_sample
from manifold_ocr.metrics.bootstrap import (
    Floats,
    document_totals,
    percentile_interval,
    ratio,
    resampled_totals,
)
from manifold_ocr.metrics.score import score_rows
from manifold_ocr.models import conventions
from manifold_ocr.models.base import RunSpec, SampleReader
from manifold_ocr.models.registry import load_model
from manifold_ocr.records import Prediction, Sample
from manifold_ocr.training import run

BASE = 0  # the number of documents that the base model was shown
FEWEST_POINTS = 3  # trainings from which a trend is fitted


@dataclass(frozen=True, kw_only=True)
class Point:
    """One training: its documents and rows, and the error on the test rows in percent."""

    documents: int
    rows: int
    cer: float
    low: float
    high: float
    totals: Floats  # (test documents, 2): edits, characters

    def __str__(self) -> str:
        """Return the line that is printed of it."""
        what = f"{self.documents} documents, {self.rows:,} rows" if self.documents else "base model"
        return f"{what}: CER {self.cer:.2f} % [{self.low:.2f}, {self.high:.2f}]"


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """The change in points of CER from twice the documents, its 95 % interval."""

    documents: int
    value: float
    low: float
    high: float

    @property
    def worthwhile(self) -> bool:
        """Return whether the whole interval is a gain."""
        return self.high < 0


def first_documents(rows: Sequence[Sample], count: int, seed: int) -> list[Sample]:
    """Return the rows of `count` documents; more documents hold those of fewer."""

    def place(document: str) -> str:
        return hashlib.sha256(f"{seed}/{document}".encode()).hexdigest()

    chosen = set(sorted({row.document for row in rows}, key=place)[:count])
    return [row for row in rows if row.document in chosen]


def checked_sizes(sizes: Sequence[int], rows: Sequence[Sample]) -> list[int]:
    """Return the sizes in order that the training rows have documents for.

    Raises:
        UserError: none is left, or a size is not positive.
    """
    there = len({row.document for row in rows})
    if min(sizes, default=0) < 1:
        raise UserError("--documents: each number must be 1 or more, such as 10,20,50,100,200")
    kept = sorted({size for size in sizes if size <= there})
    if not kept:
        raise UserError(
            f"--documents: the training rows are of {there} documents; name a smaller number"
        )
    return kept


def label_curve(
    sizes: Sequence[int],
    settings: RunSpec,
    rows: Mapping[str, Sequence[Sample]],
    config: EvaluateConfig,
    work: Path,
) -> Iterator[Point]:
    """Yield the base model's point, then one for each number of documents.

    `rows` has `train`, `val` (which chooses the best checkpoint) and `test`, which is scored.
    Adapters stay in `work`. A training that was finished before is taken from the cache.
    """
    yield _point(BASE, [], _read(settings, None, rows["test"]), rows["test"], config)
    for size in sizes:
        chosen = first_documents(rows["train"], size, settings.train.seed)
        adapter = work / f"{size}-documents"
        shown = {"train": chosen, "val": rows["val"]}
        run.train(settings, shown, adapter, work / f"{size}-documents-metrics")
        yield _point(size, chosen, _read(settings, adapter, rows["test"]), rows["test"], config)


def _read(settings: RunSpec, adapter: Path | None, rows: Sequence[Sample]) -> list[Prediction]:
    model = load_model(replace(settings.model, id=str(settings.base)), adapter)
    if isinstance(model, SampleReader):
        found = model.recognize_samples(rows, settings.image_root)
    else:
        found = model.recognize(partial(load_sample, row, settings.image_root) for row in rows)
    read = [Prediction(id=row.id, text=r.text) for row, r in zip(rows, found, strict=True)]
    return conventions.applied(read, rows, conventions.read_conventions(adapter))


def _point(
    documents: int,
    trained: Sequence[Sample],
    read: Sequence[Prediction],
    rows: Sequence[Sample],
    config: EvaluateConfig,
) -> Point:
    scored = score_rows(rows, read, config)
    edits = [row.substitutions + row.deletions + row.insertions for row in scored]
    columns = np.array([edits, [row.reference_characters for row in scored]], np.float64).T
    totals = document_totals([row.document for row in scored], columns)
    drawn = _rates(resampled_totals(totals, config.bootstrap_samples, config.seed))
    found = percentile_interval(drawn)
    rate = float(_rates(totals.sum(0)[None])[0])
    low, high = (rate, rate) if found is None else (found.low, found.high)
    return Point(
        documents=documents, rows=len(trained), cer=rate, low=low, high=high, totals=totals
    )


def forecast(points: Sequence[Point], config: EvaluateConfig) -> Forecast | None:
    """Return what twice the most documents would change, None with too few trainings.

    The error falls as a power of the number of documents (Hestness et al. 2017): a line through
    the logarithms, fitted anew to each resample of the test documents, the same for all points.
    """
    trained = [point for point in points if point.documents != BASE]
    if len(trained) < FEWEST_POINTS:
        return None
    sizes = np.array([point.documents for point in trained], np.float64)
    whole = np.array([_rates(point.totals.sum(0)[None]) for point in trained])
    samples, seed = config.bootstrap_samples, config.seed
    drawn = np.array([_rates(resampled_totals(p.totals, samples, seed)) for p in trained])
    changes = _next_change(sizes, drawn)
    interval = percentile_interval(changes)
    if interval is None:
        return None
    return Forecast(
        documents=2 * int(sizes[-1]),
        value=float(_next_change(sizes, whole)[0]),
        low=interval.low,
        high=interval.high,
    )


def _rates(totals: Floats) -> Floats:
    return 100 * ratio(totals[:, 0], totals[:, 1])


def _next_change(sizes: Floats, rates: Floats) -> Floats:
    """Return the change at twice the last size of each column of `rates` (sizes, samples)."""
    x = np.log(sizes) - np.log(sizes).mean()
    y = np.log(np.maximum(rates, 1e-3))  # a percent's thousandth: no error at all has no logarithm
    slope = (x[:, None] * y).sum(0) / (x**2).sum()
    level = y.mean(0)
    last, following = x[-1], x[-1] + np.log(2)
    change: Floats = np.exp(level + slope * following) - np.exp(level + slope * last)
    return change


def table(points: Sequence[Point]) -> list[dict[str, Any]]:
    """Return the rows of the curve's CSV file (see `past_runs.write_curve`)."""
    return [
        {
            "series": "base" if point.documents == BASE else "adapter",
            "run": f"{point.rows} rows",
            "x": point.documents,
            "y": point.cer,
            "low": point.low,
            "high": point.high,
        }
        for point in points
    ]


def advice(points: Sequence[Point], found: Forecast | None) -> str:
    """Return one sentence on whether to label more."""
    last = points[-1]
    if found is None:
        return f"no trend: give {FEWEST_POINTS} numbers of documents or more"
    what = (
        f"from {last.documents} to {found.documents} documents the error is expected to change by "
        f"{found.value:+.2f} points [{found.low:+.2f}, {found.high:+.2f}]"
    )
    verdict = "label more" if found.worthwhile else "no gain that these test rows could show"
    return f"{what}: {verdict}"
