"""What the monitor writes: metrics/monitor.json, a Markdown report, a webhook message, docs."""

import json
import os
import re
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from manifold_ocr.errors import UserError
from manifold_ocr.evaluation.markdown import md_table
from manifold_ocr.evaluation.monitor import (
    OVERALL,
    WATCHED,
    Alert,
    Check,
    MonitorConfig,
    Verdict,
    group_name,
)
from manifold_ocr.files import atomic_write

BEGIN = "<!-- monitor thresholds: begin (written by `manifold-ocr monitor --write-docs`) -->"
END = "<!-- monitor thresholds: end -->"
NAMES = {
    "cer": "CER",
    "insertion_rate": "insertion rate (text that is not there)",
    "deletion_rate": "deletion rate (text that was missed)",
}
WEBHOOK_TIMEOUT = 10


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


def points(share: float) -> str:
    """Return a share as percentage points with a sign."""
    return f"{100 * share:+.2f}"


def alert_line(alert: Alert) -> str:
    """Return one sentence about an alert."""
    parts = []
    for check in alert.checks:
        change = f", {points(check.change)} points" if check.baseline is not None else ""
        parts.append(f"{check.metric} {100 * check.value:.2f} %{change}")
    what = "above its limit" if alert.kind == "limit" else "got worse"
    also = f" (also seen in {', '.join(alert.echoes)})" if alert.echoes else ""
    return f"{alert.name} {what}: {'; '.join(parts)}{also}"


def report(
    verdict: Verdict, config: MonitorConfig, history: Sequence[tuple[str, Mapping[str, Any]]]
) -> str:
    """Return the Markdown report; `history` is (run name, evaluation), oldest first."""
    judged = sum(check.p is not None for check in verdict.checks)
    parts = [
        "# Monitor",
        "Written by `manifold-ocr monitor`; do not edit. Shares in percent, changes in points "
        f"against the baseline run `{history[-2][0]}`. {judged} checks were judged together; the "
        f"chance that any of them alerts without a change is at most {config.significance:g} "
        "(Holm). *Seen from* is the least rise that would raise an alert by itself: smaller ones "
        "of that group go unseen, and more documents lower it.",
        "## Alerts",
        "\n".join(f"- **{alert_line(alert)}**" for alert in verdict.alerts) or "None.",
        "## All checks",
        _check_table(verdict.checks),
        "## CER over the runs",
        _trend(history, config),
    ]
    return "\n\n".join(parts) + "\n"


def _check_table(checks: Sequence[Check]) -> str:
    rows = []
    for check in checks:
        state = "limit" if check.over_limit else "alert" if check.drifted else check.reason or "ok"
        rows.append(
            (
                group_name(check.grouping, check.group),
                check.metric,
                "-" if check.baseline is None else f"{100 * check.baseline:.2f}",
                f"{100 * check.value:.2f}",
                "-" if check.baseline is None else points(check.change),
                "-" if check.adjusted is None else f"{check.adjusted:.3g}",
                "-" if check.detectable is None else points(check.detectable),
                state,
            )
        )
    head = ("Group", "Metric", "Baseline", "Now", "Change", "p (Holm)", "Seen from", "State")
    return md_table(head, rows)


def _trend(history: Sequence[tuple[str, Mapping[str, Any]]], config: MonitorConfig) -> str:
    groups: list[tuple[str, str]] = [(OVERALL, OVERALL)]
    for grouping in config.groupings:
        names = {n for _, run in history for n in run[config.system].get(grouping, {})}
        groups += [(grouping, name) for name in sorted(names)]
    rows = []
    for grouping, group in groups:
        cells = [group_name(grouping, group)]
        for _, run in history:
            section = run[config.system]
            values = section[OVERALL] if grouping == OVERALL else section.get(grouping, {})
            values = values if grouping == OVERALL else values.get(group, {})
            cells.append(f"{100 * values['cer']:.2f}" if "cer" in values else "-")
        rows.append(cells)
    return md_table(("Group", *(name for name, _ in history)), rows)


def write_report(path: Path, text: str) -> None:
    """Write the report atomically."""
    with atomic_write(path) as file:
        file.write(text)


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
    lines = [alert_line(alert) for alert in alerts]
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


def thresholds_markdown(config: MonitorConfig) -> str:
    """Return the thresholds of params.yaml as a Markdown table."""
    rows = [
        (
            NAMES[metric],
            f"{100 * config.drift.of(metric):g} percentage points",
            f"{100 * config.limits.of(metric):g} %",
        )
        for metric in WATCHED
    ]
    head = ("Watched per corpus, subset and language", "Drift: rise over the baseline", "Limit")
    return (
        f"{md_table(head, rows)}\n\nA rise counts when it exceeds the drift threshold and its "
        f"Holm-corrected p-value over all checks of a run is below {config.significance:g}; a "
        f"limit counts when the whole 95 % interval lies above it. Groups of fewer than "
        f"{config.min_documents} documents are not judged."
    )


def write_docs(path: Path, config: MonitorConfig) -> bool:
    """Write the thresholds between the markers of a document; return whether it changed.

    Markers that are not there yet are appended with a heading.

    Raises:
        UserError: the document does not exist, or only one of the markers stands in it.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such document; create it first")
    text = path.read_text(encoding="utf-8")
    if (BEGIN in text) != (END in text):
        raise UserError(f"{path}: one of the two threshold markers is missing; restore both")
    block = f"{BEGIN}\n\n{thresholds_markdown(config)}\n\n{END}"
    if BEGIN in text:
        pattern = re.escape(BEGIN) + r".*?" + re.escape(END)
        new = re.sub(pattern, lambda _: block, text, count=1, flags=re.DOTALL)
    else:
        new = f"{text.rstrip()}\n\n## Drift thresholds\n\n{block}\n"
    if new == text:
        return False
    write_report(path, new)
    return True
