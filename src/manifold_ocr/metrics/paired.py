"""One rule for "worse": sums per document, a test in pairs, and a correction for many.

The gate, the monitor and the leaderboard decide by the same test. Two systems are compared on
the documents that both read, each document being one draw: with d the difference of a
document's errors and n its reference units, the change is D = sum(d) / sum(n), its standard
error that of the mean of the residuals (d - D n) / mean(n) (the linearized ratio estimator,
Cochran, Sampling Techniques, 1977, section 6.3), and D over it is tested one-sided by Student's
t with documents less one degrees of freedom. Holm's step-down correction (1979) holds over all
comparisons that are made together. `monitor.significance` and `monitor.min_documents` of
params.yaml serve all three; smaller groups are not judged.

The sums of each document are stored with every result, so that any two can be compared later.
"""

import csv
import io
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from manifold_ocr.config import MonitorConfig
from manifold_ocr.errors import UserError
from manifold_ocr.metrics.row_score import RowScore

COUNTS = (
    "rows",
    "reference_characters",
    "distance",
    "reference_tokens",
    "predicted_tokens",
    "common_tokens",
)


class Key(NamedTuple):
    """What a line of sums is about: rows of one document that are alike."""

    corpus: str
    document: str
    subset: str
    language: str
    granularity: str


Counts = tuple[int, ...]
Sums = Mapping[Key, Counts]


def document_sums(rows: Iterable[RowScore]) -> list[str]:
    """Return one CSV line per document, subset, language and granularity: `Key`, then `COUNTS`.

    A list of texts, because DVC shows numbers of a metrics file and leaves lists alone.
    """
    sums: dict[Key, list[int]] = {}
    for row in rows:
        if row.task != "transcribe":
            continue
        key = Key(row.corpus, row.document, row.subset, row.language, row.granularity)
        found = sums.setdefault(key, [0] * len(COUNTS))
        found[0] += 1
        for place, name in enumerate(COUNTS[1:], 1):
            found[place] += int(getattr(row, name))
    lines = []
    for key, counts in sorted(sums.items()):
        buffer = io.StringIO()
        csv.writer(buffer, lineterminator="").writerow([*key, *counts])
        lines.append(buffer.getvalue())
    return lines


def read_sums(lines: object, where: str) -> dict[Key, Counts]:
    """Return what `document_sums` wrote; `where` stands in messages.

    Raises:
        UserError: not such lines, a negative count, or one document twice.
    """
    found: dict[Key, Counts] = {}
    if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
        raise UserError(f"{where}: `documents` must be a list of lines; evaluate it again")
    for fields in csv.reader(lines):
        key, numbers = fields[: len(Key._fields)], fields[len(Key._fields) :]
        if len(numbers) != len(COUNTS) or not all(
            text.isascii() and text.isdigit() and len(text) < 16 for text in numbers
        ):
            raise UserError(f"{where}: the sums of document {fields[:2]} are damaged")
        if Key(*key) in found:
            raise UserError(f"{where}: document {fields[1]!r} stands twice")
        found[Key(*key)] = tuple(map(int, numbers))
    return found


def cer(counts: Counts) -> tuple[int, int]:
    """Return (wrong characters, reference characters)."""
    return counts[2], counts[1]


def insertions(counts: Counts) -> tuple[int, int]:
    """Return (tokens that are not there, reference tokens)."""
    return counts[4] - counts[5], counts[3]


def deletions(counts: Counts) -> tuple[int, int]:
    """Return (tokens that were missed, reference tokens)."""
    return counts[3] - counts[5], counts[3]


METRICS: Mapping[str, Callable[[Counts], tuple[int, int]]] = {
    "cer": cer,
    "insertion_rate": insertions,
    "deletion_rate": deletions,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One metric of one group, the first system less the second: positive is worse.

    `low` and `high` are the 95 % interval. `p` is the one-sided p-value of a rise, `fall` that of
    a fall, both corrected by `judge_all`. Where the group could not be judged p is None and
    `reason` says why. A rise of `detectable` is the least that would have counted had no other
    comparison of the run been significant.
    """

    name: str
    metric: str = "cer"
    documents: int = 0
    value: float = 0.0
    baseline: float = 0.0
    low: float = 0.0
    high: float = 0.0
    error: float = 0.0
    p: float | None = None
    fall: float | None = None
    detectable: float | None = None
    reason: str = ""
    verdict: str = "not judged"

    @property
    def change(self) -> float:
        """The first system less the second."""
        return self.value - self.baseline


def compare(name: str, metric: str, a: Sums, b: Sums, rule: MonitorConfig) -> Comparison:
    """Compare two systems on the documents whose reference text is the same on both sides."""
    from scipy.stats import t

    parts = METRICS[metric]
    by_document: dict[tuple[str, str, str], list[int]] = {}
    for key in a.keys() & b.keys():
        if a[key][:2] != b[key][:2] or a[key][3] != b[key][3]:
            continue  # other rows of that document
        (first, units), (second, _) = parts(a[key]), parts(b[key])
        document = (key.corpus, key.document, key.granularity)
        sums = by_document.setdefault(document, [0, 0, 0])
        for place, count in enumerate((first, second, units)):
            sums[place] += count
    rows = list(by_document.values())
    n, whole = len(rows), sum(units for *_, units in rows)
    if not whole:
        return Comparison(name=name, metric=metric, reason="no document in common")
    value, baseline = sum(row[0] for row in rows) / whole, sum(row[1] for row in rows) / whole
    known = Comparison(name=name, metric=metric, documents=n, value=value, baseline=baseline)
    known = replace(known, low=known.change, high=known.change)
    if n < rule.min_documents:
        return replace(known, reason=f"{n} documents, fewer than {rule.min_documents}")
    residuals = [(x - y - known.change * units) * n / whole for x, y, units in rows]
    error = math.sqrt(sum(r * r for r in residuals) / (n - 1) / n)
    reach = float(t.ppf(0.975, n - 1)) * error
    score = known.change / error if error else math.copysign(math.inf, known.change)
    p = float(t.sf(score, n - 1)) if known.change or error else 1.0
    fall = float(t.cdf(score, n - 1)) if known.change or error else 1.0
    return replace(
        known, error=error, low=known.change - reach, high=known.change + reach, p=p, fall=fall
    )


def judge_all(comparisons: Sequence[Comparison], rule: MonitorConfig) -> list[Comparison]:
    """Correct the p-values of comparisons that are made together, and say the verdicts."""
    from scipy.stats import t

    rises = holm([item.p for item in comparisons])
    falls = holm([item.fall for item in comparisons])
    judged = sum(item.p is not None for item in comparisons)
    found = []
    for item, p, fall in zip(comparisons, rises, falls, strict=True):
        if p is None or fall is None:
            found.append(item)
            continue
        verdict = "worse" if p < rule.significance else "no clear difference"
        verdict = "better" if fall < rule.significance else verdict
        least = float(t.isf(rule.significance / judged, item.documents - 1)) * item.error
        found.append(replace(item, p=p, fall=fall, verdict=verdict, detectable=least))
    return found


def holm(values: Sequence[float | None]) -> list[float | None]:
    """Return the p-values after Holm's correction; None stays None and does not count."""
    judged = sorted((p, place) for place, p in enumerate(values) if p is not None)
    adjusted: list[float | None] = [None] * len(values)
    highest = 0.0
    for rank, (p, place) in enumerate(judged):
        highest = max(highest, min(1.0, (len(judged) - rank) * p))
        adjusted[place] = highest
    return adjusted


def group(sums: Sums, grouping: str, name: str) -> dict[Key, Counts]:
    """Return the sums of a group, such as (`by_subset`, `receipts`), of its lines if it has any.

    An empty `grouping` takes all; lines and whole pages are never added up.
    """
    field = grouping.removeprefix("by_")
    found = {key: c for key, c in sums.items() if not field or getattr(key, field) == name}
    lines = any(key.granularity == "line" for key in found)
    return {key: c for key, c in found.items() if not lines or key.granularity == "line"}


def groups_of(sums: Sums, grouping: str) -> list[str]:
    """Return the names of a grouping's groups, sorted."""
    return sorted({getattr(key, grouping.removeprefix("by_")) for key in sums})
