"""Histograms of the kept rows as CSV files that `dvc plots` draws."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from manifold_ocr.files import atomic_write
from manifold_ocr.manifest.build import BuildReport
from manifold_ocr.manifest.counts import HEIGHT_EDGES, LENGTH_EDGES


def write_plots(folder: Path, report: BuildReport) -> None:
    """Write label lengths (characters), image heights (pixels) and rows by subset."""
    folder.mkdir(parents=True, exist_ok=True)
    lengths = [("characters", name, c.lengths) for name, c in report.splits.items()]
    heights = [("pixels", name, c.heights) for name, c in report.splits.items()]
    _write_histogram(folder / "label_lengths.csv", LENGTH_EDGES, lengths)
    _write_histogram(folder / "image_heights.csv", HEIGHT_EDGES, heights)
    rows = [
        (subset, split, count)
        for split, counts in report.splits.items()
        for subset, count in counts.by("subset").items()
    ]
    _write(folder / "subsets.csv", ("subset", "split", "rows"), sorted(rows))


def _write_histogram(
    path: Path, edges: np.ndarray, series: list[tuple[str, str, np.ndarray]]
) -> None:
    rows = [
        (f"{low:05d}+", split, int(count))
        for _, split, counts in series
        for low, count in zip(edges[:-1], counts, strict=True)
    ]
    _write(path, (series[0][0], "split", "rows"), rows)


def _write(path: Path, header: tuple[str, ...], rows: Sequence[tuple[object, ...]]) -> None:
    with atomic_write(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
