"""Efficiency: accuracy and compression beside what a page costs, and who is on the front.

The one-number score is accuracy (1 - NED) times optical compression, relative to a baseline
system on the same manifest. It stands beside seconds, peak memory and energy a page, never
above them: see docs/compression_metrics.md for what it hides.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from manifold_ocr.compression import optical
from manifold_ocr.compression.check import Check
from manifold_ocr.config import build
from manifold_ocr.errors import UserError
from manifold_ocr.evaluation.markdown import percent, table, times


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What reading one page takes; None: not measured.

    Seconds, GiB at the peak (of the GPU's memory where a GPU reads, else of the process), joules
    of GPU energy.
    """

    seconds_per_page: float | None = None
    peak_memory_gib: float | None = None
    joules_per_page: float | None = None


@dataclass(frozen=True, slots=True)
class Efficiency:
    """One system: accuracy, compression, their product (absolute, and over the baseline's)."""

    system: str
    accuracy: float
    compression: float
    relative: float | None
    cost: Cost
    on_front: bool

    @property
    def product(self) -> float:
        """Accuracy times compression."""
        return self.accuracy * self.compression


def read_costs(path: Path) -> dict[str, Cost]:
    """Read {system: {seconds_per_page, peak_memory_gib, joules_per_page}} from a JSON file.

    Raises:
        UserError: missing, not JSON, an unknown key or a value that is no number.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file") from error
    except ValueError as error:
        raise UserError(f"{path}: not valid JSON ({error})") from error
    if not isinstance(value, dict):
        raise UserError(f"{path}: must be an object: a system's name and its costs")
    return {name: build(Cost, item, f"{path}: {name}") for name, item in value.items()}


def costs_of_perf(perf: Mapping[str, Any], rows_per_page: Mapping[str, float]) -> dict[str, Cost]:
    """Return what `evaluate` noted in metrics/perf.json about each system, for a page.

    `rows_per_page` is the mean number of rows that make a page. Energy is there only where a
    GPU read and NVML answered.
    """
    found = {}
    for name, rows in rows_per_page.items():
        noted = perf.get(f"evaluate_{name}", {})
        rate, watts = noted.get("rows_per_second"), noted.get("gpu_watts")
        seconds = rows / rate if rate else None
        found[name] = Cost(
            seconds_per_page=seconds,
            peak_memory_gib=noted.get("peak_gpu_memory_gib", noted.get("peak_memory_gib")),
            joules_per_page=watts * seconds if watts and seconds else None,
        )
    return found


def rows_per_page(check: Check) -> dict[str, float]:
    """Return the mean number of rows of a page by system."""
    return {
        name: sum(page.rows for page in pages.pages) / len(pages.pages)
        for name, pages in check.pages.items()
    }


def compare(check: Check, costs: Mapping[str, Cost], baseline: str = "") -> list[Efficiency]:
    """Return the systems whose vision tokens are known, in the order of the check.

    `baseline` names the system of relative score 1 (empty: the first named deepseek..., if
    any). The front is over accuracy, compression and, where all have them, seconds a page.

    Raises:
        UserError: the baseline is none of the systems.
    """
    pooled = {}
    for name, items in check.systems.items():
        pages = [page for item in items for page in item.optical]
        if pages:
            pooled[name] = optical.pool(name, pages)
    if baseline and baseline not in pooled:
        raise UserError(f"baseline {baseline!r}: not among {', '.join(pooled) or 'no systems'}")
    chosen = baseline or next((n for n in pooled if n.lower().startswith("deepseek")), "")
    unit = pooled[chosen].accuracy * pooled[chosen].ratio if chosen else 0.0
    seconds = [costs.get(name, Cost()).seconds_per_page for name in pooled]
    timed = all(value is not None for value in seconds)
    points = [
        (name, item.accuracy, item.ratio, -(value or 0.0) if timed else 0.0)
        for (name, item), value in zip(pooled.items(), seconds, strict=True)
    ]
    front = optical.pareto(points)
    return [
        Efficiency(
            system=name,
            accuracy=item.accuracy,
            compression=item.ratio,
            relative=item.accuracy * item.ratio / unit if unit else None,
            cost=costs.get(name, Cost()),
            on_front=name in front,
        )
        for name, item in pooled.items()
    ]


def section(rows: Sequence[Efficiency], with_costs: bool = True) -> str:
    """Return the Markdown section, costs a page in it or left out; empty without a system."""
    if not rows:
        return ""
    relative = any(row.relative is not None for row in rows)
    headings = ["system", "accuracy", "compression", "product", *["over baseline"] * relative]
    costs = [field.name for field in fields(Cost)] if with_costs else []
    cells = [
        [
            row.system,
            percent(row.accuracy),
            times(row.compression),
            f"{row.product:.2f}",
            *[times(row.relative)] * relative,
            *(_number(getattr(row.cost, name)) for name in costs),
            "yes" if row.on_front else "no",
        ]
        for row in rows
    ]
    titles = [name.replace("_per_page", " a page").replace("_gib", ", GiB") for name in costs]
    elsewhere = (
        " Joules are GPU energy by NVML; what nobody measured is not guessed."
        if with_costs
        else " Seconds, memory and energy are no part of this report, which is the same on every "
        "machine: see metrics/perf.json, or `manifold-ocr compress --costs`."
    )
    return f"""### Efficiency

Accuracy (1 - NED) times compression, and the front: a system stands on it when no other is at
least as good in every value and better in one. The product hides which value made it, and a
system that reads nothing costs nothing; choose by the front.{elsewhere}

![accuracy against compression](front.png)

{table([*headings, *(t.replace("_", " ") for t in titles), "on the front"], cells)}"""


def describe(row: Efficiency) -> str:
    """Return one line for the terminal."""
    cost = row.cost
    return (
        f"{row.system}: accuracy x compression {row.product:.3f}; a page takes "
        f"{_number(cost.seconds_per_page, ' s')}, peak memory "
        f"{_number(cost.peak_memory_gib, ' GiB')}, GPU energy {_number(cost.joules_per_page, ' J')}"
    )


def _number(value: float | None, unit: str = "") -> str:
    return "not measured" if value is None else f"{value:.3g}{unit}"
