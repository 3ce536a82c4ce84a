"""The leaderboard's page in Markdown, from the board and the metrics files alone."""

from collections.abc import Mapping, Sequence
from typing import Any

from manifold_ocr.config import GateConfig
from manifold_ocr.evaluation.gate import describe
from manifold_ocr.evaluation.markdown import digits, edits, interval, render, whole
from manifold_ocr.metrics.paired import Comparison
from manifold_ocr.publish.ranking import HEADLINE, OURS, Board, Entry, Track

IMPORTED = ("rows", "matched", "unmatched", "ambiguous", "repeated", "missing")
SIZES = (
    ("signature_ratio", "signatures alone"),
    ("random_signature_ratio", "the same on random text"),
    ("stored_ratio_of_signatures", "signatures, all bytes"),
    ("stored_ratio", "lossless, all bytes"),
    ("zstd_ratio", "zstd -19"),
    ("brotli_ratio", "brotli -11"),
)
SPACES = (  # columns of docs/metrics.md that tell spaces apart, where the scores hold them
    ("cer_without_spaces", "CER without spaces"),
    ("cer_casefold", "CER without case"),
    ("space_precision", "Space precision"),
    ("space_recall", "Space recall"),
)
COSTS = (
    ("parameters", "Parameters", "{:,.0f}"),
    ("seconds", "Seconds per row", "{:.3g}"),
    ("memory_gib", "Memory, GiB", "{:.3g}"),
    ("vision_tokens", "Vision tokens per row", "{:,.0f}"),
    ("cost_usd", "USD per 1,000 rows", "{:.2f}"),
)
Rows = list[tuple[str, ...]]


def page(
    title: str,
    board: Board,
    evaluation: Mapping[str, Any],
    compress: Mapping[str, Any],
    verdicts: Sequence[Comparison],
    gate: GateConfig,
) -> str:
    """Return the Markdown page; every figure comes from the arguments."""
    imported = {e.name: e for e in board.entries if e.imported}
    return render(
        "publish/templates/leaderboard.md.j2",
        title=title,
        titles=[key.replace("_", " ").upper() for key in HEADLINE],
        tracks=[_track(track) for track in board.tracks],
        import_rows=[
            (name, *(whole(entry.imported.get(key, 0)) for key in IMPORTED))
            for name, entry in imported.items()
        ],
        difference_rows=[
            (name, whole(base.get("n", 0)), *(interval(v, "cer") for v in (base, adapter, change)))
            for name, base, adapter, change in groups(evaluation)
        ],
        gate=describe(verdicts, gate),
        size_titles=[heading for _, heading in SIZES],
        size_rows=sizes(compress),
        efficiency_rows=efficiency(compress),
        apart=board.apart,
        retracted=[(entry.name, entry.about.retracted) for entry in board.retracted],
    )


def _track(track: Track) -> dict[str, Any]:
    """Return one track as the template shows it."""
    entries = [entry for _, entry in track.ranked] + list(track.partial)
    subsets = sorted({name for entry in entries for name in entry.by_subset})
    spaces = [(key, title) for key, title in SPACES if any(key in e.values for e in entries)]
    costs = [c for c in COSTS if any(getattr(e.about, c[0]) is not None for e in entries)]
    about = costs or any(e.about.license for e in entries)
    return {
        "track": track,
        "page_set": track.page_set[:12],
        "rows": [
            (_linked(entry), str(position), entry.kind, whole(entry.rows), *_headline(entry))
            for position, entry in track.ranked
        ],
        "partial_rows": [
            (_linked(e), e.kind, f"{whole(e.rows)} of {whole(track.rows)}", *_headline(e))
            for e in track.partial
        ],
        "pair_rows": _pairs(track),
        "space_titles": [title for _, title in spaces],
        "space_rows": [
            (entry.name, *(interval(entry.values, key) for key in ("cer", *(k for k, _ in spaces))))
            for entry in entries
        ]
        if spaces
        else [],
        "class_rows": [
            (entry.name, *edits(entry.values))
            for entry in entries
            if "substitutions_letters" in entry.values
        ],
        "cost_titles": [*(heading for _, heading, _ in costs), "License", "Measured on"],
        "cost_rows": [_costs(entry, costs) for entry in entries] if about else [],
        "subsets": subsets,
        "subset_rows": [
            (entry.name, *(interval(entry.by_subset.get(name, {}), "cer") for name in subsets))
            for entry in entries
            if entry.by_subset
        ],
    }


def _pairs(track: Track) -> Rows:
    """Return what is told of every pair: an engine against the first entry or one of ours."""
    return [
        (
            a.name,
            b.name,
            whole(item.documents),
            f"{100 * item.value:.2f}",
            f"{100 * item.baseline:.2f}",
            f"{100 * item.change:.2f} [{100 * item.low:.2f}, {100 * item.high:.2f}]",
            item.verdict if item.p is not None else item.reason,
        )
        for a, b, item in track.pairs
        if b.kind in OURS or b is track.ranked[0][1]
    ]


def _costs(entry: Entry, costs: Sequence[tuple[str, str, str]]) -> tuple[str, ...]:
    """Return what an entry states of `costs`, then its license and hardware."""
    values = [(getattr(entry.about, key), form) for key, _, form in costs]
    return (
        entry.name,
        *("-" if value is None else form.format(value) for value, form in values),
        entry.about.license or "-",
        entry.about.hardware or "-",
    )


def _linked(entry: Entry) -> str:
    name = (
        f"{entry.name} (contaminated: {entry.about.contaminated})"
        if (entry.about.contaminated)
        else entry.name
    )
    return f"[{name}]({entry.about.url})" if entry.about.url.startswith("https://") else name


def _headline(entry: Entry) -> tuple[str, ...]:
    return tuple(interval(entry.values, key) for key in HEADLINE)


def sizes(compress: Mapping[str, Any]) -> Rows:
    """Return (corpus, pages, ratios in the order of SIZES) of the compression check."""
    return [
        (
            name,
            whole(values.get("pages", 0)),
            *(digits(values[key], ".2f") + "x" if key in values else "-" for key, _ in SIZES),
        )
        for name, values in sorted(compress.get("reference", {}).get("by_corpus", {}).items())
    ]


def efficiency(compress: Mapping[str, Any]) -> Rows:
    """Return what the compression check measured of our systems' readings, page by page."""
    keys = ("optical_ratio", "vision_tokens_per_page", "accuracy_times_compression")
    found: Rows = []
    for name in OURS:
        values = compress.get(name, {}).get("overall", {})
        if all(key in values for key in keys):
            accuracy = 1 - values["ned"]
            ratio, tokens, product = (values[key] for key in keys)
            cells = (f"{100 * accuracy:.2f}", f"{ratio:.2f}x", f"{tokens:,.0f}", f"{product:.3f}")
            found.append((name, whole(values["optical_pages"]), *cells))
    return found


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
