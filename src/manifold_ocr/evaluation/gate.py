"""The per-subset gate: an adapter that loses too much anywhere is refused.

Torch-free and without data: it reads metrics/evaluate.json alone, so a pull request can be
judged on any machine.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from manifold_ocr.config import GateConfig
from manifold_ocr.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the gate says of one group: its change of CER, and whether that is acceptable."""

    grouping: str
    group: str
    change: float
    low: float
    high: float
    passed: bool
    allowed: bool


def judge(evaluation: Mapping[str, Any], config: GateConfig) -> list[Verdict]:
    """Return one verdict for each corpus, subset and language of metrics/evaluate.json.

    A group fails when its CER, adapter minus base, exceeds `max_loss`; the point estimate
    decides, so that a small group cannot hide a collapse behind a wide interval.

    Raises:
        UserError: the evaluation has no `difference` section.
    """
    if not evaluation.get("difference"):
        raise UserError(
            "metrics/evaluate.json has no 'difference' section: run `dvc repro evaluate`"
        )
    verdicts = []
    for grouping in ("by_corpus", "by_subset", "by_language"):
        for group, values in sorted(evaluation["difference"].get(grouping, {}).items()):
            if "cer" not in values:
                continue
            verdicts.append(
                Verdict(
                    grouping=grouping,
                    group=group,
                    change=values["cer"],
                    low=values.get("cer_low", values["cer"]),
                    high=values.get("cer_high", values["cer"]),
                    passed=values["cer"] <= config.max_loss or group in config.allow,
                    allowed=group in config.allow,
                )
            )
    return verdicts


def describe(verdicts: list[Verdict], config: GateConfig) -> str:
    """Return one line for people: passed, or which groups lost how many points."""
    lost = [verdict for verdict in verdicts if not verdict.passed]
    if lost:
        groups = ", ".join(f"{v.group} {100 * v.change:+.2f} points of CER" for v in lost)
        return (
            f"gate: REFUSED, more than {100 * config.max_loss:g} points lost: {groups}; raise "
            "train.rehearsal, or accept the loss by naming the group in gate.allow"
        )
    return f"gate: passed, no group loses more than {100 * config.max_loss:g} points of CER"
