"""Sums of row scores as metrics: every metric is a ratio of two sums, with its interval."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from manifold_ocr.metrics import bootstrap
from manifold_ocr.metrics.edit import CLASSES
from manifold_ocr.metrics.row_score import RowScore

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Table:
    """Row scores as columns: every count of `RowScore` by name, and each row's document."""

    columns: dict[str, bootstrap.Floats]
    documents: Indices

    def __getitem__(self, name: str) -> bootstrap.Floats:
        return self.columns[name]

    def __len__(self) -> int:
        return len(self.documents)

    def select(self, rows: Indices) -> "Table":
        """Return some of the rows."""
        columns = {name: column[rows] for name, column in self.columns.items()}
        return Table(columns, self.documents[rows])


def table_of(rows: Sequence[RowScore]) -> Table:
    """Turn rows into columns; documents are numbered by corpus and name, in order."""
    columns = {
        name: np.fromiter((getattr(row, name) for row in rows), dtype=np.float64, count=len(rows))
        for name in _COUNTED
    }
    n, d = columns["reference_characters"], columns["distance"]
    columns["one"] = np.ones(len(rows))
    columns["written"] = 1.0 - columns["blank"]
    columns["longest"] = np.maximum(n, columns["predicted_characters"])
    columns["cer"] = np.divide(d, n, out=np.zeros_like(d), where=n > 0)
    columns["cer_defined"] = ((n > 0) | (d == 0)).astype(np.float64)
    columns["ned"] = np.divide(
        d, columns["longest"], out=np.zeros_like(d), where=columns["longest"] > 0
    )
    columns["longest_tokens"] = np.maximum(columns["reference_tokens"], columns["predicted_tokens"])
    return Table(columns, _document_numbers(rows))


def probe_table(rows: Sequence[RowScore]) -> Table:
    """Turn the probe scores of one task's rows into columns named after them."""
    names = [name for name, _ in rows[0].probe]
    columns = {
        name: np.array([row.probe[i][1] for row in rows], dtype=np.float64)
        for i, name in enumerate(names)
    }
    columns["one"] = np.ones(len(rows))
    columns["missing"] = np.array([row.missing for row in rows], dtype=np.float64)
    return Table(columns, _document_numbers(rows))


def _document_numbers(rows: Sequence[RowScore]) -> Indices:
    numbers: dict[tuple[str, str], int] = {}
    keys = ((row.corpus, row.document) for row in rows)
    return np.fromiter((numbers.setdefault(key, len(numbers)) for key in keys), dtype=np.int64)


_COUNTED = (
    "distance",
    "matched_spaces",
    *(
        field.name
        for field in fields(RowScore)
        if field.type in (int, bool) or field.type in ("int", "bool")
    ),
)

Column = Callable[[Table], bootstrap.Floats]


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


def _column(name: str) -> Column:
    return lambda table: table[name]


def _ratio(
    name: str, numerator: str, denominator: str, *, complement: bool = False, interval: bool = False
) -> Ratio:
    return Ratio(name, _column(numerator), _column(denominator), complement, interval)


def _f1(name: str, common: str, reference: str, predicted: str, *, interval: bool = True) -> Ratio:
    return Ratio(
        name,
        lambda t: 2 * t[common],
        lambda t: t[reference] + t[predicted],
        interval=interval,
    )


def _excess(name: str, whole: str, common: str, denominator: str, *, interval: bool) -> Ratio:
    """What one side holds and the other does not, per unit of `denominator`."""
    return Ratio(name, lambda t: t[whole] - t[common], _column(denominator), interval=interval)


_N, _M, _COMMON = "reference_characters", "predicted_characters", "common_characters"
_SPACES, _SAID, _SHARED = "reference_spaces", "predicted_spaces", "matched_spaces"
_TN, _TM, _TCOMMON = "reference_tokens", "predicted_tokens", "common_tokens"

RATIOS: tuple[Ratio, ...] = (
    _ratio("cer", "distance", _N, interval=True),
    _ratio("cer_macro", "cer", "cer_defined", interval=True),
    _ratio("cer_casefold", "case_distance", "case_characters"),
    _ratio("cer_widthfold", "width_distance", "width_characters"),
    _ratio("cer_without_spaces", "spaceless_distance", "spaceless_characters", interval=True),
    _ratio("exact_match_without_spaces", "spaceless_exact", "one", interval=True),
    _ratio("space_precision", _SHARED, _SAID, interval=True),
    _ratio("space_recall", _SHARED, _SPACES, interval=True),
    _f1("space_f1", _SHARED, _SPACES, _SAID, interval=False),
    Ratio(
        "space_error_share", lambda t: t[_SPACES] + t[_SAID] - 2 * t[_SHARED], _column("distance")
    ),
    _ratio("word_precision", "matched_words", "predicted_words"),
    _ratio("word_recall", "matched_words", "reference_words"),
    _f1("word_f1", "matched_words", "reference_words", "predicted_words"),
    _ratio("ned", "distance", "longest", interval=True),
    _ratio("ned_macro", "ned", "one"),
    _ratio("wer", "word_distance", "reference_words", interval=True),
    _ratio("exact_match", "exact", "one", interval=True),
    _ratio("character_accuracy", "distance", "longest", complement=True, interval=True),
    _ratio("character_precision", _COMMON, _M),
    _ratio("character_recall", _COMMON, _N),
    _f1("character_f1", _COMMON, _N, _M),
    _ratio("token_accuracy", "token_distance", "longest_tokens", complement=True, interval=True),
    _ratio("token_precision", _TCOMMON, _TM),
    _ratio("token_recall", _TCOMMON, _TN),
    _f1("token_f1", _TCOMMON, _TN, _TM),
    _f1("bag_of_tokens_f1", "bag_tokens", _TN, _TM, interval=False),
    _excess("insertion_rate", _TM, _TCOMMON, _TN, interval=True),
    _excess("deletion_rate", _TN, _TCOMMON, _TN, interval=True),
    _excess("false_discovery_rate", _TM, _TCOMMON, _TM, interval=False),
    _ratio("blank_false_positive_rate", "blank_with_text", "blank"),
    _ratio("empty_rate", "empty", "written"),
    _ratio("looping_rate", "looping", "one"),
    _ratio("too_long_rate", "too_long", "written"),
    _ratio("too_short_rate", "too_short", "written"),
    _ratio("hallucination_rate", "hallucination", "one"),
)

_KINDS = ("substitutions", "deletions", "insertions")
COUNTS = (
    "missing",
    "blank",
    "reference_characters",
    "predicted_characters",
    "substitutions",
    "deletions",
    "insertions",
    *(f"{kind}_{name}" for kind in _KINDS for name in CLASSES),
    "reference_spaces",
    "predicted_spaces",
    "matched_spaces",
    "reference_words",
    "predicted_words",
    "matched_words",
    "reference_tokens",
    "predicted_tokens",
)

DIFFERENCES = (
    "cer",
    "cer_macro",
    "cer_without_spaces",
    "exact_match_without_spaces",
    "space_precision",
    "space_recall",
    "word_f1",
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


Metrics = tuple[dict[str, float], list[str]]


def summarize_group(table: Table, samples: int, seed: int) -> Metrics:
    """Return one group's metrics, and the names of those that are undefined for it.

    Intervals need two documents; below that they are among the undefined.
    """
    counts: dict[str, float] = {"n": len(table)}
    counts |= {name: int(table[name].sum()) for name in COUNTS}
    metrics, undefined = _values(table, RATIOS, samples, seed)
    return {**counts, **metrics}, undefined


def summarize_probe(table: Table, samples: int, seed: int) -> Metrics:
    """Return the means of one task's scores with intervals (see `summarize_group`)."""
    metrics, undefined = _values(table, _means(table), samples, seed)
    return {"n": len(table), "missing": int(table["missing"].sum()), **metrics}, undefined


def compare_group(a: Table, b: Table, samples: int, seed: int) -> Metrics:
    """Return paired differences a - b of one group: value, interval, detectable difference.

    `a` and `b` hold the same samples in the same order.
    """
    ratios = [ratio for ratio in RATIOS if ratio.name in DIFFERENCES]
    return _differences(a, b, ratios, samples, seed)


def compare_probe(a: Table, b: Table, samples: int, seed: int) -> Metrics:
    """Return paired differences a - b of one task's scores (see `compare_group`)."""
    return _differences(a, b, _means(a), samples, seed)


def _means(table: Table) -> list[Ratio]:
    names = [name for name in table.columns if name not in ("one", "missing")]
    return [_ratio(name, name, "one", interval=True) for name in names]


def ratio_totals(table: Table, ratios: Sequence[Ratio]) -> bootstrap.Floats:
    """Sum numerators, then denominators, by document: (documents, 2 * ratios)."""
    columns = [r.numerator(table) for r in ratios] + [r.denominator(table) for r in ratios]
    return bootstrap.document_totals(table.documents, np.stack(columns, axis=1))


def ratio_values(totals: bootstrap.Floats, ratios: Sequence[Ratio]) -> bootstrap.Floats:
    """Turn sums (S, 2 * ratios) into values (S, ratios); NaN where undefined."""
    half = len(ratios)
    values = bootstrap.ratio(totals[:, :half], totals[:, half:])
    complement = np.array([r.complement for r in ratios])
    return np.where(complement, 1.0 - values, values)


def _values(table: Table, ratios: Sequence[Ratio], samples: int, seed: int) -> Metrics:
    totals = ratio_totals(table, ratios)
    values = ratio_values(totals.sum(axis=0, keepdims=True), ratios)[0]
    drawn = None
    if len(totals) >= 2 and samples > 0:
        drawn = ratio_values(bootstrap.resampled_totals(totals, samples, seed), ratios)
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
        interval = None if drawn is None else bootstrap.percentile_interval(drawn[:, i])
        if interval is None:
            undefined += [low, high]
        else:
            metrics[low], metrics[high] = interval.low, interval.high
    return metrics, undefined


def _differences(a: Table, b: Table, ratios: Sequence[Ratio], samples: int, seed: int) -> Metrics:
    totals = np.concatenate([ratio_totals(a, ratios), ratio_totals(b, ratios)], axis=1)
    width = 2 * len(ratios)

    def difference(sums: bootstrap.Floats) -> bootstrap.Floats:
        return ratio_values(sums[:, :width], ratios) - ratio_values(sums[:, width:], ratios)

    observed = difference(totals.sum(axis=0, keepdims=True))[0]
    drawn = None
    if len(totals) >= 2 and samples > 0:
        drawn = difference(bootstrap.resampled_totals(totals, samples, seed))
    metrics: dict[str, float] = {"n": len(a), "documents": len(totals)}
    undefined = []
    for i, ratio in enumerate(ratios):
        names = [f"{ratio.name}_{end}" for end in ("low", "high", "detectable")]
        if np.isnan(observed[i]):
            undefined.append(ratio.name)
            continue
        metrics[ratio.name] = float(observed[i])
        found = None if drawn is None else bootstrap.difference_of(observed[i], drawn[:, i])
        if found is None:
            undefined += names
        else:
            values = (found.low, found.high, found.detectable)
            metrics.update(zip(names, values, strict=True))
    return metrics, undefined
