"""Has the model got worse? Checks of single metrics, alerts, and what is written of them.

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

import json
import math
import os
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal
from urllib.parse import urlsplit

from manifold_ocr.config import MonitorConfig
from manifold_ocr.errors import UserError
from manifold_ocr.evaluation.markdown import digits, render

WATCHED = ("cer", "insertion_rate", "deletion_rate")
OVERALL = "overall"
WEBHOOK_TIMEOUT = 10  # seconds


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
    """One group that got worse, with every metric that says so."""

    grouping: str
    group: str
    kind: Literal["drift", "limit"]
    checks: tuple[Check, ...]

    @property
    def name(self) -> str:
        """Such as `language zh`."""
        return group_name(self.grouping, self.group)

    def line(self) -> str:
        """Return one sentence."""
        parts = []
        for check in self.checks:
            change = f", {points(check.change)} points" if check.baseline is not None else ""
            parts.append(f"{check.metric} {100 * check.value:.2f} %{change}")
        what = "above its limit" if self.kind == "limit" else "got worse"
        return f"{self.name} {what}: {'; '.join(parts)}"


def points(share: float) -> str:
    """Return a share as percentage points with a sign."""
    return f"{100 * share:+.2f}"


def group_name(grouping: str, group: str) -> str:
    """Return `language zh` for (by_language, zh), `overall` for the whole."""
    return OVERALL if grouping == OVERALL else f"{grouping.removeprefix('by_')} {group}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """All checks and the alerts that follow from them."""

    checks: tuple[Check, ...]
    alerts: tuple[Alert, ...]


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
    drift = _alerts("drift", [check for check in checks if check.drifted])
    limit = _alerts("limit", [check for check in checks if check.over_limit])
    return Verdict(tuple(checks), (*drift, *limit))


def _alerts(kind: Literal["drift", "limit"], checks: Sequence[Check]) -> list[Alert]:
    """Return one alert per group, in the order of the checks."""
    groups: dict[tuple[str, str], list[Check]] = {}
    for check in checks:
        groups.setdefault((check.grouping, check.group), []).append(check)
    return [
        Alert(grouping=key[0], group=key[1], kind=kind, checks=tuple(found))
        for key, found in groups.items()
    ]


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
        a, b = (run.get("settings", {}).get(key) for run in (now, then))
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


def metrics(verdict: Verdict) -> dict[str, Any]:
    """Return metrics/monitor.json: finite scalars, rises in shares of characters or tokens."""
    judged = [check for check in verdict.checks if check.p is not None]
    groups: dict[str, dict[str, dict[str, dict[str, float]]]] = {}
    for check in judged:
        values = {
            "value": check.value,
            "baseline": check.baseline or 0.0,
            "change": check.change,
            "p_adjusted": check.adjusted if check.adjusted is not None else 1.0,
            "detectable": check.detectable or 0.0,
            "alert": int(check.drifted or check.over_limit),
        }
        groups.setdefault(check.grouping, {}).setdefault(check.group, {})[check.metric] = values
    return {
        "alerts": len(verdict.alerts),
        "drift_alerts": sum(alert.kind == "drift" for alert in verdict.alerts),
        "limit_alerts": sum(alert.kind == "limit" for alert in verdict.alerts),
        "checks": len(judged),
        "not_judged": len(verdict.checks) - len(judged),
        "groups": groups,
    }


def report(
    verdict: Verdict, config: MonitorConfig, history: Sequence[tuple[str, Mapping[str, Any]]]
) -> str:
    """Return the Markdown report; `history` is (run name, evaluation), oldest first."""
    return render(
        "evaluation/templates/monitor.md.j2",
        verdict=verdict,
        config=config,
        baseline=history[-2][0],
        judged=sum(check.p is not None for check in verdict.checks),
        check_rows=[_check_row(check) for check in verdict.checks],
        runs=[name for name, _ in history],
        trend_rows=_trend(history, config),
    )


def _check_row(check: Check) -> tuple[str, ...]:
    state = "limit" if check.over_limit else "alert" if check.drifted else check.reason or "ok"
    return (
        group_name(check.grouping, check.group),
        check.metric,
        "-" if check.baseline is None else f"{100 * check.baseline:.2f}",
        f"{100 * check.value:.2f}",
        "-" if check.baseline is None else points(check.change),
        digits(check.adjusted, ".3g"),
        "-" if check.detectable is None else points(check.detectable),
        state,
    )


def _trend(
    history: Sequence[tuple[str, Mapping[str, Any]]], config: MonitorConfig
) -> list[list[str]]:
    groups: list[tuple[str, str]] = [(OVERALL, OVERALL)]
    for grouping in config.groupings:
        names = {n for _, run in history for n in run[config.system].get(grouping, {})}
        groups += [(grouping, name) for name in sorted(names)]
    rows = []
    for grouping, group in groups:
        cells = [group_name(grouping, group)]
        for section in (run[config.system] for _, run in history):
            values = section if grouping == OVERALL else section.get(grouping, {})
            cells.append(f"{100 * values[group]['cer']:.2f}" if group in values else "-")
        rows.append(cells)
    return rows


def post(alerts: Sequence[Alert], config: MonitorConfig) -> str:
    """Post the alerts to the configured webhook; return one line that never holds the URL.

    The body is `{"text": ..., "alerts": [...]}`, which chat services show as it is.
    """
    url = os.environ.get(config.webhook_env, "").strip()
    if not url or not alerts:
        return ""
    parts = urlsplit(url)
    local = parts.scheme == "http" and parts.hostname in ("localhost", "127.0.0.1")
    if parts.scheme != "https" and not local:
        return f"webhook: not posted, ${config.webhook_env} must hold an https address"
    lines = [alert.line() for alert in alerts]
    body = {"text": "manifold-ocr monitor:\n" + "\n".join(lines), "alerts": lines}
    request = urllib.request.Request(  # noqa: S310 - the scheme is checked above
        url,
        data=json.dumps(body).encode("utf-8"),
        headers={"Content-Type": "application/json"},
        method="POST",
    )
    try:
        with urllib.request.urlopen(request, timeout=WEBHOOK_TIMEOUT) as answer:  # noqa: S310
            return f"webhook: posted {len(alerts)} alerts (status {answer.status})"
    except urllib.error.HTTPError as error:
        return f"webhook: refused with status {error.code}"
    except (urllib.error.URLError, OSError, ValueError):
        return "webhook: could not be reached; the alerts stand in the report"
