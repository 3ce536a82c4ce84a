"""Runs of neighbouring predictions that together are one reference block."""

import functools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from rapidfuzz.distance import Levenshtein
from rapidfuzz.process import cdist

from manifold_ocr.text import edit

CERTAIN_BELOW = 0.25
PART_WITHIN = 0.6
WINDOWS = 512

Run = tuple[int, ...]


def merge_runs(
    cost: npt.NDArray[np.float64], reference: Sequence[str], prediction: Sequence[str]
) -> list[Run]:
    """Partition the predictions into runs of neighbours (most of length one).

    Blocks with a partner below 0.25 stay out. Every other reference block names the run
    that fits it best; of overlapping runs the compatible set of lowest mean cost is kept.
    """
    certain = cost < CERTAIN_BELOW
    open_rows = [i for i in range(len(reference)) if not certain[i].any()]
    open_columns = [j for j in range(len(prediction)) if not certain[:, j].any()]
    wanted: list[tuple[Run, float]] = []
    for i in open_rows:
        runs = [_longest_run(reference[i], prediction, j, set(open_columns)) for j in open_columns]
        costs = [edit.ned(reference[i], " ".join(prediction[k] for k in run)) for run in runs]
        if runs:
            best = costs.index(min(costs))
            wanted.append((runs[best], costs[best]))
    chosen = {run[0]: run for run in _compatible(wanted)}
    result: list[Run] = []
    j = 0
    while j < len(prediction):
        run = chosen.get(j, (j,))
        result.append(run)
        j += len(run)
    return result


def _longest_run(text: str, prediction: Sequence[str], start: int, usable: set[int]) -> Run:
    """Extend a run from `start` while each further prediction brings it nearer to `text`."""
    run = [start]
    while run[-1] + 1 in usable:
        parts = [prediction[k] for k in (*run, run[-1] + 1)]
        if not _belongs(text, parts):
            break
        run.append(run[-1] + 1)
        if len(" ".join(parts)) > len(text):
            break
    return tuple(run)


def _belongs(text: str, parts: Sequence[str]) -> bool:
    """Whether the last part continues the run of the others inside `text`."""
    before, after = " ".join(parts[:-1]), " ".join(parts)
    if edit.ned(text, after) > edit.ned(text, before):
        return False
    inside = [window_distance(text, part) for part in parts]
    return all(d is not None and d <= PART_WITHIN for d in inside[:-1]) and (
        inside[-1] is not None and inside[-1] < PART_WITHIN
    )


@functools.lru_cache(maxsize=50_000)
def window_distance(text: str, part: str) -> float | None:
    """Smallest edit distance of `part` to a window of `text` of its length, by that length.

    None if `part` is empty or longer than `text`.
    """
    size = len(part)
    if size == 0 or size > len(text):
        return None
    best = size
    for first in range(0, len(text) - size + 1, WINDOWS):
        last = min(first + WINDOWS, len(text) - size + 1)
        windows = [text[k : k + size] for k in range(first, last)]
        found = cdist([part], windows, scorer=Levenshtein.distance, dtype=np.int32)
        best = min(best, int(found.min()))
        if best == 0:
            break
    return best / size


def _compatible(wanted: list[tuple[Run, float]]) -> list[Run]:
    """From overlapping runs keep, group by group, the disjoint set of lowest mean cost."""
    kept: list[Run] = []
    for group in _overlapping_groups(sorted(wanted, key=lambda item: item[0][0])):
        sets: list[dict[Run, float]] = []
        for run, cost in group:
            placed = False
            for candidate in sets:
                if run in candidate:
                    candidate[run] = min(candidate[run], cost)
                    placed = True
                elif not any(set(run) & set(other) for other in candidate):
                    candidate[run] = cost
                    placed = True
            if not placed:
                sets.append({run: cost})
        means = [sum(candidate.values()) / len(candidate) for candidate in sets]
        kept.extend(sets[means.index(min(means))])
    return kept


def _overlapping_groups(
    wanted: list[tuple[Run, float]],
) -> list[list[tuple[Run, float]]]:
    groups: list[list[tuple[Run, float]]] = []
    covered: set[int] = set()
    for run, cost in wanted:
        if groups and covered & set(run):
            groups[-1].append((run, cost))
            covered |= set(run)
        else:
            groups.append([(run, cost)])
            covered = set(run)
    return groups
