"""The compression check: manifest and predictions in; figures, gates, report and plots out."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from manifold_ocr.compression.archive import ratio
from manifold_ocr.compression.fidelity import micro_ned
from manifold_ocr.compression.pages import Page, Pages, gather, gather_system
from manifold_ocr.compression.system_check import (
    SystemCheck,
    VerificationCheck,
    check_system,
    check_verification,
)
from manifold_ocr.compression.text_check import OURS, Text, TextCheck, check_texts
from manifold_ocr.config import CompressConfig, Targets
from manifold_ocr.errors import UserError
from manifold_ocr.metrics.tokens import load_tokenizer
from manifold_ocr.records import Prediction, Sample

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """All that was measured. `gates` judge the first system of `systems`."""

    config: CompressConfig
    tokenizer: str
    texts: list[TextCheck]
    verification: list[VerificationCheck]
    systems: dict[str, list[SystemCheck]]
    pages: dict[str, Pages]
    gates: list[Gate]

    @property
    def failed(self) -> list[Gate]:
        """Enforced gates that fail."""
        return failures(self.gates)


def run_check(
    config: CompressConfig,
    samples: Sequence[Sample],
    systems: Mapping[str, Iterable[Prediction]],
    others: Iterable[Sample] = (),
) -> Check:
    """Measure reference texts, then each system's readings of them.

    `others` are samples of other splits: dictionaries and unseen pages come from them. The
    gates judge the first of `systems`; without any, what needs a reading is not applicable.

    Raises:
        UserError: no transcription row, or predictions that name nothing of the manifest.
    """
    tokenizer = load_tokenizer(config.metric_tokenizer)
    references = gather(samples, None)
    if not references.pages:
        raise UserError("no transcription row to check; see the manifest's rejected rows")
    read = {name: gather_system(name, samples, rows) for name, rows in systems.items()}
    elsewhere = _by_corpus(gather(others, None).pages)
    texts, verification = [], []
    results: dict[str, list[SystemCheck]] = {name: [] for name in systems}
    first = next(iter(read.values()), references)  # its unit, lines or page rows, is the text
    for corpus, pages in _by_corpus(first.pages).items():
        unseen = _spread(elsewhere.get(corpus, []), config.unseen_pages)
        named = [Text(page.id, page.reference) for page in pages]
        text = check_texts(corpus, named, unseen, config, tokenizer)
        verified = check_verification(
            corpus, [(t.id, t.text) for t in named], text.documents, unseen, config
        )
        texts.append(text)
        verification.append(verified)
        for name, gathered in read.items():
            own = _by_corpus(gathered.pages).get(corpus, [])
            results[name].append(check_system(name, corpus, own, verified, config, tokenizer))
    return Check(
        config=config,
        tokenizer=tokenizer.name,
        texts=texts,
        verification=verification,
        systems=results,
        pages=read or {"reference": references},
        gates=_gates(config, texts, verification, next(iter(results.values()), [])),
    )


def _spread(pages: Sequence[Page], most: int) -> list[str]:
    """Return the texts of at most about `most` pages, evenly spread; 0 is all."""
    step = max(1, len(pages) // most) if most else 1
    return [page.reference for page in pages[::step]]


def _by_corpus(pages: Iterable[Page]) -> dict[str, list[Page]]:
    groups: dict[str, list[Page]] = {}
    for page in pages:
        groups.setdefault(page.corpus, []).append(page)
    return dict(sorted(groups.items()))


def _gates(
    config: CompressConfig,
    texts: Sequence[TextCheck],
    verification: Sequence[VerificationCheck],
    readings: Sequence[SystemCheck],
) -> list[Gate]:
    by_corpus = {check.corpus: check for check in readings}
    found: list[Gate] = []
    for text, verified in zip(texts, verification, strict=True):
        measured = measure(text, verified, by_corpus.get(text.corpus))
        found += judge(measured, config.targets_of(text.corpus))
    present = {text.corpus for text in texts}
    for corpus in sorted(set(config.targets) - present - {"default"}):
        found += absent(corpus, config.targets[corpus])
    return found


def measure(text: TextCheck, verified: VerificationCheck, reading: SystemCheck | None) -> Measured:
    """Reduce the checks of one corpus to the values that gates judge.

    Where every text is shorter than one window, nothing is applicable.
    """
    if not verified.archived:
        return Measured(corpus=text.corpus, why="every text is shorter than one window")
    decisions = verified.methods["with text check"]
    negatives = [item.decisions for item in decisions if not item.positive]
    wrong, asked = sum(r.successes for r in negatives), sum(r.trials for r in negatives)
    read = reading.readings["with text check"].decisions if reading else None
    tokens = [item.tokens for item in reading.fidelity] if reading else []
    return Measured(
        corpus=text.corpus,
        signature_ratio=text.account.signature_ratio,
        stored_ratio=ratio(text.table.original_bytes, text.table.sizes[OURS]),
        ned=micro_ned(item.characters for item in reading.fidelity) if reading else None,
        token_accuracy=1 - micro_ned(tokens) if reading else None,
        recall=read.value if read else None,
        false_positive_rate=wrong / asked if asked else None,
        why="no predictions to judge" if reading is None else "nothing to confuse it with",
    )
