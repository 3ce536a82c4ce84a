"""What the monitor watches and what it finds: settings, checks of single metrics, alerts.

Each corpus, subset and language is watched for CER, insertion rate (text that is not there:
false positives) and deletion rate (text that was missed: false negatives). Two things raise
an alert:

- drift: the rise over the baseline exceeds `monitor.drift` and chance does not explain it.
  Standard errors come from the 95 % intervals of both runs, the difference is tested one-sided
  with Welch's t (degrees of freedom: documents less one), and Holm's step-down correction
  (1979) keeps the chance of any false alert in one run of the monitor, over all groups and
  metrics together, below `monitor.significance`;
- limit: the whole interval lies above `monitor.limits`, whatever the baseline was.

Torch-free: reads metrics files only.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from manifold_ocr.errors import UserError

WATCHED = ("cer", "insertion_rate", "deletion_rate")
OVERALL = "overall"


@dataclass(frozen=True, kw_only=True)
class Tolerances:
    """One bound a metric, as a share (0.01 is one point)."""

    cer: float
    insertion_rate: float
    deletion_rate: float

    def of(self, metric: str) -> float:
        """Return the bound of `metric`."""
        return float(getattr(self, metric))


@dataclass(frozen=True, kw_only=True)
class MonitorConfig:
    """The `monitor` section of params.yaml.

    `system` is whose scores are watched. Groups of fewer than `min_documents` documents are
    listed as not judged. `webhook_env` names the environment variable that holds the URL to
    which alerts are posted; the URL itself is never written anywhere.
    """

    system: Literal["adapter", "base"] = "adapter"
    groupings: tuple[str, ...] = ("by_corpus", "by_subset", "by_language")
    significance: float = 0.05
    min_documents: int = 5
    drift: Tolerances = field(
        default_factory=lambda: Tolerances(cer=0.005, insertion_rate=0.01, deletion_rate=0.01)
    )
    limits: Tolerances = field(
        default_factory=lambda: Tolerances(cer=0.5, insertion_rate=0.5, deletion_rate=0.5)
    )
    webhook_env: str = "MANIFOLD_OCR_WEBHOOK"

    def __post_init__(self) -> None:
        if not 0.0 < self.significance < 1.0:
            raise ValueError(f"significance must be in (0, 1), not {self.significance}")
        if self.min_documents < 2:
            raise ValueError("min_documents must be at least 2: one document gives no interval")


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One metric of one group, now against then.

    `p` is the one-sided p-value of a rise, `adjusted` the same after Holm's correction; both
    are None where the group could not be judged (`reason` says why). A rise of `detectable` is
    the least that would have been an alert if no other check had drifted.
    """

    grouping: str
    group: str
    metric: str
    value: float
    baseline: float | None = None
    standard_error: float = 0.0
    freedom: float = 0.0
    detectable: float | None = None
    weight: float = 0.0
    p: float | None = None
    adjusted: float | None = None
    over_limit: bool = False
    drifted: bool = False
    reason: str = ""

    @property
    def change(self) -> float:
        """Rise over the baseline (positive is worse); 0 without a baseline."""
        return self.value - self.baseline if self.baseline is not None else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """One group that got worse, with every metric that says so, and the groups it explains."""

    grouping: str
    group: str
    kind: Literal["drift", "limit"]
    checks: tuple[Check, ...]
    echoes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Such as `language zh`."""
        return group_name(self.grouping, self.group)


def group_name(grouping: str, group: str) -> str:
    """Return `language zh` for (by_language, zh), `overall` for the whole."""
    return OVERALL if grouping == OVERALL else f"{grouping.removeprefix('by_')} {group}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """All checks and the alerts that follow from them."""

    checks: tuple[Check, ...]
    alerts: tuple[Alert, ...]


def by_group(checks: Sequence[Check]) -> dict[tuple[str, str], list[Check]]:
    """Return the checks of each (grouping, group), in order of appearance."""
    groups: dict[tuple[str, str], list[Check]] = {}
    for check in checks:
        groups.setdefault((check.grouping, check.group), []).append(check)
    return groups


Z95 = 1.959963984540054


def welch(
    metric: str, now: Mapping[str, float], then: Mapping[str, float]
) -> tuple[float, float, float]:
    """Return standard error and degrees of freedom of the difference, and a rise's p-value."""
    from scipy.stats import t

    (a, df_a), (b, df_b) = _variance(metric, now), _variance(metric, then)
    error = math.sqrt(a + b)
    change = now[metric] - then[metric]
    if error == 0.0:
        return 0.0, df_a + df_b, 0.0 if change > 0 else 1.0
    freedom = (a + b) ** 2 / (a * a / df_a + b * b / df_b)
    return error, freedom, float(t.sf(change / error, freedom))


def _variance(metric: str, values: Mapping[str, float]) -> tuple[float, float]:
    """Return the squared standard error behind a 95 % interval, and degrees of freedom.

    A bootstrap of n documents underestimates the variance by (n-1)/n, which is undone here.
    """
    documents = values["documents"]
    error = (values[f"{metric}_high"] - values[f"{metric}_low"]) / (2 * Z95)
    return error * error * documents / (documents - 1), documents - 1


def correct(checks: Sequence[Check], config: MonitorConfig) -> list[Check]:
    """Adjust the p-values of one run by Holm's method and mark what drifted."""
    from scipy.stats import t

    judged = sorted((check.p, index) for index, check in enumerate(checks) if check.p is not None)
    adjusted: dict[int, float] = {}
    highest = 0.0
    for rank, (p, index) in enumerate(judged):
        highest = max(highest, min(1.0, (len(judged) - rank) * p))
        adjusted[index] = highest
    return [
        replace(
            check,
            adjusted=adjusted[index],
            detectable=max(
                config.drift.of(check.metric),
                float(t.isf(config.significance / len(judged), check.freedom))
                * check.standard_error,
            ),
            drifted=adjusted[index] < config.significance
            and check.change > config.drift.of(check.metric),
        )
        if index in adjusted
        else check
        for index, check in enumerate(checks)
    ]


def attribute(drifted: Sequence[Check], checks: Sequence[Check]) -> list[Alert]:
    """Turn drifted checks into alerts, one a cause.

    A fault in one language also lifts the figures of every subset that holds it, and the
    overall one. A grouping explains the fault when its drifted groups account for the whole
    rise (what is left of the overall excess of errors is within two standard errors of none);
    the drifted groups of the other groupings are then echoes (see `_cause`). Where no grouping
    explains it all, every drifted group is an alert of its own.
    """
    groups = by_group(drifted)
    ordered = sorted(groups, key=lambda key: (-_evidence(groups[key]), key))
    causes = [key for key in ordered if key[0] != OVERALL]
    if not causes:
        return [_alert(key, groups[key], ()) for key in ordered]
    leading = _cause(causes, checks)
    if not leading:
        return [_alert(key, groups[key], ()) for key in causes]
    echoes = tuple(group_name(*key) for key in ordered if key not in leading)
    return [_alert(key, groups[key], echoes) for key in leading]


def _cause(causes: Sequence[tuple[str, str]], checks: Sequence[Check]) -> list[tuple[str, str]]:
    """Return the drifted groups that explain the rise best, or none.

    Among the groupings that explain it the one of fewest groups is preferred, then the one of
    the strongest evidence (`causes` is sorted by it): seven subsets of one language are that
    language. But groups that explain as much with less than half of the text are where the
    fault sits: two of seven subsets are those subsets.
    """
    size = {(c.grouping, c.group): c.weight for c in checks if c.metric == WATCHED[0]}
    groupings = dict.fromkeys(grouping for grouping, _ in causes)
    candidates = [[key for key in causes if key[0] == grouping] for grouping in groupings]
    candidates = [found for found in candidates if _explains(found, checks)]
    best: list[tuple[str, str]] = []
    for found in sorted(candidates, key=len):
        if not best or 2 * _text(found, size) < _text(best, size):
            best = found
    return best


def _text(groups: Sequence[tuple[str, str]], size: Mapping[tuple[str, str], float]) -> float:
    """Return how many reference characters the groups hold."""
    return sum(size.get(key, 0.0) for key in groups)


def _evidence(checks: Sequence[Check]) -> float:
    return max(c.change / c.standard_error if c.standard_error else math.inf for c in checks)


def _alert(key: tuple[str, str], checks: Sequence[Check], echoes: tuple[str, ...]) -> Alert:
    return Alert(grouping=key[0], group=key[1], kind="drift", checks=tuple(checks), echoes=echoes)


def _explains(leading: Sequence[tuple[str, str]], checks: Sequence[Check]) -> bool:
    """Tell whether the excess errors of the leading groups make up the overall excess."""
    table = {(c.grouping, c.group, c.metric): c for c in checks}
    for metric in WATCHED:
        whole = table.get((OVERALL, OVERALL, metric))
        if whole is None or whole.baseline is None:
            continue
        found = [table.get((*key, metric)) for key in leading]
        excess = sum(c.change * c.weight for c in found if c is not None)
        rest = whole.change * whole.weight - excess
        if rest > 2 * whole.standard_error * whole.weight:
            return False
    return True


def monitor(
    current: Mapping[str, Any], baseline: Mapping[str, Any], config: MonitorConfig
) -> Verdict:
    """Compare two evaluations (contents of metrics/evaluate.json).

    Raises:
        UserError: no scores of the watched system, or the two were measured differently.
    """
    now, then = _system(current, config, "current"), _system(baseline, config, "baseline")
    _same_settings(now, then)
    checks = correct(_checks(now, then, config), config)
    drifted = [check for check in checks if check.drifted]
    alerts = attribute(drifted, checks)
    over = by_group([check for check in checks if check.over_limit])
    alerts += [
        Alert(grouping=key[0], group=key[1], kind="limit", checks=tuple(found))
        for key, found in over.items()
    ]
    return Verdict(tuple(checks), tuple(alerts))


def _system(evaluation: Mapping[str, Any], config: MonitorConfig, which: str) -> Mapping[str, Any]:
    section = evaluation.get(config.system)
    if not isinstance(section, Mapping) or "cer" not in section.get(OVERALL, {}):
        raise UserError(
            f"the {which} evaluation holds no scores of {config.system!r}; it must be a "
            "metrics/evaluate.json as the evaluate stage writes it"
        )
    return section


def _same_settings(now: Mapping[str, Any], then: Mapping[str, Any]) -> None:
    for key in ("profile", "metric_tokenizer", "granularity"):
        a, b = now.get("settings", {}).get(key), then.get("settings", {}).get(key)
        if a != b:
            raise UserError(
                f"the two evaluations were measured differently ({key}: {b!r} then, {a!r} now); "
                "evaluate again with equal settings before comparing them"
            )


def _checks(now: Mapping[str, Any], then: Mapping[str, Any], config: MonitorConfig) -> list[Check]:
    checks = _group_checks(OVERALL, OVERALL, now[OVERALL], then[OVERALL], config)
    for grouping in config.groupings:
        for group, values in sorted(now.get(grouping, {}).items()):
            known = then.get(grouping, {}).get(group)
            checks += _group_checks(grouping, group, values, known, config)
    return checks


def _group_checks(
    grouping: str,
    group: str,
    now: Mapping[str, float],
    then: Mapping[str, float] | None,
    config: MonitorConfig,
) -> list[Check]:
    checks = []
    for metric in WATCHED:
        if metric not in now:
            continue
        value, low = now[metric], now.get(f"{metric}_low")
        over = low is not None and low > config.limits.of(metric)
        base: dict[str, Any] = {
            "grouping": grouping,
            "group": group,
            "metric": metric,
            "value": value,
            "weight": _weight(metric, now),
            "over_limit": over,
        }
        reason = _not_judged(metric, now, then, config)
        if reason or then is None:
            checks.append(Check(**base, reason=reason))
            continue
        error, freedom, p = welch(metric, now, then)
        base |= {"baseline": then[metric], "standard_error": error, "freedom": freedom}
        checks.append(Check(**base, p=p))
    return checks


def _weight(metric: str, values: Mapping[str, float]) -> float:
    unit = "reference_characters" if metric == "cer" else "reference_tokens"
    return float(values.get(unit, values.get("n", 0)))


def _not_judged(
    metric: str,
    now: Mapping[str, float],
    then: Mapping[str, float] | None,
    config: MonitorConfig,
) -> str:
    if then is None or metric not in then:
        return "not in the baseline"
    for values, which in ((now, "now"), (then, "in the baseline")):
        documents = values.get("documents", 0)
        if documents < config.min_documents:
            return f"{documents:g} documents {which}, fewer than {config.min_documents}"
        if f"{metric}_low" not in values:
            return f"no interval {which}"
    return ""
