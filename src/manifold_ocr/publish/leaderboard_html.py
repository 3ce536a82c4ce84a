"""The leaderboard as one HTML page: sortable tables, a Pareto plot per track, no network needed."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from manifold_ocr.evaluation.markdown import render, whole
from manifold_ocr.publish.leaderboard import COSTS, SIZES, efficiency, sizes
from manifold_ocr.publish.ranking import Board, Entry, Track

SHARES = (
    ("cer", "CER"),
    ("cer_without_spaces", "CER, no spaces"),
    ("wer", "WER"),
    ("token_f1", "Token F1"),
    ("exact_match", "Exact"),
)
AXES = {  # the first that tells two systems of a track apart is drawn
    "seconds": "seconds per row",
    "memory_gib": "memory, GiB",
    "cost_usd": "USD per 1,000 rows",
    "vision_tokens": "vision tokens per row",
    "parameters": "parameters",
}
PLOT = (720, 340)  # pixels
LEFT, RIGHT, TOP, BOTTOM = 56, 24, 30, 52  # of the frame
LABEL = 15  # pixels between the baselines of two names


def html(title: str, board: Board, gate_line: str, compress: Mapping[str, Any]) -> str:
    """Return the page; every figure comes from the arguments."""
    return render(
        "publish/templates/leaderboard.html.j2",
        title=title,
        gate=gate_line,
        passed="REFUSED" not in gate_line,
        tracks=[
            {
                "track": track,
                "page_set": track.page_set[:12],
                "columns": [*(name for _, name in SHARES), *(name for _, name, _ in COSTS)],
                "rows": [
                    *(_row(str(rank), rank, entry) for rank, entry in track.ranked),
                    *(_row("part", None, entry) for entry in track.partial),
                    *(_row("-", None, entry) for entry in board.retracted if _is_of(entry, track)),
                ],
                "plot": plot(track),
            }
            for track in board.tracks
        ],
        elsewhere=[
            (entry.name, entry.about.retracted)
            for entry in board.retracted
            if not any(_is_of(entry, track) for track in board.tracks)
        ],
        size_titles=[name for _, name in SIZES],
        size_rows=sizes(compress),
        efficiency_rows=efficiency(compress),
        apart=[(name, reason.split("`")) for name, reason in board.apart],
    )


def _is_of(entry: Entry, track: Track) -> bool:
    known = (track.corpus, track.granularity, track.profile)
    return (entry.corpus, entry.granularity, entry.profile) == known


def _row(shown: str, rank: int | None, entry: Entry) -> dict[str, Any]:
    """Return the cells of one system: what is shown, what is below it, the number to sort by."""
    about = entry.about
    part = "" if rank or about.retracted else f"{whole(entry.rows)} rows"
    cells: list[tuple[str, str, float | None]] = [(shown, part, rank)]
    for key, _ in SHARES:
        value, low = entry.values.get(key), entry.values.get(f"{key}_low")
        below = "" if low is None else f"{100 * low:.2f} to {100 * entry.values[f'{key}_high']:.2f}"
        cells.append(("-" if value is None else f"{100 * value:.2f}", below, value))
    for key, _, form in COSTS:
        value = getattr(about, key)
        text = short(value) if key == "parameters" and value else form.format(value or 0)
        cells.append(("-" if value is None else text, "", value))
    return {
        "name": entry.name,
        "url": about.url if about.url.startswith("https://") else "",
        "hardware": about.hardware,
        "license": about.license or "-",
        "contaminated": about.contaminated,
        "retracted": about.retracted,
        "cells": cells,
    }


def plot(track: Track) -> dict[str, Any] | None:
    """Return points of CER against a cost, and those that no other beats.

    None where no cost tells two systems apart. The CER axis starts at zero, the cost is on a
    logarithmic axis.
    """
    entries = [entry for _, entry in track.ranked]
    axis = next((a for a in AXES if len({getattr(e.about, a) for e in entries} - {None}) > 1), None)
    if axis is None:
        return None
    known = [(e, float(getattr(e.about, axis))) for e in entries if getattr(e.about, axis)]
    left, right = min(cost for _, cost in known) / 1.4, max(cost for _, cost in known) * 1.4
    top = 1.2 * max(entry.cer for entry, _ in known) or 0.01
    width, height = PLOT[0] - LEFT - RIGHT, PLOT[1] - TOP - BOTTOM

    def x(cost: float) -> float:
        return round(LEFT + width * math.log(cost / left) / math.log(right / left), 1)

    def y(share: float) -> float:
        return round(PLOT[1] - BOTTOM - height * share / top, 1)

    front = sorted((cost, e.cer) for e, cost in known if _unbeaten(e, cost, known))
    return {
        "width": PLOT[0],
        "height": PLOT[1],
        "frame": (LEFT, TOP, width, height),
        "points": _labeled(
            [
                {
                    "name": e.name,
                    "at": (x(cost), y(e.cer)),
                    "label": f"{e.name}: CER {100 * e.cer:.2f} %, {AXES[axis]} {short(cost)}",
                    "front": _unbeaten(e, cost, known),
                }
                for e, cost in known
            ]
        ),
        "front": " ".join(f"{x(cost)},{y(cer)}" for cost, cer in front),
        "x_title": f"{AXES[axis]} (logarithmic)",
        "x_ticks": [(x(cost), short(cost)) for cost in ticks(left, right)],
        "y_ticks": [(y(share / 100), f"{share:.3g}") for share in even_ticks(100 * top)],
        "unknown": [e.name for e in entries if not getattr(e.about, axis)],
    }


def _labeled(points: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Give each point a place for its name: beside it, moved down where another name is."""
    taken: list[tuple[float, float, float]] = []  # left, right and baseline of names
    for point in sorted(points, key=lambda p: (p["at"][1], p["at"][0])):
        x, y = point["at"]
        size = 7.0 * len(point["name"])
        inside = x + 10 + size < PLOT[0]
        start = x + 10 if inside else x - 10 - size
        line = y + 4
        while any(a < start + size and start < b and abs(line - c) < LABEL for a, b, c in taken):
            line += 1
        taken.append((start, start + size, line))
        point["text"] = (round(x + 10 if inside else x - 10, 1), round(line, 1), not inside)
    return points


def ticks(low: float, high: float) -> list[float]:
    """Return round numbers between two on a logarithmic axis, or the ends where few are."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1, 2, 5), (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9)):
        found = [f * 10.0**power for power in powers for f in factors]
        found = [value for value in found if low <= value <= high]
        if len(found) > 1:
            return found
    return [low, high]


def even_ticks(top: float) -> list[float]:
    """Return 0 and up to six round steps below `top`."""
    power = 10.0 ** math.floor(math.log10(top))
    step = next(f * power for f in (0.2, 0.5, 1, 2) if top <= 6 * f * power)
    return [step * n for n in range(int(top / step + 1e-9) + 1)]


def short(value: float) -> str:
    """Return a number of three digits, thousands and millions by letter: 5.28 M."""
    for limit, letter in ((1e9, " B"), (1e6, " M"), (1e4, " k")):
        if value >= limit:
            scale = 1e3 if letter == " k" else limit
            return f"{value / scale:.3g}{letter}"
    return f"{value:.3g}"


def _unbeaten(entry: Entry, cost: float, known: Sequence[tuple[Entry, float]]) -> bool:
    """Tell whether no other is as good in error and cost, and better in one."""
    return not any(
        other.cer <= entry.cer and price <= cost and (other.cer, price) != (entry.cer, cost)
        for other, price in known
    )
