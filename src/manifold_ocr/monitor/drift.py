"""Has the model got worse? Compare an evaluation with an earlier one, group by group.

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

from collections.abc import Mapping
from typing import Any

from manifold_ocr.errors import UserError
from manifold_ocr.monitor.causes import attribute
from manifold_ocr.monitor.checks import (
    OVERALL,
    WATCHED,
    Alert,
    Check,
    MonitorConfig,
    Verdict,
    by_group,
)
from manifold_ocr.monitor.significance import correct, welch


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
