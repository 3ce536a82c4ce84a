"""Sums of row scores as metrics: every metric is a ratio of two sums, with its interval."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from manifold_ocr.text import stats
from manifold_ocr.text.rows import RowScore

Column = Callable[[RowScore], float]


@dataclass(frozen=True, slots=True)
class Ratio:
    """A metric: sum of `numerator` over sum of `denominator`, or 1 minus that.

    `interval` says whether summaries carry its bootstrap interval.
    """

    name: str
    numerator: Column
    denominator: Column
    complement: bool = False
    interval: bool = False


def _one(row: RowScore) -> float:
    return 1.0


def _written(row: RowScore) -> float:
    return float(not row.blank)


RATIOS: tuple[Ratio, ...] = (
    Ratio("cer", lambda r: r.distance, lambda r: r.reference_characters, interval=True),
    Ratio("cer_macro", lambda r: r.cer or 0.0, lambda r: r.cer is not None, interval=True),
    Ratio("cer_casefold", lambda r: r.case_distance, lambda r: r.case_characters),
    Ratio("cer_widthfold", lambda r: r.width_distance, lambda r: r.width_characters),
    Ratio(
        "ned",
        lambda r: r.distance,
        lambda r: max(r.reference_characters, r.predicted_characters),
        interval=True,
    ),
    Ratio("ned_macro", lambda r: r.ned, _one),
    Ratio("wer", lambda r: r.word_distance, lambda r: r.reference_words, interval=True),
    Ratio("exact_match", lambda r: r.exact, _one, interval=True),
    Ratio(
        "character_accuracy",
        lambda r: r.distance,
        lambda r: max(r.reference_characters, r.predicted_characters),
        complement=True,
        interval=True,
    ),
    Ratio("character_precision", lambda r: r.common_characters, lambda r: r.predicted_characters),
    Ratio("character_recall", lambda r: r.common_characters, lambda r: r.reference_characters),
    Ratio(
        "character_f1",
        lambda r: 2 * r.common_characters,
        lambda r: r.reference_characters + r.predicted_characters,
        interval=True,
    ),
    Ratio(
        "token_accuracy",
        lambda r: r.token_distance,
        lambda r: max(r.reference_tokens, r.predicted_tokens),
        complement=True,
        interval=True,
    ),
    Ratio("token_precision", lambda r: r.common_tokens, lambda r: r.predicted_tokens),
    Ratio("token_recall", lambda r: r.common_tokens, lambda r: r.reference_tokens),
    Ratio(
        "token_f1",
        lambda r: 2 * r.common_tokens,
        lambda r: r.reference_tokens + r.predicted_tokens,
        interval=True,
    ),
    Ratio(
        "bag_of_words_f1",
        lambda r: 2 * r.common_words,
        lambda r: r.reference_words + r.predicted_words,
    ),
    Ratio(
        "insertion_rate",
        lambda r: r.predicted_tokens - r.common_tokens,
        lambda r: r.reference_tokens,
        interval=True,
    ),
    Ratio(
        "deletion_rate",
        lambda r: r.reference_tokens - r.common_tokens,
        lambda r: r.reference_tokens,
        interval=True,
    ),
    Ratio(
        "false_discovery_rate",
        lambda r: r.predicted_tokens - r.common_tokens,
        lambda r: r.predicted_tokens,
    ),
    Ratio("blank_false_positive_rate", lambda r: r.blank_with_text, lambda r: r.blank),
    Ratio("empty_rate", lambda r: r.empty, _written),
    Ratio("looping_rate", lambda r: r.looping, _one),
    Ratio("too_long_rate", lambda r: r.too_long, _written),
    Ratio("too_short_rate", lambda r: r.too_short, _written),
    Ratio("hallucination_rate", lambda r: r.hallucination, _one),
)

COUNTS: tuple[tuple[str, Column], ...] = (
    ("n", _one),
    ("missing", lambda r: r.missing),
    ("blank", lambda r: r.blank),
    ("reference_characters", lambda r: r.reference_characters),
    ("predicted_characters", lambda r: r.predicted_characters),
    ("substitutions", lambda r: r.substitutions),
    ("deletions", lambda r: r.deletions),
    ("insertions", lambda r: r.insertions),
    ("reference_words", lambda r: r.reference_words),
    ("reference_tokens", lambda r: r.reference_tokens),
    ("predicted_tokens", lambda r: r.predicted_tokens),
)

DIFFERENCES = (
    "cer",
    "cer_macro",
    "ned",
    "wer",
    "exact_match",
    "character_accuracy",
    "character_f1",
    "token_accuracy",
    "token_f1",
    "insertion_rate",
    "deletion_rate",
)


def document_key(row: RowScore) -> tuple[str, str]:
    """Documents of two corpora may share a name."""
    return row.corpus, row.document


def ratio_totals(rows: Sequence[RowScore], ratios: Sequence[Ratio]) -> stats.Floats:
    """Sum numerators, then denominators, by document: (documents, 2 * ratios)."""
    columns = [r.numerator for r in ratios] + [r.denominator for r in ratios]
    table = np.array([[float(c(row)) for c in columns] for row in rows], dtype=np.float64)
    return stats.document_totals([document_key(row) for row in rows], table)


def ratio_values(totals: stats.Floats, ratios: Sequence[Ratio]) -> stats.Floats:
    """Turn sums (S, 2 * ratios) into values (S, ratios); NaN where undefined."""
    half = len(ratios)
    values = stats.ratio(totals[:, :half], totals[:, half:])
    complement = np.array([r.complement for r in ratios])
    return np.where(complement, 1.0 - values, values)


def summarise_group(
    rows: Sequence[RowScore], samples: int, seed: int
) -> tuple[dict[str, float], list[str]]:
    """Return one group's metrics, and the names of those that are undefined for it.

    Intervals need two documents; below that they are among the undefined.
    """
    counts: dict[str, float] = {
        name: int(sum(column(row) for row in rows)) for name, column in COUNTS
    }
    metrics, undefined = _values(rows, RATIOS, samples, seed)
    return {**counts, **metrics}, undefined


def summarise_probe(
    rows: Sequence[RowScore], samples: int, seed: int
) -> tuple[dict[str, float], list[str]]:
    """Return the means of one task's scores with intervals (see `summarise_group`)."""
    metrics, undefined = _values(rows, _probe_ratios(rows), samples, seed)
    return {"n": len(rows), "missing": sum(r.missing for r in rows), **metrics}, undefined


def compare_group(
    a: Sequence[RowScore], b: Sequence[RowScore], samples: int, seed: int
) -> tuple[dict[str, float], list[str]]:
    """Return paired differences a - b of one group: value, interval, detectable difference.

    `a` and `b` hold the same samples in the same order.
    """
    ratios = [ratio for ratio in RATIOS if ratio.name in DIFFERENCES]
    return _differences(a, b, ratios, samples, seed)


def compare_probe(
    a: Sequence[RowScore], b: Sequence[RowScore], samples: int, seed: int
) -> tuple[dict[str, float], list[str]]:
    """Return paired differences a - b of one task's scores (see `compare_group`)."""
    return _differences(a, b, _probe_ratios(a), samples, seed)


def _values(
    rows: Sequence[RowScore], ratios: Sequence[Ratio], samples: int, seed: int
) -> tuple[dict[str, float], list[str]]:
    totals = ratio_totals(rows, ratios)
    values = ratio_values(totals.sum(axis=0, keepdims=True), ratios)[0]
    drawn = None
    if len(totals) >= 2 and samples > 0:
        drawn = ratio_values(stats.resampled_totals(totals, samples, seed), ratios)
    metrics: dict[str, float] = {"documents": len(totals)}
    undefined = []
    for i, ratio in enumerate(ratios):
        low, high = f"{ratio.name}_low", f"{ratio.name}_high"
        if np.isnan(values[i]):
            undefined.append(ratio.name)
            continue
        metrics[ratio.name] = float(values[i])
        if not ratio.interval:
            continue
        interval = None if drawn is None else stats.percentile_interval(drawn[:, i])
        if interval is None:
            undefined += [low, high]
        else:
            metrics[low], metrics[high] = interval.low, interval.high
    return metrics, undefined


def _differences(
    a: Sequence[RowScore], b: Sequence[RowScore], ratios: Sequence[Ratio], samples: int, seed: int
) -> tuple[dict[str, float], list[str]]:
    totals = np.concatenate([ratio_totals(a, ratios), ratio_totals(b, ratios)], axis=1)
    width = 2 * len(ratios)

    def difference(sums: stats.Floats) -> stats.Floats:
        return ratio_values(sums[:, :width], ratios) - ratio_values(sums[:, width:], ratios)

    observed = difference(totals.sum(axis=0, keepdims=True))[0]
    drawn = None
    if len(totals) >= 2 and samples > 0:
        drawn = difference(stats.resampled_totals(totals, samples, seed))
    metrics: dict[str, float] = {"n": len(a), "documents": len(totals)}
    undefined = []
    for i, ratio in enumerate(ratios):
        names = [f"{ratio.name}_{end}" for end in ("low", "high", "detectable")]
        if np.isnan(observed[i]):
            undefined.append(ratio.name)
            continue
        metrics[ratio.name] = float(observed[i])
        found = None if drawn is None else stats.difference_of(observed[i], drawn[:, i])
        if found is None:
            undefined += names
        else:
            values = (found.low, found.high, found.detectable)
            metrics.update(zip(names, values, strict=True))
    return metrics, undefined


def _probe_ratios(rows: Sequence[RowScore]) -> list[Ratio]:
    """One mean for each score name of a task, in the order of its rule."""
    names = [name for name, _ in rows[0].probe]
    return [
        Ratio(name, lambda r, i=i: r.probe[i][1], _one, interval=True)  # type: ignore[misc]
        for i, name in enumerate(names)
    ]
