"""Has the model got worse? Checks of single metrics, alerts, and what is written of them.

Each corpus, subset and language is watched for CER, insertion rate (text that is not there:
false positives) and deletion rate (text that was missed: false negatives). Two things raise
an alert:

- drift: the figure is worse by the rule that gate and leaderboard use too (`gate`: paired by
  document, corrected over all checks of the run) and the rise exceeds `monitor.drift`;
- limit: the whole interval lies above `monitor.limits`, whatever the baseline was.

Torch-free: reads evaluations only.
"""

import json
import os
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

from manifold_ocr.config import MonitorConfig
from manifold_ocr.errors import UserError
from manifold_ocr.evaluation.gate import sums_of
from manifold_ocr.evaluation.markdown import digits, render
from manifold_ocr.metrics.paired import (
    METRICS,
    Comparison,
    Sums,
    compare,
    group,
    groups_of,
    judge_all,
)

OVERALL = "overall"
WEBHOOK_TIMEOUT = 10  # seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One metric of one group, now against then (`found`), and what it gives rise to."""

    grouping: str
    group: str
    found: Comparison
    over_limit: bool
    drifted: bool


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
        parts = [
            f"{c.found.metric} {100 * c.found.value:.2f} %, {points(c.found.change)} points"
            for c in self.checks
        ]
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


def monitor(
    current: Mapping[str, Any], baseline: Mapping[str, Any], config: MonitorConfig
) -> Verdict:
    """Compare two evaluations (contents of metrics/evaluate.json) of one test split.

    Raises:
        UserError: no scores of the watched system, or the two were measured differently or on
            different test rows.
    """
    section = comparable(current, baseline, config)
    now = sums_of(current, config.system, "the current evaluation")
    then = sums_of(baseline, config.system, "the baseline evaluation")
    names = [(OVERALL, OVERALL)]
    names += [(kind, name) for kind in config.groupings for name in groups_of(now, kind)]
    found = judge_all(
        [_compare(kind, name, m, now, then, config) for kind, name in names for m in METRICS],
        config,
    )
    places = [(kind, name) for kind, name in names for _ in METRICS]
    checks = [
        Check(
            grouping=kind,
            group=name,
            found=item,
            over_limit=_over(section, kind, name, item.metric, config),
            drifted=item.verdict == "worse" and item.change > config.drift.of(item.metric),
        )
        for (kind, name), item in zip(places, found, strict=True)
    ]
    drift = _alerts("drift", [check for check in checks if check.drifted])
    limit = _alerts("limit", [check for check in checks if check.over_limit])
    return Verdict(tuple(checks), (*drift, *limit))


def comparable(
    current: Mapping[str, Any], baseline: Mapping[str, Any], config: MonitorConfig
) -> Mapping[str, Any]:
    """Return the watched system's scores in `current`, where both may be compared at all.

    Raises:
        UserError: see `monitor`.
    """
    section = _system(current, config, "current")
    _same_settings(section, _system(baseline, config, "baseline"))
    _same_test(current, baseline)
    return section


def _compare(
    kind: str, name: str, metric: str, now: Sums, then: Sums, config: MonitorConfig
) -> Comparison:
    grouping = "" if kind == OVERALL else kind
    a, b = group(now, grouping, name), group(then, grouping, name)
    return compare(group_name(kind, name), metric, a, b, config)


def _over(
    section: Mapping[str, Any], kind: str, name: str, metric: str, config: MonitorConfig
) -> bool:
    values = section[OVERALL] if kind == OVERALL else section.get(kind, {}).get(name, {})
    return bool(values.get(f"{metric}_low", 0.0) > config.limits.of(metric))


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


def _same_test(now: Mapping[str, Any], then: Mapping[str, Any]) -> None:
    a, b = now.get("test_sha256", ""), then.get("test_sha256", "")
    if a != b:
        raise UserError(
            f"the two evaluations read different test rows (hash {str(b)[:12] or 'unknown'} then, "
            f"{str(a)[:12] or 'unknown'} now), so a difference would say nothing about the model; "
            "evaluate both on one test split"
        )


def metrics(verdict: Verdict) -> dict[str, Any]:
    """Return metrics/monitor.json: finite scalars, rises in shares of characters or tokens."""
    judged = [check for check in verdict.checks if check.found.p is not None]
    groups: dict[str, dict[str, dict[str, dict[str, float]]]] = {}
    for check in judged:
        found = check.found
        values = {
            "value": found.value,
            "baseline": found.baseline,
            "change": found.change,
            "p_adjusted": 1.0 if found.p is None else found.p,
            "detectable": found.detectable or 0.0,
            "alert": int(check.drifted or check.over_limit),
        }
        groups.setdefault(check.grouping, {}).setdefault(check.group, {})[found.metric] = values
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
        judged=sum(check.found.p is not None for check in verdict.checks),
        check_rows=[_check_row(check) for check in verdict.checks],
        runs=[name for name, _ in history],
        trend_rows=_trend(history, config),
    )


def _check_row(check: Check) -> tuple[str, ...]:
    found = check.found
    state = "limit" if check.over_limit else "alert" if check.drifted else found.reason or "ok"
    known = found.documents > 0
    return (
        group_name(check.grouping, check.group),
        found.metric,
        f"{100 * found.baseline:.2f}" if known else "-",
        f"{100 * found.value:.2f}" if known else "-",
        points(found.change) if known else "-",
        digits(found.p, ".3g"),
        "-" if found.detectable is None else points(found.detectable),
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
    for grouping, name in groups:
        cells = [group_name(grouping, name)]
        for section in (run[config.system] for _, run in history):
            values = section if grouping == OVERALL else section.get(grouping, {})
            cells.append(f"{100 * values[name]['cer']:.2f}" if name in values else "-")
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
