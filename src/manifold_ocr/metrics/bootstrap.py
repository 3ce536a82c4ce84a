"""Uncertainty: bootstrap over documents, paired differences, tie groups, Wilson intervals.

All lines of a document share fonts, scanner and author, so documents are drawn, not rows.
Every metric here is a ratio of sums, so a resample is a weighted sum of document totals and
10,000 resamples are one matrix product.
"""

import functools
import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Weights = npt.NDArray[np.uint16]
BLOCK_VALUES = 4_000_000


@dataclass(frozen=True, slots=True)
class Interval:
    """A two-sided interval."""

    low: float
    high: float


def document_totals(documents: npt.ArrayLike, columns: Floats) -> Floats:
    """Sum rows by document: (rows, K) -> (documents, K), documents in sorted order.

    `documents` names the document of each row (numbers or strings).
    """
    names, codes = np.unique(np.asarray(documents), return_inverse=True)
    return np.stack(
        [np.bincount(codes, weights=column, minlength=len(names)) for column in columns.T], axis=1
    )


def resampled_totals(totals: Floats, samples: int, seed: int) -> Floats:
    """Draw documents with replacement, `samples` times; (documents, K) -> (samples, K) sums.

    The same `seed` and number of documents give the same draws, so that two systems scored
    on the same documents are compared pairwise.

    Raises:
        ValueError: no document.
    """
    count = len(totals)
    if count == 0:
        raise ValueError("a bootstrap needs at least one document")
    if samples * count <= BLOCK_VALUES:
        return _drawn_weights(count, samples, seed).astype(np.float64) @ totals
    generator = np.random.default_rng(seed)
    result = np.empty((samples, totals.shape[1]))
    block = max(1, BLOCK_VALUES // count)
    for start in range(0, samples, block):
        weights = _weights(generator, count, min(block, samples - start))
        result[start : start + len(weights)] = weights.astype(np.float64) @ totals
    return result


@functools.lru_cache(maxsize=4)
def _drawn_weights(count: int, samples: int, seed: int) -> Weights:
    """Groups and systems of one evaluation often have equally many documents."""
    return _weights(np.random.default_rng(seed), count, samples)


def _weights(generator: np.random.Generator, count: int, samples: int) -> Weights:
    """How often each of `count` documents is drawn in each of `samples` resamples."""
    drawn = generator.integers(0, count, size=(samples, count), dtype=np.int32)
    drawn += (np.arange(samples, dtype=np.int32) * count)[:, None]
    counts = np.bincount(drawn.ravel(), minlength=samples * count)
    return counts.astype(np.uint16).reshape(samples, count)


def percentile_interval(values: Floats, level: float = 0.95) -> Interval | None:
    """Percentile interval over the defined (non-NaN) resamples; None if there is none."""
    defined = values[~np.isnan(values)]
    if len(defined) == 0:
        return None
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))


def ratio(numerator: Floats, denominator: Floats) -> Floats:
    """Divide elementwise; NaN where the denominator is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(denominator > 0, numerator / denominator, np.nan)


@dataclass(frozen=True, slots=True)
class Difference:
    """A paired difference a - b with its interval; `detectable` is at 80 % power."""

    value: float
    low: float
    high: float
    standard_error: float
    detectable: float


def paired_ratio_difference(
    a: tuple[Floats, Floats], b: tuple[Floats, Floats], samples: int, seed: int, level: float = 0.95
) -> Difference | None:
    """Compare two systems on the same documents.

    `a` and `b` are (numerators, denominators) per document, equally ordered. None where the
    difference is undefined or there are fewer than two documents.
    """
    totals = np.stack([a[0], a[1], b[0], b[1]], axis=1).astype(np.float64)
    if len(totals) < 2:
        return None
    drawn = resampled_totals(totals, samples, seed)
    observed = totals.sum(axis=0)[None, :]
    return difference_of(ratio_difference(observed)[0], ratio_difference(drawn), level)


def ratio_difference(totals: Floats) -> Floats:
    """Columns (num a, den a, num b, den b) -> a - b."""
    return ratio(totals[:, 0], totals[:, 1]) - ratio(totals[:, 2], totals[:, 3])


def difference_of(value: float, drawn: Floats, level: float = 0.95) -> Difference | None:
    """Describe an observed difference by its resampled distribution."""
    interval = percentile_interval(drawn, level)
    if interval is None or math.isnan(value):
        return None
    error = float(np.nanstd(drawn))
    return Difference(
        value=float(value),
        low=interval.low,
        high=interval.high,
        standard_error=error,
        detectable=minimum_detectable_difference(error),
    )


def minimum_detectable_difference(
    standard_error: float, significance: float = 0.05, power: float = 0.8
) -> float:
    """Smallest true difference found with probability `power` by a two-sided test.

    (z_{1-significance/2} + z_{power}) * standard error, the usual normal approximation.
    """
    normal = NormalDist()
    return (normal.inv_cdf(1 - significance / 2) + normal.inv_cdf(power)) * standard_error


def wilson_interval(successes: int, trials: int, level: float = 0.95) -> Interval:
    """Score interval of a proportion (Wilson 1927); [0, 1] if there was no trial.

    Raises:
        ValueError: successes outside 0..trials.
    """
    if not 0 <= successes <= trials:
        raise ValueError(f"{successes} successes in {trials} trials")
    if trials == 0:
        return Interval(0.0, 1.0)
    z = NormalDist().inv_cdf((1 + level) / 2)
    p = successes / trials
    center = p + z * z / (2 * trials)
    half = z * math.sqrt(p * (1 - p) / trials + z * z / (4 * trials * trials))
    scale = 1 + z * z / trials
    return Interval(  # exact at the ends, where rounding would leave 1e-17
        (center - half) / scale if successes else 0.0,
        (center + half) / scale if successes < trials else 1.0,
    )


def tie_groups(scores: Floats, resampled: Floats, level: float = 0.95) -> list[int]:
    """Rank systems by score, lower is better; systems that cannot be told apart share a rank.

    Args:
        scores: (systems,) observed values.
        resampled: (samples, systems) values on the same resampled documents.
        level: of the paired interval.

    Returns:
        One group number a system, 1 for the best. A group is led by its best system; a
        system joins while the paired interval of its difference to the leader covers 0.
    """
    groups = [0] * len(scores)
    leader, group = -1, 0
    for system in np.argsort(scores, kind="stable"):
        if leader >= 0:
            gap = percentile_interval(resampled[:, system] - resampled[:, leader], level)
        if leader < 0 or (gap is not None and gap.low > 0):
            leader, group = int(system), group + 1
        groups[int(system)] = group
    return groups
