"""Plot data (CSV, for DVC) and the same plots as PNG, byte for byte reproducible."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from manifold_ocr.compression import optical
from manifold_ocr.compression.check import Check
from manifold_ocr.compression.fidelity import micro_ned
from manifold_ocr.files import atomic_write

STEPS = 50  # points of a ROC curve that are written
Rows = list[dict[str, Any]]


def write_plots(check: Check, folder: Path) -> None:
    """Write optical.csv, roc.csv, sizes.csv, documents.csv and optical.png, roc.png below it."""
    points = optical.reference_points()
    for name, items in check.systems.items():
        pages = [page for item in items for page in item.optical]
        points += optical.points(name, optical.bucket_pages(pages))
    write_csv(folder / "optical.csv", [_point_row(point) for point in points])
    curves = roc_rows(check)
    write_csv(folder / "roc.csv", curves)
    write_csv(folder / "sizes.csv", size_rows(check))
    write_csv(folder / "documents.csv", document_rows(check))
    draw_optical(points, folder / "optical.png")
    if curves:
        draw_roc(curves, folder / "roc.png")


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
            if curve is None or method == "with text check":  # its score is the tolerant one
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
            signatures = check.config.codec.payload_bytes * len(document.entries)
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


def _save(figure: Any, path: Path) -> None:
    with atomic_write(path, "wb") as file:
        figure.savefig(file, format="png", metadata={"Software": None})


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
    axes.set_xscale("log")
    axes.set_xlabel("compression: text tokens per vision token (logarithmic)")
    axes.set_ylabel("precision (%)")
    axes.set_title("Reading precision against optical compression, by text length")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    _save(figure, path)


def draw_roc(rows: Rows, path: Path) -> None:
    """Draw true against false positive rates, one line a corpus and method."""
    figure, axes = _figure()
    for corpus, method in dict.fromkeys((row["corpus"], row["method"]) for row in rows):
        own = [row for row in rows if (row["corpus"], row["method"]) == (corpus, method)]
        axes.plot(
            [0.0, *(row["false_positive_rate"] for row in own)],
            [0.0, *(row["true_positive_rate"] for row in own)],
            label=f"{corpus}: {method}",
            linestyle="-" if "gated" in method else "--",
        )
    axes.plot([0, 1], [0, 1], color="grey", linewidth=0.8, label="guessing")
    axes.set_xlabel("false positive rate: foreign pages called the same")
    axes.set_ylabel("recall: altered copies recognised")
    axes.set_title("Signatures as evidence: all thresholds of the share of matching windows")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    _save(figure, path)


def draw_sweep(rows: Rows, path: Path) -> None:
    """Draw token accuracy and token F1 against optical compression, two points a preset."""
    figure, axes = _figure()
    ordered = sorted(rows, key=lambda row: row["compression"])
    x = [row["compression"] for row in ordered]
    style = "-" if len(set(x)) == len(x) else ""  # presets of one compression: points alone
    for key, marker, label in (
        ("token_accuracy", "o", "token accuracy"),
        ("token_f1", "s", "token F1"),
    ):
        y = [100 * row[key] for row in ordered]
        axes.plot(x, y, marker=marker, linestyle=style, label=label)
    for row in ordered:
        place = (row["compression"], 100 * row["token_accuracy"])
        axes.annotate(row["preset"], place, xytext=(6, 6), textcoords="offset points")
    axes.margins(0.12)
    axes.ticklabel_format(useOffset=False)
    axes.set_xlabel("compression: text tokens per vision token")
    axes.set_ylabel("share of tokens (%)")
    axes.set_title("Presets: reading accuracy against optical compression")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    _save(figure, path)
