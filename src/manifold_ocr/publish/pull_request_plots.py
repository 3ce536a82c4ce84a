"""The plots of a pull request's comment, as PNG, byte for byte reproducible."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from manifold_ocr.config import GateConfig
from manifold_ocr.evaluation.gate import refused
from manifold_ocr.files import atomic_write
from manifold_ocr.metrics.paired import Comparison

COLORS = {"refused": "#c62828", "worse": "#ef6c00", "better": "#2e7d32", "": "#616161"}


def draw_changes(
    comparisons: Sequence[Comparison], gate: GateConfig, path: Path, title: str
) -> None:
    """Draw the change of every group with its 95 % interval, points of CER, worse to the right."""
    lost = set(refused(comparisons, gate))
    figure, axes = _figure(0.9 + 0.3 * len(comparisons))
    for place, item in enumerate(reversed(comparisons)):
        kind = "refused" if item in lost else item.verdict if item.p is not None else ""
        color = COLORS.get(kind, COLORS[""])
        axes.plot([100 * item.low, 100 * item.high], [place, place], color=color, linewidth=2)
        axes.plot([100 * item.change], [place], "o", color=color)
    names = [item.name for item in reversed(comparisons)]
    axes.set_yticks(range(len(names)), [_plain(name) for name in names])
    axes.axvline(0, color="black", linewidth=0.8)
    axes.axvline(100 * gate.max_loss, color=COLORS["refused"], linewidth=0.8, linestyle="--")
    axes.set(
        title=title, xlabel="change of CER in points (dashed: the gate's limit), 95 % interval"
    )
    for kind, label in (("refused", "refused"), ("worse", "worse"), ("better", "better"),
                        ("", "no clear difference")):  # fmt: skip
        axes.plot([], [], "o-", color=COLORS[kind], label=label)
    _save(figure, path)


def draw_learning(before: str | None, after: str | None, base: str, path: Path) -> bool:
    """Draw validation CER by step of both sides (TSV: step, cer); False where there is none."""
    curves = {name: _curve(text) for name, text in ((base, before), ("this branch", after))}
    if not any(curves.values()):
        return False
    figure, axes = _figure(3.6)
    for number, (name, curve) in enumerate(curves.items()):
        if curve:
            style = {"color": ("#616161", "#1565c0")[number], "linestyle": ("--", "-")[number]}
            x, y = [step for step, _ in curve], [100 * cer for _, cer in curve]
            axes.plot(x, y, marker="o", label=_plain(name), **style)
    axes.set(title="Validation error while training", xlabel="optimizer steps", ylabel="CER (%)")
    axes.set_ylim(bottom=0)
    _save(figure, path)
    return True


def _curve(text: str | None) -> list[tuple[float, float]]:
    try:
        rows = csv.DictReader(io.StringIO(text or ""), delimiter="\t")
        return [(float(row["step"]), float(row["cer"])) for row in rows]
    except (KeyError, TypeError, ValueError):
        return []  # another form of the file: nothing to draw


def _plain(text: str) -> str:
    """Return a short text that matplotlib does not read as a formula."""
    return text.replace("$", r"\$")[:40]


def _figure(height: float) -> tuple[Any, Any]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, max(2.4, height)), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.add_subplot()


def _save(figure: Any, path: Path) -> None:
    (axes,) = figure.axes
    axes.grid(alpha=0.3)
    figure.legend(fontsize=8, loc="outside lower center", ncols=4)
    with atomic_write(path, "wb") as file:
        figure.savefig(file, format="png", metadata={"Software": None})
