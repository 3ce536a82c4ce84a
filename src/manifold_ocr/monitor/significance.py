"""Whether a rise between two evaluations is more than chance: Welch's t and Holm's correction."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from manifold_ocr.monitor.checks import Check, MonitorConfig

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
