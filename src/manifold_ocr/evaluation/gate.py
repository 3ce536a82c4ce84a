"""The per-subset gate: an adapter that is worse than the base by too much anywhere is refused.

Torch-free and without data: the sums of each document stand in the evaluation itself, so a pull
request can be judged on any machine. What "worse" means stands in `metrics.paired`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from manifold_ocr.config import GateConfig, MonitorConfig
from manifold_ocr.errors import UserError
from manifold_ocr.metrics.paired import (
    Comparison,
    Counts,
    Key,
    Sums,
    compare,
    group,
    groups_of,
    judge_all,
    read_sums,
)

GROUPINGS = ("by_corpus", "by_subset", "by_language")


def sums_of(
    evaluation: Mapping[str, Any], system: str, where: str = "metrics/evaluate.json"
) -> dict[Key, Counts]:
    """Return the documents' sums of one system of an evaluation.

    Raises:
        UserError: it holds none, as evaluations of earlier releases do.
    """
    lines = evaluation.get("documents", {}).get(system)
    if lines is None:
        raise UserError(
            f"{where} has no sums per document of {system!r}, which comparing in pairs needs: "
            "run `dvc repro evaluate`"
        )
    return read_sums(lines, where)


def judge(evaluation: Mapping[str, Any], rule: MonitorConfig) -> list[Comparison]:
    """Return one comparison, adapter less base, for each corpus, subset and language.

    Raises:
        UserError: the evaluation has no sums per document.
    """
    return judge_sums(sums_of(evaluation, "adapter"), sums_of(evaluation, "base"), rule)


def judge_sums(now: Sums, then: Sums, rule: MonitorConfig) -> list[Comparison]:
    """Return one comparison, `now` less `then`, for each corpus, subset and language."""
    found = [
        compare(name, "cer", group(now, grouping, name), group(then, grouping, name), rule)
        for grouping in GROUPINGS
        for name in groups_of(then, grouping)
    ]
    return judge_all(found, rule)


def refused(comparisons: Sequence[Comparison], config: GateConfig) -> list[Comparison]:
    """Return the groups that fail: worse by the rule, by more than `max_loss`, not in `allow`."""
    return [
        item
        for item in comparisons
        if item.verdict == "worse"
        and item.change > config.max_loss
        and item.name not in config.allow
    ]


def describe(comparisons: Sequence[Comparison], config: GateConfig) -> str:
    """Return one line for people: passed, or which groups lost how many points."""
    lost = refused(comparisons, config)
    limit = f"{100 * config.max_loss:g}"
    if lost:
        groups = ", ".join(f"{item.name} {100 * item.change:+.2f} points of CER" for item in lost)
        return (
            f"gate: REFUSED, more than {limit} points lost: {groups}; raise train.rehearsal, or "
            "accept the loss by naming the group in gate.allow"
        )
    text = f"gate: passed, no group is known to lose more than {limit} points of CER"
    unsure = [
        f"{item.name} {100 * item.change:+.2f} ({item.reason or 'may be chance'})"
        for item in comparisons
        if item.change > config.max_loss and item.name not in config.allow
    ]
    return text + (f"; lost more on these documents: {', '.join(unsure)}" if unsure else "")
