"""Targets turned into verdicts: pass, fail or not applicable, and which of them bind."""

from dataclasses import dataclass
from typing import Literal

from manifold_ocr.compression.config import Targets

Verdict = Literal["pass", "fail", "not applicable"]


@dataclass(frozen=True, slots=True)
class Gate:
    """One target of one corpus: what was wanted, what was measured, whether it binds.

    `enforced` gates are those that fail the stage under `compress.enforce: true`.
    """

    corpus: str
    name: str
    wanted: str
    value: float | None
    verdict: Verdict
    enforced: bool
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What a corpus reached; None where it could not be measured, with the reason in `why`."""

    corpus: str
    signature_ratio: float | None = None
    stored_ratio: float | None = None
    ned: float | None = None
    token_accuracy: float | None = None
    recall: float | None = None
    false_positive_rate: float | None = None
    why: str = ""


def judge(measured: Measured, targets: Targets) -> list[Gate]:
    """Return the verdicts of one corpus."""
    low, high = targets.signature_ratio_low, targets.signature_ratio_high
    rows: list[tuple[str, str, float | None, float, float, bool]] = [
        ("signature_ratio", f"{low:g}x to {high:g}x", measured.signature_ratio, low, high, False),
        _at_least("stored_ratio", measured.stored_ratio, targets.min_stored_ratio),
        _at_most("ned", measured.ned, targets.max_ned),
        _at_least("token_accuracy", measured.token_accuracy, targets.min_token_accuracy),
        _at_least("recall", measured.recall, targets.min_recall),
        _at_most(
            "false_positive_rate", measured.false_positive_rate, targets.max_false_positive_rate
        ),
    ]
    gates = []
    for name, wanted, value, least, most, enforced in rows:
        verdict: Verdict = (
            "not applicable" if value is None else "pass" if least <= value <= most else "fail"
        )
        why = measured.why if value is None else ""
        gates.append(Gate(measured.corpus, name, wanted, value, verdict, enforced, why))
    return gates


def absent(corpus: str, targets: Targets) -> list[Gate]:
    """Return `not applicable` for every gate of a corpus that the manifest does not hold."""
    return judge(Measured(corpus=corpus, why="no page of it in this manifest"), targets)


def failures(gates: list[Gate]) -> list[Gate]:
    """Return the enforced gates that fail."""
    return [gate for gate in gates if gate.enforced and gate.verdict == "fail"]


def shown(name: str, value: float) -> str:
    """Return a value of a gate in its unit: `1.61x` of ratios, `86.4 %` of shares."""
    return f"{value:.4g}x" if name.endswith("ratio") else f"{100 * value:.4g} %"


Row = tuple[str, str, float | None, float, float, bool]


def _at_least(name: str, value: float | None, limit: float) -> Row:
    return name, f"at least {shown(name, limit)}", value, limit, float("inf"), True


def _at_most(name: str, value: float | None, limit: float) -> Row:
    return name, f"at most {shown(name, limit)}", value, float("-inf"), limit, True
