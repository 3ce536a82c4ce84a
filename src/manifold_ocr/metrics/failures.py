"""Failure cohorts: predictions that are not merely wrong but broken, each in its own way."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from manifold_ocr.config import CohortConfig

LONGEST_PERIOD = 200
PIECE = 4


@dataclass(frozen=True, slots=True)
class Cohorts:
    """Which cohorts one prediction belongs to (several are possible)."""

    empty: bool
    looping: bool
    too_long: bool
    too_short: bool
    hallucination: bool


def classify(reference: str, prediction: str, distance: int, config: CohortConfig) -> Cohorts:
    """Classify one prediction; `distance` is the edit distance of the two texts.

    Predictions that differ from their reference by less than half of the shortest loop are
    not searched for one.
    """
    n, m = len(reference), len(prediction)
    looping = distance >= config.loop_characters // 2 and _loops_more(reference, prediction, config)
    return Cohorts(
        empty=m == 0 and n > 0,
        looping=looping,
        too_long=n > 0 and m > config.too_long * n and m - n > config.slack,
        too_short=0 < m < config.too_short * n and n - m > config.slack,
        hallucination=(
            m >= config.hallucination_characters
            and distance >= config.hallucination * max(n, m)
            and not looping
        ),
    )


def _loops_more(reference: str, prediction: str, config: CohortConfig) -> bool:
    found = longest_loop(prediction, config.loop_repeats, config.loop_characters)
    if found == 0:
        return False
    known = longest_loop(reference, config.loop_repeats, config.loop_characters)
    return found >= known + config.loop_characters


def longest_loop(text: str, repeats: int, shortest: int = 20) -> int:
    """Return the length in characters of the longest run of one unit repeated >= `repeats`.

    A unit is 1 to LONGEST_PERIOD characters; runs shorter than `shortest` count as 0. A run
    of period p and length r is r-p consecutive positions that equal the one p further on.
    Only periods are tried at which enough four-character pieces recur, so a unit that is
    itself mostly a loop may be seen as that inner loop.
    """
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    best = 0
    for period in _candidate_periods(codes, repeats, shortest):
        changes = np.flatnonzero(codes[period:] != codes[:-period])
        bounds = np.concatenate(([-1], changes, [len(codes) - period]))
        run = int(np.diff(bounds).max()) - 1 + period
        if run >= max(period * repeats, shortest):
            best = max(best, run)
    return best


def _candidate_periods(codes: npt.NDArray[np.uint32], repeats: int, shortest: int) -> list[int]:
    """Distances at which pieces of PIECE characters recur often enough for a loop."""
    if len(codes) < shortest:
        return []
    pieces = np.zeros(len(codes) - PIECE + 1, dtype=np.uint64)
    for offset in range(PIECE):
        pieces = pieces * np.uint64(0x9E3779B97F4A7C15) + codes[offset : offset + len(pieces)]
    order = np.argsort(pieces, kind="stable")
    gaps = np.diff(order)[np.diff(pieces[order]) == 0]
    counts = np.bincount(gaps[gaps <= LONGEST_PERIOD], minlength=LONGEST_PERIOD + 1)
    periods = np.arange(LONGEST_PERIOD + 1)
    expected = np.maximum(repeats * periods, shortest) - periods - PIECE + 1
    return [int(p) for p in np.flatnonzero(counts * 4 >= expected) if p > 0]
