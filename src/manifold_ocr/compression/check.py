"""The compression check: manifest and predictions in; figures and gates out."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from manifold_ocr.compression import lossless
from manifold_ocr.compression.archive import Document, Manifold, build_document
from manifold_ocr.compression.fidelity import Fidelity, compare, micro_ned, perturb
from manifold_ocr.compression.optical import OpticalPage
from manifold_ocr.compression.pages import Page, Pages, gather, gather_system
from manifold_ocr.compression.signatures import Codec
from manifold_ocr.compression.sizes import OURS, Text, TextCheck, account, check_texts, ratio, total
from manifold_ocr.compression.verify import (
    QuerySet,
    Rate,
    Roc,
    Verifier,
    VerifierSettings,
    roc,
    score_foreign,
    score_own,
    undetected_changes,
)
from manifold_ocr.config import CompressConfig, Targets
from manifold_ocr.errors import UserError
from manifold_ocr.metrics.tokens import MetricTokenizer, load_tokenizer
from manifold_ocr.records import Prediction, Sample

SHIFTS = (1, 128)  # bytes cut off the front: neither is a multiple of the stride


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemCheck:
    """One system's readings of one corpus against the reference texts."""

    system: str
    corpus: str
    pages: int
    fidelity: list[Fidelity] = field(repr=False)
    signature_ratio: float | None
    optical: list[OpticalPage] = field(repr=False)
    readings: dict[str, QuerySet] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class VerificationCheck:
    """Recall and false positives of one corpus's archive, by method and query set.

    `methods` maps "signatures, gated", "signatures, tolerant" and "with text check" to query
    sets. `undetected` maps a noise rate to changed windows whose signature stayed the same.
    """

    corpus: str
    archived: int
    too_short: int
    unseen: int
    methods: dict[str, list[QuerySet]] = field(repr=False)
    curves: dict[str, Roc | None] = field(repr=False)
    undetected: dict[float, Rate] = field(repr=False)
    verifiers: dict[str, Verifier] = field(repr=False)
    places: dict[str, int] = field(repr=False)


def methods(config: CompressConfig) -> dict[str, VerifierSettings]:
    """Return the three ways to decide that the report compares.

    The hazard gate serves the exact membership it was made for; the others compare all
    windows, because errors raise the hazard and the gate then hides what they could match.
    """
    gated = VerifierSettings(
        percentile=config.hazard_percentile,
        match_share=config.match_share,
        tolerance=0,
        max_ned=None,
    )
    tolerant = dataclasses.replace(gated, percentile=100.0, tolerance=config.tolerance)
    return {
        "signatures, gated": gated,
        "signatures, tolerant": tolerant,
        "with text check": dataclasses.replace(tolerant, max_ned=config.confirm_ned),
    }


def check_verification(
    corpus: str,
    pages: Sequence[tuple[str, str]],
    documents: Sequence[Document],
    unseen: Sequence[str],
    config: CompressConfig,
) -> VerificationCheck:
    """Archive the pages that fill a window and ask with texts that were never indexed.

    `pages` are (id, reference text) in the order of `documents`; `unseen` are texts of
    pages that are not in the archive.
    """
    encoded = [text.encode("utf-8") for _, text in pages]
    kept = [page for page, data in zip(pages, encoded, strict=True) if len(data) >= config.window]
    archive = Manifold(
        Codec.of(config),
        tuple(
            dataclasses.replace(document, packed=lossless.compress(data, effort="fast"))
            for document, data in zip(documents, encoded, strict=True)
            if len(data) >= config.window
        ),
    )
    foreign = [
        text.encode("utf-8") for text in unseen if len(text.encode("utf-8")) >= config.window
    ]
    copies = {
        rate: [perturb(text, rate, config.seed, name).encode("utf-8") for name, text in kept]
        for rate in config.noise
    }
    verifiers = {name: Verifier(archive, item) for name, item in methods(config).items()}
    outcome = {name: _ask(kept, copies, foreign, verifier) for name, verifier in verifiers.items()}
    return VerificationCheck(
        corpus=corpus,
        archived=len(kept),
        too_short=len(pages) - len(kept),
        unseen=len(foreign),
        methods=outcome,
        curves={name: _curve(sets) for name, sets in outcome.items()},
        undetected={
            rate: undetected_changes(
                [(text.encode("utf-8"), copy) for (_, text), copy in zip(kept, items, strict=True)],
                Codec.of(config),
            )
            for rate, items in copies.items()
        },
        verifiers=verifiers,
        places={name: place for place, (name, _) in enumerate(kept)},
    )


def _curve(sets: Sequence[QuerySet]) -> Roc | None:
    return roc([item for item in sets if item.positive], [i for i in sets if not i.positive])


def _ask(
    kept: Sequence[tuple[str, str]],
    copies: dict[float, list[bytes]],
    foreign: Sequence[bytes],
    verifier: Verifier,
) -> list[QuerySet]:
    data = [text.encode("utf-8") for _, text in kept]
    sets = [
        score_own(
            f"first {shift} byte{'s' * (shift > 1)} missing",
            ((i, item[shift:]) for i, item in enumerate(data)),
            verifier,
        )
        for shift in SHIFTS
    ]
    sets += [
        score_own(f"{rate:.0%} of characters wrong", enumerate(items), verifier)
        for rate, items in copies.items()
    ]
    sets.append(score_foreign("other archived pages", list(enumerate(data)), verifier))
    sets.append(score_foreign("unseen pages", [(None, item) for item in foreign], verifier))
    return sets


def check_system(
    system: str,
    corpus: str,
    pages: Sequence[Page],
    verification: VerificationCheck,
    config: CompressConfig,
    tokenizer: MetricTokenizer,
) -> SystemCheck:
    """Compare a system's readings of one corpus with the references and with the archive."""
    fidelity = [compare(page.reference, page.reading, tokenizer) for page in pages]
    documents = [
        build_document(page.id, page.reading.encode("utf-8"), Codec.of(config)) for page in pages
    ]
    accounts = [account(document, Codec.of(config)) for document in documents]
    queries = [
        (verification.places[page.id], page.reading.encode("utf-8"))
        for page in pages
        if page.id in verification.places
    ]
    return SystemCheck(
        system=system,
        corpus=corpus,
        pages=len(pages),
        fidelity=fidelity,
        signature_ratio=total(accounts).signature_ratio,
        optical=[
            OpticalPage(page.id, corpus, page.vision_tokens, counts)
            for page, counts in zip(pages, fidelity, strict=True)
            if page.vision_tokens
        ],
        readings={
            name: score_own(f"read by {system}", queries, verifier)
            for name, verifier in verification.verifiers.items()
        },
    )


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
    def optical(self) -> dict[str, list[OpticalPage]]:
        """The pages of each system whose vision tokens are known."""
        return {
            name: [page for item in items for page in item.optical]
            for name, items in self.systems.items()
        }

    @property
    def failed(self) -> list[Gate]:
        """Enforced gates that fail."""
        return [gate for gate in self.gates if gate.enforced and gate.verdict == "fail"]


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
        none = Measured(corpus=corpus, why="no page of it in this manifest")
        found += judge(none, config.targets[corpus])
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
