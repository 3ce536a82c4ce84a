"""What can be said of a system's readings: fidelity, verification, optical compression."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field

from manifold_ocr.compression import archive, lossless
from manifold_ocr.compression.fidelity import Fidelity, compare, perturb
from manifold_ocr.compression.manifold import Document, Manifold, build_document
from manifold_ocr.compression.optical import OpticalPage
from manifold_ocr.compression.pages import Page
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
from manifold_ocr.config import CompressConfig
from manifold_ocr.metrics.tokens import MetricTokenizer

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
        config.codec,
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
                config.codec,
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
        build_document(page.id, page.reading.encode("utf-8"), config.codec) for page in pages
    ]
    accounts = [archive.account(document, config.codec) for document in documents]
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
        signature_ratio=archive.total(accounts).signature_ratio,
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
