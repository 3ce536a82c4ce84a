"""The leaderboard page as Markdown, from the ranked entries and the metrics files alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from manifold_ocr.evaluation.gate import GateConfig, Verdict, describe
from manifold_ocr.evaluation.markdown import interval, md_table
from manifold_ocr.publish.ranking import HEADLINE, Entry

TITLES = {"line": "Ranking: lines", "page": "Ranking: whole pages"}


@dataclass(frozen=True, kw_only=True)
class Systems:
    """Results in rank order, those of some test rows only, and those of other test rows."""

    ranked: Sequence[tuple[int, Entry]]
    partial: Sequence[Entry] = ()
    apart: Sequence[Entry] = ()

    def compared(self) -> list[Entry]:
        """Return the results that have a paired comparison with a system of ours."""
        entries = [*(entry for _, entry in self.ranked), *self.partial]
        return [entry for entry in entries if entry.pairs]

    def imported(self) -> list[Entry]:
        """Return one result of each system that was joined from prediction files."""
        entries = [*(entry for _, entry in self.ranked), *self.partial, *self.apart]
        return list({entry.name: entry for entry in entries if entry.imported}.values())


def page(
    title: str,
    systems: Systems,
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
        "on the same rows tells them apart. Lines and whole pages are different tasks and are "
        "ranked apart.",
        *_rankings(systems.ranked),
        *_partial(systems.partial),
        *_pairs(systems.compared()),
        *_imported(systems.imported()),
        "## Adapter against base, by subset",
        _differences(evaluation),
        describe(verdicts, gate),
        "## Character error rate by subset",
        _subsets(systems.ranked),
        "## Compression",
        _compression(compress),
    ]
    if systems.apart:
        names = ", ".join(dict.fromkeys(entry.name for entry in systems.apart))
        parts += ["## Not ranked", f"Read other test rows than the current test split: {names}."]
    return "\n\n".join(part for part in parts if part) + "\n"


def _rankings(ranked: Sequence[tuple[int, Entry]]) -> list[str]:
    parts = []
    for granularity in sorted({entry.granularity for _, entry in ranked}):
        rows = [
            (_linked(entry), str(position), entry.kind, _rows(entry), *_headline(entry))
            for position, entry in ranked
            if entry.granularity == granularity
        ]
        header = ("System", "Rank", "Kind", "Rows", *_titles())
        parts += [f"## {TITLES.get(granularity, granularity)}", md_table(header, rows)]
    return parts


def _partial(entries: Sequence[Entry]) -> list[str]:
    if not entries:
        return []
    rows = [(_linked(e), e.kind, f"{_rows(e)} {e.granularity}s", *_headline(e)) for e in entries]
    return [
        "## On some rows of the test split",
        "Not ranked, since other rows are easier or harder; the paired comparison below is on the "
        "same rows.",
        md_table(("System", "Kind", "Rows", *_titles()), rows),
    ]


def _pairs(entries: Sequence[Entry]) -> list[str]:
    """Compare the other systems with ours on the rows that both read."""
    if not entries:
        return []
    rows = [
        (
            entry.name,
            ours,
            f"{int(pair['n']):,}",
            f"{100 * pair['theirs']:.2f}",
            f"{100 * pair['ours']:.2f}",
            interval(pair, "difference"),
        )
        for entry in entries
        for ours, pair in entry.pairs.items()
    ]
    header = ("System", "Against", "Common rows", "CER of the system", "CER of ours", "Difference")
    return [
        "## In pairs, on common rows",
        "Difference: the system less ours, positive where ours is better; paired bootstrap by "
        "document.",
        md_table(header, rows),
    ]


def _imported(entries: Sequence[Entry]) -> list[str]:
    if not entries:
        return []
    keys = ("rows", "matched", "unmatched", "ambiguous", "repeated", "missing")
    titles = ("Rows", "Joined", "Fit no row", "Fit several", "Repeated", "Test rows without")
    rows = [(e.name, *(f"{int(e.imported.get(key, 0)):,}" for key in keys)) for e in entries]
    return [
        "## Imported prediction files",
        "A test row without a prediction counts as an empty text.",
        md_table(("System", *titles), rows),
    ]


def _linked(entry: Entry) -> str:
    return f"[{entry.name}]({entry.url})" if entry.url.startswith("https://") else entry.name


def _rows(entry: Entry) -> str:
    """Return `2,560`, or `500 of 2,560` where some of the test rows were read."""
    read = f"{int(entry.values.get('n', 0)):,}"
    return f"{read} of {entry.rows:,}" if entry.partial else read


def _titles() -> tuple[str, ...]:
    return tuple(key.replace("_", " ").upper() for key in HEADLINE)


def _headline(entry: Entry) -> tuple[str, ...]:
    return tuple(interval(entry.values, key) for key in HEADLINE)


def _differences(evaluation: Mapping[str, Any]) -> str:
    rows = []
    for name, base, adapter, difference in groups(evaluation):
        rows.append(
            (
                name,
                f"{int(base.get('n', 0)):,}",
                interval(base, "cer"),
                interval(adapter, "cer"),
                interval(difference, "cer"),
            )
        )
    return md_table(("Subset", "Rows", "Base CER", "Adapter CER", "Difference"), rows)


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
        (
            entry.name if entry.granularity == "line" else f"{entry.name}, {entry.granularity}s",
            *(interval(entry.by_subset.get(name, {}), "cer") for name in names),
        )
        for _, entry in ranked
        if entry.by_subset
    ]
    return md_table(("System", *names), rows) if names else ""


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
    return md_table(("Corpus", "Pages", *(title for _, title in SIZES)), rows) + (
        "\n\nThe first ratio counts signature bytes only and measures the length of documents, as "
        "the one on random text shows; the others count every byte that decoding needs. See "
        "[optical_structural_compression.md](../optical_structural_compression.md)."
    )
