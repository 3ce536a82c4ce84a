"""What the monitor watches and what it finds: settings, checks of single metrics, alerts."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

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
