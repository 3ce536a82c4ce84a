"""Pair predicted blocks with reference blocks: the evaluator's `quick_match`.

1. Predictions within NED < 0.25 of an ignored block (caption, header, page number, ...) are
   set aside.
2. Runs of neighbouring predictions that together look like one reference block are merged.
3. Hungarian assignment on NED; pairs above 0.7 are rejected.
4. A rejected reference block found inside a prediction (a window of its own length within
   distance 0.4) joins that prediction.
5. What is left on both sides is paired by a second assignment; predictions still left over
   are dropped, reference blocks still left over count in full.

The evaluator of April 2025, whose numbers are still quoted, differs: see `Evaluator`.
There is no time limit: a page takes as long as it takes, so that a slow machine scores it
like a fast one.
"""

import functools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from rapidfuzz.distance import Levenshtein
from rapidfuzz.process import cdist
from scipy.optimize import linear_sum_assignment

from manifold_ocr.metrics import edit
from manifold_ocr.metrics.omnidocbench.blocks import IGNORED_CATEGORIES, Block

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


IGNORED_BELOW = 0.25
REJECTED_ABOVE = 0.7
FOUND_WITHIN = 0.4

Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluator:
    """A version of the evaluator; its name is part of every metric's name.

    `mixed`: text and formulas are matched together, ignored blocks first (step 1) and cells
    of spare tables join the text. `normalised_leftovers`: step 5 compares NED, not raw
    distances. `missing_twice`: where no prediction is left over, a reference block without
    partner is counted twice.
    """

    name: str
    mixed: bool
    normalised_leftovers: bool
    missing_twice: bool


V1_5 = Evaluator(name="v1_5", mixed=True, normalised_leftovers=True, missing_twice=False)
APRIL_2025 = Evaluator(name="2025_04", mixed=False, normalised_leftovers=False, missing_twice=True)


@dataclass(frozen=True, slots=True)
class Match:
    """Blocks of the reference (in order) and of the prediction that are compared as one.

    `prediction` is empty where nothing was found.
    """

    reference: tuple[Block, ...]
    prediction: tuple[Block, ...]

    @property
    def category(self) -> str:
        """The most common category of the reference blocks, ignored ones last."""
        names = [block.category for block in self.reference]
        kept = [name for name in names if name not in IGNORED_CATEGORIES]
        return Counter(kept or names).most_common(1)[0][0]

    @property
    def normalised(self) -> tuple[str, str]:
        """Reference and prediction as they are compared."""
        return (
            "".join(block.normalised for block in self.reference),
            "".join(block.normalised for block in self.prediction),
        )


def quick_match(
    reference: Sequence[Block], prediction: Sequence[Block], evaluator: Evaluator = V1_5
) -> list[Match]:
    """Match the text and formula blocks of one page; each reference block is in a match."""
    reference = [block for block in reference if block.text and block.normalised]
    prediction = [block for block in prediction if block.text and block.normalised]
    if len(reference) == 1 and len(prediction) == 1:
        return [Match((reference[0],), (prediction[0],))]
    if not prediction:
        return [Match((block,), ()) for block in reference]
    kept, ignored = reference, []
    if evaluator.mixed:
        ignored = [block for block in reference if block.category in IGNORED_CATEGORIES]
        kept = [block for block in reference if block.category not in IGNORED_CATEGORIES]
    if ignored:
        near = ned_matrix([b.normalised for b in ignored], [b.normalised for b in prediction])
        taken = set(np.flatnonzero((near < IGNORED_BELOW).any(axis=0)).tolist())
        prediction = [block for j, block in enumerate(prediction) if j not in taken]
    texts = [b.normalised for b in kept], [b.normalised for b in prediction]
    pairs = _pair(*texts, evaluator)
    return [
        Match(tuple(kept[i] for i in rows), tuple(prediction[j] for j in run))
        for rows, run in pairs
    ]


def ned_matrix(
    reference: Sequence[str], prediction: Sequence[str], *, normalised: bool = True
) -> Matrix:
    """NED (or plain distance) of every pair: (len(reference), len(prediction))."""
    if not reference or not prediction:
        return np.zeros((len(reference), len(prediction)))
    scorer = Levenshtein.normalized_distance if normalised else Levenshtein.distance
    return np.asarray(cdist(reference, prediction, scorer=scorer, dtype=np.float64))


def _pair(
    reference: list[str], prediction: list[str], evaluator: Evaluator
) -> list[tuple[list[int], Run]]:
    runs = merge_runs(ned_matrix(reference, prediction), reference, prediction)
    found = _assign(reference, prediction, runs)
    lost = [i for i in range(len(reference)) if i not in found]
    groups: dict[Run, list[int]] = {}
    for i, run in found.items():
        groups.setdefault(run, []).append(i)
    _rescue(groups, lost, reference, prediction)
    placed = {i for rows in groups.values() for i in rows}
    used = {j for run in groups for j in run}
    pairs = [(sorted(rows), run) for run, rows in groups.items() if rows]
    left = [i for i in range(len(reference)) if i not in placed]
    free = [j for j in range(len(prediction)) if j not in used]
    cost = ned_matrix(
        [reference[i] for i in left],
        [prediction[j] for j in free],
        normalised=evaluator.normalised_leftovers,
    )
    rows, columns = linear_sum_assignment(cost)
    pairs += [([left[r]], (free[c],)) for r, c in zip(rows, columns, strict=True)]
    missing: list[tuple[list[int], Run]] = [
        ([i], ()) for k, i in enumerate(left) if k not in set(rows.tolist())
    ]
    return pairs + missing * (2 if evaluator.missing_twice and not free else 1)


def _assign(reference: list[str], prediction: list[str], runs: list[Run]) -> dict[int, Run]:
    """Best one-to-one assignment of reference blocks to runs, bad pairs left out."""
    merged = [" ".join(prediction[j] for j in run) for run in runs]
    cost = ned_matrix(reference, merged)
    rows, columns = linear_sum_assignment(cost)
    return {
        int(r): runs[c] for r, c in zip(rows, columns, strict=True) if cost[r, c] <= REJECTED_ABOVE
    }


def _rescue(
    groups: dict[Run, list[int]], lost: list[int], reference: list[str], prediction: list[str]
) -> None:
    """Give lost reference blocks to the first prediction that contains them.

    A later prediction that contains one as well is set aside with it, as in the published
    evaluator: it takes no part in the second assignment.
    """
    placed: set[int] = set()
    for j, text in enumerate(prediction):
        inside = [i for i in lost if _holds(text, reference[i])]
        if inside:
            groups.setdefault((j,), []).extend(i for i in inside if i not in placed)
            placed.update(inside)


def _holds(text: str, part: str) -> bool:
    found = window_distance(text, part)
    return found is not None and found < FOUND_WITHIN
