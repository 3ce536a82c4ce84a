"""The leaderboard page as Markdown, from the ranked entries and the metrics files alone."""

from collections.abc import Mapping, Sequence
from typing import Any

from manifold_ocr.gate import GateConfig, Verdict, describe
from manifold_ocr.ranking import HEADLINE, Entry, percent, table


def page(
    title: str,
    ranked: Sequence[tuple[int, Entry]],
    apart: Sequence[Entry],
    evaluation: Mapping[str, Any],
    compress: Mapping[str, Any],
    verdicts: list[Verdict],
    gate: GateConfig,
) -> str:
    """Return the whole page; every figure comes from the arguments."""
    parts = [
        f"# {title}",
        "Written by `dvc repro leaderboard` from the files under metrics/; do not edit. All shares "
        "are in percent, with 95 % bootstrap intervals by document. Systems whose intervals "
        "overlap with that of the best of their group share its rank, unless a paired comparison "
        "on the same rows tells them apart.",
        "## Ranking",
        _ranking(ranked),
        "## Adapter against base, by subset",
        _differences(evaluation),
        describe(verdicts, gate),
        "## Character error rate by subset",
        _subsets(ranked),
        "## Compression",
        _compression(compress),
    ]
    if apart:
        names = ", ".join(entry.name for entry in apart)
        parts += ["## Not ranked", f"Read other test rows than the current test split: {names}."]
    return "\n\n".join(part for part in parts if part) + "\n"


def _ranking(ranked: Sequence[tuple[int, Entry]]) -> str:
    header = (
        "System",
        "Rank",
        "Kind",
        "Rows",
        *(key.replace("_", " ").upper() for key in HEADLINE),
    )
    rows = [
        (
            f"[{entry.name}]({entry.url})" if entry.url.startswith("https://") else entry.name,
            str(position),
            entry.kind,
            f"{int(entry.values.get('n', 0)):,}",
            *(percent(entry.values, key) for key in HEADLINE),
        )
        for position, entry in ranked
    ]
    return table(header, rows)


def _differences(evaluation: Mapping[str, Any]) -> str:
    rows = []
    for name, base, adapter, difference in groups(evaluation):
        rows.append(
            (
                name,
                f"{int(base.get('n', 0)):,}",
                percent(base, "cer"),
                percent(adapter, "cer"),
                percent(difference, "cer"),
            )
        )
    return table(("Subset", "Rows", "Base CER", "Adapter CER", "Difference"), rows)


def groups(
    evaluation: Mapping[str, Any],
) -> list[tuple[str, Mapping[str, float], Mapping[str, float], Mapping[str, float]]]:
    """Return (name, base, adapter, difference) for overall and then each subset with a CER."""
    found = []
    for name in ("overall", *sorted(evaluation["base"].get("by_subset", {}))):
        base, adapter, difference = (
            _group(evaluation.get(kind, {}), name) for kind in ("base", "adapter", "difference")
        )
        if "cer" in base:
            found.append((name, base, adapter, difference))
    return found


def _group(part: Mapping[str, Any], name: str) -> Mapping[str, float]:
    found: Mapping[str, float] = (
        part.get("overall", {}) if name == "overall" else part.get("by_subset", {}).get(name, {})
    )
    return found


def _subsets(ranked: Sequence[tuple[int, Entry]]) -> str:
    names = sorted({name for _, entry in ranked for name in entry.by_subset})
    rows = [
        (entry.name, *(percent(entry.by_subset.get(name, {}), "cer") for name in names))
        for _, entry in ranked
    ]
    return table(("System", *names), rows) if names else ""


SIZES = (
    ("signature_ratio", "signatures alone"),
    ("random_signature_ratio", "the same on random text"),
    ("stored_ratio_of_signatures", "signatures, all bytes"),
    ("stored_ratio", "lossless, all bytes"),
    ("zstd_ratio", "zstd -19"),
    ("brotli_ratio", "brotli -11"),
)


def _compression(compress: Mapping[str, Any]) -> str:
    corpora = sorted(compress.get("reference", {}).get("by_corpus", {}).items())
    if not corpora:
        return "See output/compress/report.md."
    rows = [
        (
            name,
            f"{int(values.get('pages', 0)):,}",
            *(f"{values[key]:.2f}x" if key in values else "-" for key, _ in SIZES),
        )
        for name, values in corpora
    ]
    return table(("Corpus", "Pages", *(title for _, title in SIZES)), rows) + (
        "\n\nThe first ratio counts signature bytes only and measures the length of documents, as "
        "the one on random text shows; the others count every byte that decoding needs. See "
        "[optical_structural_compression.md](../optical_structural_compression.md)."
    )
