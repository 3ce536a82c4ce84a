"""Which groups a rise comes from: one alert a cause, and the groups that only echo it."""

import math
from collections.abc import Mapping, Sequence

from manifold_ocr.monitor.checks import OVERALL, WATCHED, Alert, Check, by_group, group_name


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
