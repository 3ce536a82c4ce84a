"""The leaderboard page as Markdown, from the ranked entries and the metrics files alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from manifold_ocr.config import GateConfig
from manifold_ocr.evaluation.gate import Verdict, describe
from manifold_ocr.evaluation.markdown import digits, interval, render, whole
from manifold_ocr.publish.ranking import HEADLINE, Entry

TITLES = {"line": "Ranking: lines", "page": "Ranking: whole pages"}
IMPORTED = ("rows", "matched", "unmatched", "ambiguous", "repeated", "missing")
SIZES = (
    ("signature_ratio", "signatures alone"),
    ("random_signature_ratio", "the same on random text"),
    ("stored_ratio_of_signatures", "signatures, all bytes"),
    ("stored_ratio", "lossless, all bytes"),
    ("zstd_ratio", "zstd -19"),
    ("brotli_ratio", "brotli -11"),
)
Rows = list[tuple[str, ...]]


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
    subsets = sorted({name for _, entry in systems.ranked for name in entry.by_subset})
    return render(
        "publish/templates/leaderboard.md.j2",
        title=title,
        titles=[key.replace("_", " ").upper() for key in HEADLINE],
        rankings=_rankings(systems.ranked),
        partial_rows=[
            (_linked(e), e.kind, f"{_rows(e)} {e.granularity}s", *_headline(e))
            for e in systems.partial
        ],
        pair_rows=_pairs(systems.compared()),
        import_rows=[
            (e.name, *(whole(e.imported.get(key, 0)) for key in IMPORTED))
            for e in systems.imported()
        ],
        difference_rows=[
            (name, whole(base.get("n", 0)), *(interval(v, "cer") for v in (base, adapter, change)))
            for name, base, adapter, change in groups(evaluation)
        ],
        gate=describe(verdicts, gate),
        subsets=subsets,
        subset_rows=_subsets(systems.ranked, subsets),
        size_titles=[heading for _, heading in SIZES],
        size_rows=[
            (
                name,
                whole(values.get("pages", 0)),
                *(digits(values[key], ".2f") + "x" if key in values else "-" for key, _ in SIZES),
            )
            for name, values in sorted(compress.get("reference", {}).get("by_corpus", {}).items())
        ],
        apart=list(dict.fromkeys(entry.name for entry in systems.apart)),
    )


def _rankings(ranked: Sequence[tuple[int, Entry]]) -> list[tuple[str, Rows]]:
    parts = []
    for granularity in sorted({entry.granularity for _, entry in ranked}):
        rows = [
            (_linked(entry), str(position), entry.kind, _rows(entry), *_headline(entry))
            for position, entry in ranked
            if entry.granularity == granularity
        ]
        parts.append((TITLES.get(granularity, granularity), rows))
    return parts


def _pairs(entries: Sequence[Entry]) -> Rows:
    """Compare the other systems with ours on the rows that both read."""
    return [
        (
            entry.name,
            ours,
            whole(pair["n"]),
            f"{100 * pair['theirs']:.2f}",
            f"{100 * pair['ours']:.2f}",
            interval(pair, "difference"),
        )
        for entry in entries
        for ours, pair in entry.pairs.items()
    ]


def _linked(entry: Entry) -> str:
    return f"[{entry.name}]({entry.url})" if entry.url.startswith("https://") else entry.name


def _rows(entry: Entry) -> str:
    """Return `2,560`, or `500 of 2,560` where some of the test rows were read."""
    read = f"{int(entry.values.get('n', 0)):,}"
    return f"{read} of {entry.rows:,}" if entry.partial else read


def _headline(entry: Entry) -> tuple[str, ...]:
    return tuple(interval(entry.values, key) for key in HEADLINE)


def _subsets(ranked: Sequence[tuple[int, Entry]], names: Sequence[str]) -> Rows:
    return [
        (
            entry.name if entry.granularity == "line" else f"{entry.name}, {entry.granularity}s",
            *(interval(entry.by_subset.get(name, {}), "cer") for name in names),
        )
        for _, entry in ranked
        if entry.by_subset
    ]


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
