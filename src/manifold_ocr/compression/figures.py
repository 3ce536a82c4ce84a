"""metrics/compress.json: finite scalars only; what is undefined is left out and named."""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from manifold_ocr.compression import archive, optical
from manifold_ocr.compression.archive import ratio
from manifold_ocr.compression.check import Check
from manifold_ocr.compression.fidelity import lcs_scores, micro_ned, prototype_scores
from manifold_ocr.compression.system_check import SystemCheck, VerificationCheck
from manifold_ocr.compression.text_check import OURS, OURS_WITH_SIGNATURES, TextCheck

Values = dict[str, float | None]


def metrics(check: Check) -> dict[str, Any]:
    """Return the nested metrics of a check.

    `reference` holds what depends on the texts alone, each system its readings, both with
    `overall` and `by_corpus`; `gates` counts verdicts; `undefined` names missing values.
    """
    undefined: dict[str, str] = {}
    result: dict[str, Any] = {
        "reference": {
            "overall": text_values(check.texts),
            "by_corpus": {item.corpus: text_values([item]) for item in check.texts},
        },
        "verification": {
            "by_corpus": {item.corpus: verification_values(item) for item in check.verification}
        },
    }
    for name, items in check.systems.items():
        result[name] = {
            "overall": system_values(items),
            "by_corpus": {item.corpus: system_values([item]) for item in items},
        }
    result = _finite(result, "", undefined)
    verdicts = [gate.verdict for gate in check.gates]
    result["gates"] = {
        "passed": verdicts.count("pass"),
        "failed": verdicts.count("fail"),
        "failed_enforced": len(check.failed),
        "not_applicable": verdicts.count("not applicable"),
    }
    result["undefined"] = undefined
    return result


def text_values(items: Sequence[TextCheck]) -> Values:
    """Pool the text figures of some corpora."""
    total = archive.total([item.account for item in items])
    rebuilt = [pair for item in items for pair in item.rebuilt]
    tokens = sum(item.tokens for item in items)
    original = sum(item.table.original_bytes for item in items)
    random = archive.total([item.controls[0].account for item in items])
    shuffled = archive.total([item.controls[1].account for item in items])
    values: Values = {
        "pages": total.documents,
        "pages_shorter_than_a_window": sum(item.short_pages for item in items),
        "bytes": total.original_bytes,
        "windows": total.windows,
        "signatures": total.signatures,
        "signature_ratio": total.signature_ratio,
        "stored_ratio_of_signatures": total.stored_ratio,
        "stored_ratio": ratio(original, _sum(items, OURS)),
        "stored_ratio_with_signatures": ratio(original, _sum(items, OURS_WITH_SIGNATURES)),
        "random_stored_ratio": ratio(
            sum(item.controls[0].sampled_bytes for item in items),
            sum(item.controls[0].lossless_bytes for item in items),
        ),
        "random_signature_ratio": random.signature_ratio,
        "random_stored_ratio_of_signatures": random.stored_ratio,
        "shuffled_signature_ratio": shuffled.signature_ratio,
        "tokens": tokens,
        "tokens_per_unique_signature": ratio(tokens, total.signatures),
        "random_tokens_per_unique_signature": ratio(
            sum(item.controls[0].tokens for item in items), random.signatures
        ),
        "tokens_per_window": ratio(tokens, total.windows),
        "rebuilt_ned": micro_ned(pair.characters for pair in rebuilt),
        "rebuilt_token_accuracy": 1 - micro_ned(pair.tokens for pair in rebuilt),
        "pages_smaller_than_zstd": sum(item.table.wins for item in items),
    }
    for name in ("zlib -9", "xz -9e", "zstd -19", "brotli -11", "PPMd"):
        key = name.split()[0].lower()
        values[f"{key}_ratio"] = ratio(original, _sum(items, name))
    return values


def system_values(items: Sequence[SystemCheck]) -> Values:
    """Pool one system's figures over some corpora."""
    pairs = [pair for item in items for pair in item.fidelity]
    characters, tokens = [p.characters for p in pairs], [p.tokens for p in pairs]
    precision, recall, f1 = lcs_scores(tokens)
    values: Values = {
        "pages": sum(item.pages for item in items),
        "ned": micro_ned(characters),
        "token_accuracy": 1 - micro_ned(tokens),
        "token_precision": precision,
        "token_recall": recall,
        "token_f1": f1,
        "compat_token_accuracy": prototype_scores(tokens).accuracy,
        "compat_token_f1": prototype_scores(tokens).f1,
    }
    for method, key in METHOD_KEYS.items():
        rates = [item.readings[method].decisions for item in items]
        done, asked = sum(r.successes for r in rates), sum(r.trials for r in rates)
        values[f"recall_{key}"] = ratio(done, asked)
    pages = [page for item in items for page in item.optical]
    if pages:
        pooled = optical.pool("all", pages)
        values["optical_pages"] = pooled.pages
        values["optical_ratio"] = pooled.ratio
        values["vision_tokens_per_page"] = pooled.vision_tokens / pooled.pages
        values["accuracy_times_compression"] = pooled.accuracy * pooled.ratio
    return values


METHOD_KEYS = {
    "signatures, gated": "signatures_gated",
    "signatures, tolerant": "signatures_tolerant",
    "with text check": "text_checked",
}


def verification_values(item: VerificationCheck) -> dict[str, Any]:
    """Return recall, false positive rate and ROC area of each method on one corpus."""
    values: dict[str, Any] = {"archived": item.archived, "unseen": item.unseen}
    for method, key in METHOD_KEYS.items():
        good = [s.decisions for s in item.methods[method] if s.positive]
        bad = [s.decisions for s in item.methods[method] if not s.positive]
        curve = item.curves[method]
        values[key] = {
            "recall": ratio(sum(r.successes for r in good), sum(r.trials for r in good)),
            "false_positive_rate": ratio(sum(r.successes for r in bad), sum(r.trials for r in bad)),
            "roc_area": curve.area if curve else None,
        }
    for rate, unnoticed in item.undetected.items():
        values[f"undetected_at_{rate:g}".replace(".", "_")] = unnoticed.value
    return values


def summary(check: Check, folder: Path) -> str:
    """Return the few lines that the terminal shows."""
    values = metrics(check)
    overall, gates = values["reference"]["overall"], values["gates"]
    return (
        f"compress_check: {overall['pages']:.0f} pages; signature ratio "
        f"{overall.get('signature_ratio', 0):.1f}x (random text "
        f"{overall.get('random_signature_ratio', 0):.1f}x), all bytes counted "
        f"{overall.get('stored_ratio_of_signatures', 0):.2f}x; lossless "
        f"{overall['stored_ratio']:.2f}x (zstd -19 {overall['zstd_ratio']:.2f}x, random text "
        f"{overall['random_stored_ratio']:.2f}x)\n"
        f"compress_check: gates: {gates['passed']} pass, {gates['failed']} fail "
        f"({gates['failed_enforced']} binding), {gates['not_applicable']} not applicable: "
        f"{folder}/report.md"
    )


def _sum(items: Iterable[TextCheck], name: str) -> int:
    return sum(item.table.sizes[name] for item in items)


def _finite(value: dict[str, Any], where: str, undefined: dict[str, str]) -> dict[str, Any]:
    """Drop undefined values, round to 6 digits, and note what was dropped by group."""
    kept: dict[str, Any] = {}
    missing = []
    for key, item in value.items():
        if isinstance(item, dict):
            kept[key] = _finite(item, f"{where}.{key}" if where else key, undefined)
        elif item is None or not math.isfinite(item):
            missing.append(key)
        else:
            kept[key] = round(item, 6)
    if missing:
        undefined[where] = ", ".join(missing)
    return kept
