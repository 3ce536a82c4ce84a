"""Plot data (CSV, for DVC) and the same plots as PNG, byte for byte reproducible."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from manifold_ocr.compression import optical
from manifold_ocr.compression.check import Check
from manifold_ocr.compression.fidelity import micro_ned
from manifold_ocr.compression.signatures import Codec
from manifold_ocr.compression.verify import Rate
from manifold_ocr.files import atomic_write

STEPS = 50  # points of a ROC curve that are written
COMPRESSION = "compression: text tokens per vision token"
TEXT = "with text check"
Rows = list[dict[str, Any]]


def write_plots(check: Check, compared: Sequence[optical.Efficiency], folder: Path) -> None:
    """Write the plot data (optical, roc, sizes, documents) and optical, front and roc.png."""
    points = optical.reference_points()
    for name, pages in check.optical.items():
        points += optical.points(name, optical.bucket_pages(pages))
    write_csv(folder / "optical.csv", [_point_row(point) for point in points])
    curves = roc_rows(check)
    write_csv(folder / "roc.csv", curves)
    write_csv(folder / "sizes.csv", size_rows(check))
    write_csv(folder / "documents.csv", document_rows(check))
    draw_optical(points, folder / "optical.png")
    if curves:
        draw_roc(curves, decided_rows(check), folder / "roc.png")
    if compared:
        draw_front(compared, folder / "front.png")


def _point_row(point: optical.Point) -> dict[str, Any]:
    return {
        "compression": round(point.ratio, 4),
        "precision": round(point.precision, 4),
        "system": point.system,
        "text_tokens": point.label,
        "pages": point.pages,
    }


def roc_rows(check: Check) -> Rows:
    """Return (corpus, method, threshold, false and true positive rate) rows."""
    rows: Rows = []
    for item in check.verification:
        for method, curve in item.curves.items():
            if curve is None or method == TEXT:  # its score is the tolerant one
                continue
            size = len(curve.thresholds) - 1
            for i in range(0, size + 1, max(1, size // STEPS)):
                rows.append(
                    {
                        "false_positive_rate": round(curve.false_positive_rates[i], 6),
                        "true_positive_rate": round(curve.true_positive_rates[i], 6),
                        "threshold": curve.thresholds[i],
                        "corpus": item.corpus,
                        "method": method,
                    }
                )
    return rows


def decided_rows(check: Check) -> Rows:
    """Return (corpus, false and true positive rate) of the decision with the text check."""
    rows: Rows = []
    for item in check.verification:
        wrong, found = (
            sum((s.decisions for s in item.methods[TEXT] if s.positive == positive), Rate(0, 0))
            for positive in (False, True)
        )
        if wrong.value is not None and found.value is not None:
            rows.append(
                {
                    "corpus": item.corpus,
                    "false_positive_rate": wrong.value,
                    "true_positive_rate": found.value,
                }
            )
    return rows


def size_rows(check: Check) -> Rows:
    """Return (corpus, method, ratio) rows, the signature counts included."""
    rows: Rows = []
    for item in check.texts:
        ratios = {
            "signatures, older count": item.account.signature_ratio,
            "signatures, all bytes": item.account.stored_ratio,
            "signatures on random text, older count": item.controls[0].account.signature_ratio,
        }
        for name, size in item.table.sizes.items():
            ratios[name] = item.table.original_bytes / size if size else None
        rows += [
            {"corpus": item.corpus, "method": name, "ratio": round(value, 4)}
            for name, value in ratios.items()
            if value is not None
        ]
    return rows


def document_rows(check: Check) -> Rows:
    """Return one row a page: its sizes, rebuilding error and each system's reading error."""
    rows: Rows = []
    for place, text in enumerate(check.texts):
        systems = {name: items[place] for name, items in check.systems.items()}
        for i, (document, rebuilt) in enumerate(zip(text.documents, text.rebuilt, strict=True)):
            signatures = Codec.of(check.config).payload_bytes * len(document.entries)
            row: dict[str, Any] = {
                "corpus": text.corpus,
                "page": document.id,
                "bytes": document.length,
                "windows": document.windows,
                "signatures": len(document.entries),
                "signature_ratio": round(document.length / signatures, 4) if signatures else "",
                "tokens": rebuilt.tokens.n,
                "rebuilt_ned": round(micro_ned([rebuilt.characters]), 6),
            }
            for name, system in systems.items():
                row[f"{name}_ned"] = round(micro_ned([system.fidelity[i].characters]), 6)
            rows.append(row)
    return rows


def write_csv(path: Path, rows: Rows) -> None:
    """Write rows with the keys of the first as header; an empty list gives an empty file."""
    with atomic_write(path) as file:
        if rows:
            writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)


def _figure() -> tuple[Any, Any]:
    """Return a figure drawn without a display, a style file or a clock."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 4.8), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.add_subplot()


def _save(figure: Any, path: Path, title: str, x: str, y: str) -> None:
    """Name the axes, add grid and legend, write the PNG."""
    (axes,) = figure.axes
    axes.set(title=title, xlabel=x, ylabel=y)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    with atomic_write(path, "wb") as file:
        figure.savefig(file, format="png", metadata={"Software": None})


def _compression_axis(axes: Any, values: Sequence[float]) -> None:
    """Make the x axis logarithmic with plain numbers, and mark 1x where it lies inside."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}x"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    if values and min(values) < 1 < max(values):
        axes.axvline(1, color="grey", linewidth=0.8, linestyle=":")
    axes.margins(0.1)


def draw_optical(points: Sequence[optical.Point], path: Path) -> None:
    """Draw precision against compression, one line a system."""
    figure, axes = _figure()
    for number, system in enumerate(dict.fromkeys(point.system for point in points)):
        own = sorted((p for p in points if p.system == system), key=lambda p: p.ratio)
        published = "published" in system
        axes.plot(
            [point.ratio for point in own],
            [100 * point.precision for point in own],
            marker="os^Dv<>P"[number % 8],
            linestyle="--" if published else "-",
            label=system,
            alpha=0.6 if published else 1.0,
        )
    _compression_axis(axes, [point.ratio for point in points])
    title = "Reading precision against optical compression, by text length"
    _save(figure, path, title, COMPRESSION, "precision of the tokens read (%)")


def draw_front(rows: Sequence[optical.Efficiency], path: Path) -> None:
    """Draw accuracy against compression, one point a system, those on the front joined."""
    figure, axes = _figure()
    for row in rows:
        axes.plot(
            row.compression,
            100 * row.accuracy,
            marker="o" if row.on_front else "x",
            linestyle="",
            label=f"{row.system}{'' if row.on_front else ' (another is better)'}",
        )
    front = sorted((r for r in rows if r.on_front), key=lambda row: row.compression)
    x, y = [r.compression for r in front], [100 * r.accuracy for r in front]
    axes.plot(x, y, color="grey", linewidth=0.8, zorder=0)
    _compression_axis(axes, [row.compression for row in rows])
    title = "Accuracy against optical compression: the front"
    _save(figure, path, title, COMPRESSION, "accuracy, 1 - NED (%)")


def draw_roc(rows: Rows, decided: Rows, path: Path) -> None:
    """Draw true against false positive rates, one line a corpus and method.

    `decided` are single points: what the text check decides, which has no threshold here.
    """
    figure, axes = _figure()
    corpora = list(dict.fromkeys(row["corpus"] for row in rows))
    color = {corpus: f"C{number % 10}" for number, corpus in enumerate(corpora)}
    for corpus, method in dict.fromkeys((row["corpus"], row["method"]) for row in rows):
        own = [row for row in rows if (row["corpus"], row["method"]) == (corpus, method)]
        axes.plot(
            [0.0, *(100 * row["false_positive_rate"] for row in own)],
            [0.0, *(100 * row["true_positive_rate"] for row in own)],
            label=f"{corpus}: {method}",
            linestyle="-" if "gated" in method else "--",
            color=color[corpus],
        )
    for row in decided:
        place = (100 * row["false_positive_rate"], 100 * row["true_positive_rate"])
        corpus = row["corpus"]
        label = f"{corpus}: {TEXT}"
        axes.plot(*place, "*", markersize=12, color=color.get(corpus, "black"), label=label)
    axes.plot([0, 100], [0, 100], color="grey", linewidth=0.8, label="guessing")
    title = "Signatures as evidence: all thresholds of the share of matching windows"
    x = "false positive rate: foreign pages called the same (%)"
    _save(figure, path, title, x, "recall: altered copies recognized (%)")
