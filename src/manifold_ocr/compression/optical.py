"""Optical compression: text tokens over vision tokens, by text length, beside published rows.

The ratio of a page is its text tokens (metric tokenizer, which must be named) over the
positions that the decoder was really fed for its image. The reference study counts vision
tokens without the separators its code adds, so both counts of its modes are kept.

Efficiency is accuracy (1 - NED) times optical compression, relative to a baseline system on the
same manifest. It stands beside seconds, peak memory and energy per page, never above them: see
docs/compression_metrics.md for what it hides.
"""

import importlib.resources
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from manifold_ocr.compression.fidelity import Fidelity, lcs_scores, micro_ned
from manifold_ocr.compression.pages import Pages
from manifold_ocr.errors import UserError, build
from manifold_ocr.evaluation.markdown import digits, percent, times, whole
from manifold_ocr.files import read_json
from manifold_ocr.settings import Float, settings

BUCKETS = tuple((low, low + 100) for low in range(600, 1300, 100))


@dataclass(frozen=True, slots=True)
class Mode:
    """A fixed vision budget: image side in pixels, tokens as reported, positions as fed."""

    name: str
    resolution: int
    vision_tokens: int
    positions: int
    fit: str


@lru_cache(maxsize=1)
def reference() -> dict[str, Any]:
    """Return the published figures with their source (values only, transcribed)."""
    path = importlib.resources.files("manifold_ocr.compression") / "deepseek_reference.json"
    value: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return value


def modes() -> dict[str, Mode]:
    """Return the published modes by name: tiny 64, small 100, base 256, large 400 tokens."""
    return {
        name: Mode(name, row["resolution"], row["vision_tokens"], row["positions"], row["fit"])
        for name, row in reference()["modes"].items()
    }


@dataclass(frozen=True, slots=True)
class OpticalPage:
    """One page: vision tokens it cost and how the reading compares with the reference."""

    id: str
    corpus: str
    vision_tokens: int
    fidelity: Fidelity

    @property
    def text_tokens(self) -> int:
        """Tokens of the reference text."""
        return self.fidelity.tokens.n


@dataclass(frozen=True, slots=True)
class Bucket:
    """Pages of similar text length: `label`, page count, pooled ratio and accuracies.

    `ratio` is pooled text tokens over pooled vision tokens; `precision` and `f1` are over
    token common subsequences, `accuracy` is 1 - NED over characters.
    """

    label: str
    pages: int
    text_tokens: int
    vision_tokens: int
    precision: float
    f1: float
    accuracy: float

    @property
    def ratio(self) -> float:
        """Pooled text tokens over pooled vision tokens."""
        return self.text_tokens / self.vision_tokens if self.vision_tokens else 0.0


def bucket_pages(pages: Sequence[OpticalPage]) -> list[Bucket]:
    """Return the non-empty length buckets of the reference study, and those below and above."""
    limits = [(0, BUCKETS[0][0]), *BUCKETS, (BUCKETS[-1][1], None)]
    found = []
    for low, high in limits:
        inside = [
            page
            for page in pages
            if page.text_tokens >= low and (high is None or page.text_tokens < high)
        ]
        if inside:
            label = f"{low}+" if high is None else f"{low}-{high}"
            found.append(pool(label, inside))
    return found


def pool(label: str, pages: Sequence[OpticalPage]) -> Bucket:
    """Return the pooled figures of some pages."""
    precision, _, f1 = lcs_scores([page.fidelity.tokens for page in pages])
    return Bucket(
        label=label,
        pages=len(pages),
        text_tokens=sum(page.text_tokens for page in pages),
        vision_tokens=sum(page.vision_tokens for page in pages),
        precision=precision,
        f1=f1,
        accuracy=1 - micro_ned([page.fidelity.characters for page in pages]),
    )


@dataclass(frozen=True, slots=True)
class Point:
    """One point of the precision-against-compression plot."""

    system: str
    label: str
    pages: int
    ratio: float
    precision: float


def reference_points() -> list[Point]:
    """Return the published Fox rows at 64 and 100 vision tokens."""
    return [
        Point(
            f"DeepSeek-OCR {name} ({tokens} tokens), published",
            f"{row['text_tokens_low']}-{row['text_tokens_high']}",
            row["pages"],
            row[f"compression_{tokens}"],
            row[f"precision_{tokens}"],
        )
        for name, tokens in (("tiny", 64), ("small", 100))
        for row in reference()["fox"]
    ]


def points(system: str, buckets: Sequence[Bucket]) -> list[Point]:
    """Return one point a bucket for the plot."""
    return [Point(system, item.label, item.pages, item.ratio, item.precision) for item in buckets]


def pareto(candidates: Sequence[tuple[str, *tuple[float, ...]]]) -> list[str]:
    """Return the names that no other beats: as good in all values, better in one.

    Values are those where higher is better.
    """

    def beaten(values: tuple[float, ...], by: tuple[float, ...]) -> bool:
        return values != by and all(b >= a for a, b in zip(values, by, strict=True))

    return [
        name
        for name, *values in candidates
        if not any(beaten(tuple(values), tuple(others)) for _, *others in candidates)
    ]


@settings
class Cost:
    """What reading one page takes; None: not measured.

    Seconds, GiB at the peak (of the GPU's memory where a GPU reads, else of the process), joules
    of GPU energy.
    """

    seconds_per_page: Float | None = None
    peak_memory_gib: Float | None = None
    joules_per_page: Float | None = None


COST_TITLES = {
    "seconds_per_page": "seconds per page",
    "peak_memory_gib": "peak memory, GiB",
    "joules_per_page": "joules per page",
}


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
    value = read_json(path)
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


def rows_per_page(systems: Mapping[str, Pages]) -> dict[str, float]:
    """Return the mean number of rows of a page by system."""
    return {
        name: sum(page.rows for page in pages.pages) / len(pages.pages)
        for name, pages in systems.items()
    }


def compare(
    systems: Mapping[str, Sequence[OpticalPage]], costs: Mapping[str, Cost], baseline: str = ""
) -> list[Efficiency]:
    """Return the systems whose vision tokens are known, in the order given.

    `baseline` names the system of relative score 1 (empty: the first named deepseek..., if
    any). The front is over accuracy, compression and, where all have them, seconds per page.

    Raises:
        UserError: the baseline is none of the systems.
    """
    pooled = {name: pool(name, pages) for name, pages in systems.items() if pages}
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
    front = pareto(points)
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


def describe(row: Efficiency) -> str:
    """Return one line for the terminal."""
    costs = [
        digits(value, ".3g", "not measured")
        for value in (row.cost.seconds_per_page, row.cost.peak_memory_gib, row.cost.joules_per_page)
    ]
    return (
        f"{row.system}: accuracy x compression {row.product:.3f}; seconds per page {costs[0]}, "
        f"peak memory in GiB {costs[1]}, joules of GPU energy per page {costs[2]}"
    )


def bucket_row(name: str, item: Bucket) -> list[str]:
    """Return a row of the report's table: a system on pages of one text length."""
    tokens = [f"{n / item.pages:.0f}" for n in (item.text_tokens, item.vision_tokens)]
    shares = map(percent, (item.precision, item.f1, item.accuracy))
    return [name, item.label, whole(item.pages), *tokens, times(item.ratio), *shares]


def published_rows() -> list[list[str]]:
    """Return the rows of the report's table of published figures."""
    rows = []
    for row in reference()["fox"]:
        cells = [f"{row['text_tokens_low']}-{row['text_tokens_high']}", whole(row["pages"])]
        for tokens in (64, 100):
            cells += [times(row[f"compression_{tokens}"]), percent(row[f"precision_{tokens}"])]
        rows.append(cells)
    return rows


def efficiency_table(
    rows: Sequence[Efficiency], *, with_costs: bool
) -> tuple[list[str], list[list[str]]]:
    """Return headings and rows: costs per page where asked for, the baseline where there is one."""
    relative = any(row.relative is not None for row in rows)
    costs = list(COST_TITLES) if with_costs else []
    headings = ["system", "accuracy", "compression", "product", *["over baseline"] * relative]
    headings += [*(COST_TITLES[name] for name in costs), "on the front"]
    return headings, [
        [
            row.system,
            percent(row.accuracy),
            times(row.compression),
            f"{row.product:.2f}",
            *[times(row.relative)] * relative,
            *(digits(getattr(row.cost, name), ".3g", "not measured") for name in costs),
            "yes" if row.on_front else "no",
        ]
        for row in rows
    ]
