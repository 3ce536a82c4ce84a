"""Pair predicted blocks with reference blocks: the evaluator's `quick_match`.

1. Predictions within NED < 0.25 of an ignored block (caption, header, page number, ...) are
   set aside.
2. Runs of neighboring predictions that together look like one reference block are merged.
3. Hungarian assignment on NED; pairs above 0.7 are rejected.
4. A rejected reference block found inside a prediction (a window of its own length within
   distance 0.4) joins that prediction.
5. What is left on both sides is paired by a second assignment; predictions still left over
   are dropped, reference blocks still left over count in full.

The evaluator of April 2025, whose numbers are still quoted, has no step 1, compares plain
distances in step 5, counts a reference block without partner twice where no prediction is left
over, and keeps left-over predictions where every reference block has its partner. There is no
time limit: a page takes as long as it takes, so that a slow machine scores it like a fast one.
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
from manifold_ocr.metrics.omnidocbench.blocks import (
    IGNORED_CATEGORIES,
    INLINE_FORMULA,
    V1_5,
    Block,
    Evaluator,
    split_arrays,
)

CERTAIN_BELOW = 0.25
PART_WITHIN = 0.6
WINDOWS = 512

Run = tuple[int, ...]


def merge_runs(
    cost: npt.NDArray[np.float64], reference: Sequence[str], prediction: Sequence[str]
) -> list[Run]:
    """Partition the predictions into runs of neighbors (most of length one).

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
                    if candidate[run] > cost:  # moved to the end: the mean is a sum in order
                        del candidate[run]
                        candidate[run] = cost
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
Pair = tuple[list[int], Run]


@dataclass(frozen=True, slots=True)
class Match:
    """Blocks of the reference (in order) and of the prediction that are compared as one.

    `compared` holds reference and prediction in the form that is compared. `prediction` is
    empty where nothing was found; `reference` is empty for predictions without a partner.
    `positions`, `predicted_at` and `predicted_kind` are what the evaluator takes for the
    blocks' reading positions and kind.
    """

    reference: tuple[Block, ...]
    prediction: tuple[Block, ...]
    compared: tuple[str, str]
    positions: tuple[float | None, ...] = ()
    predicted_at: float | None = None
    predicted_kind: str = ""

    @property
    def category(self) -> str:
        """The most common category of the reference blocks, ignored ones last."""
        names = [block.category for block in self.reference]
        kept = [name for name in names if name not in IGNORED_CATEGORIES]
        return Counter(kept or names or [""]).most_common(1)[0][0]


@dataclass(frozen=True, slots=True)
class _Side:
    """The blocks of one side that are not empty in the form that is compared.

    The evaluator drops the empty ones but looks positions and kinds up by number in the
    whole list, so one empty block shifts all after it: `looked_up` is that list (without
    the mistake, `blocks` itself). `numbers` are the places of `texts` in `blocks`.
    """

    blocks: list[Block]
    texts: list[str]
    looked_up: list[Block]
    numbers: list[int]

    def without(self, dropped: set[int]) -> "_Side":
        kept = [k for k in range(len(self.texts)) if k not in dropped]
        return _Side(self.blocks, [self.texts[k] for k in kept], self.looked_up, kept)

    def of(self, places: Sequence[int]) -> tuple[Block, ...]:
        return tuple(self.blocks[self.numbers[k]] for k in places)

    def found_as(self, places: Sequence[int]) -> list[Block]:
        return [self.looked_up[self.numbers[k]] for k in places]


def _side(blocks: Sequence[Block], evaluator: Evaluator) -> _Side:
    texts = [block.compared(evaluator) if block.text else "" for block in blocks]
    kept = [k for k, text in enumerate(texts) if text]
    whole = [blocks[k] for k in kept]
    looked_up = whole if evaluator.corrected else list(blocks)
    return _Side(whole, [texts[k] for k in kept], looked_up, list(range(len(kept))))


def quick_match(
    reference: Sequence[Block], prediction: Sequence[Block], evaluator: Evaluator = V1_5
) -> list[Match]:
    """Match the text and formula blocks of one page; each reference block is in a match.

    Matches come in the evaluator's order, which decides between equal positions.
    """
    if evaluator.mixed:
        ordered = sorted(prediction, key=lambda b: (b.kind == INLINE_FORMULA, b.position or 0))
        reference, prediction = split_arrays(reference), split_arrays(ordered)
    ours, theirs = _side(reference, evaluator), _side(prediction, evaluator)
    if not ours.texts and evaluator.mixed:
        return []
    if not ours.texts:
        return [_match(ours, theirs, [], (j,)) for j in range(len(theirs.texts))]
    if not theirs.texts:
        return [_match(ours, theirs, [i], ()) for i in range(len(ours.texts))]
    if len(ours.texts) == len(theirs.texts) == 1:
        return [_match(ours, theirs, [0], (0,))]
    if evaluator.mixed:
        ours, theirs = _set_aside_ignored(ours, theirs)
    pairs = _pair(ours.texts, theirs.texts, evaluator)
    return [_match(ours, theirs, rows, run) for rows, run in pairs]


def _set_aside_ignored(ours: _Side, theirs: _Side) -> tuple[_Side, _Side]:
    ignored = {k for k, b in enumerate(ours.blocks) if b.category in IGNORED_CATEGORIES}
    near = ned_matrix([ours.texts[k] for k in sorted(ignored)], theirs.texts)
    taken = set(np.flatnonzero((near < IGNORED_BELOW).any(axis=0)).tolist()) if ignored else set()
    return ours.without(ignored), theirs.without(taken)


def _match(ours: _Side, theirs: _Side, rows: Sequence[int], run: Run) -> Match:
    first = theirs.found_as(run[:1])
    return Match(
        reference=ours.of(rows),
        prediction=theirs.of(run),
        compared=("".join(ours.texts[i] for i in rows), "".join(theirs.texts[j] for j in run)),
        positions=tuple(block.position for block in ours.found_as(rows)),
        predicted_at=first[0].position if first else None,
        predicted_kind=first[0].kind if first else "",
    )


def ned_matrix(
    reference: Sequence[str], prediction: Sequence[str], *, normalized: bool = True
) -> Matrix:
    """NED (or plain distance) of every pair: (len(reference), len(prediction))."""
    if not reference or not prediction:
        return np.zeros((len(reference), len(prediction)))
    scorer = Levenshtein.normalized_distance if normalized else Levenshtein.distance
    return np.asarray(cdist(reference, prediction, scorer=scorer, dtype=np.float64))


def _pair(reference: list[str], prediction: list[str], evaluator: Evaluator) -> list[Pair]:
    runs = merge_runs(ned_matrix(reference, prediction), reference, prediction)
    found = _assign(reference, prediction, runs)
    lost = [i for i in range(len(reference)) if i not in found]
    groups: dict[Run, list[int]] = {}
    for i, run in found.items():
        groups.setdefault(run, []).append(i)
    _rescue(groups, lost, reference, prediction)
    pairs = [(sorted(rows), run) for run, rows in groups.items() if rows]
    placed = {i for rows in groups.values() for i in rows}
    # Differences of sets, as the evaluator takes them: their order is not always ascending
    # and decides between equally good assignments.
    left = list(set(range(len(reference))) - placed)
    free = list(set(range(len(prediction))) - {j for run in groups for j in run})
    if not free:
        missing: list[Pair] = [([i], ()) for i in left]
        return pairs + (missing if evaluator.mixed else missing * 2)
    if not left:
        return pairs if evaluator.mixed else [*pairs, ([], tuple(free))]
    cost = ned_matrix(
        [reference[i] for i in left],
        [prediction[j] for j in free],
        normalized=evaluator.mixed,
    )
    rows, columns = linear_sum_assignment(cost)
    pairs += [([left[r]], (free[c],)) for r, c in zip(rows, columns, strict=True)]
    matched = {left[r] for r in rows}
    return pairs + [([i], ()) for i in sorted(left) if i not in matched]


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
