"""The leaderboard: rows from metrics files, ranks with ties, Markdown and JSON. Torch-free."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from manifold_ocr.errors import UserError
from manifold_ocr.files import read_json

HEADLINE = ("cer", "wer", "ned", "token_f1", "exact_match")


@dataclass(frozen=True, kw_only=True)
class LeaderboardConfig:
    """`title` of the page."""

    title: str = "manifold-ocr leaderboard"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One system: its kind, where the numbers come from, and its scalars (see docs/metrics.md)."""

    name: str
    kind: str
    source: str
    values: Mapping[str, float]
    by_subset: Mapping[str, Mapping[str, float]]
    url: str = ""
    comparable: bool = True


def own_entries(evaluation: Mapping[str, Any]) -> list[Entry]:
    """Return the entries of adapter and base from metrics/evaluate.json."""
    return [
        Entry(
            name=kind,
            kind=kind,
            source="metrics/evaluate.json",
            values=evaluation[kind]["overall"],
            by_subset=evaluation[kind].get("by_subset", {}),
        )
        for kind in ("adapter", "base")
        if kind in evaluation
    ]


def foreign_entries(folder: Path, kind: str, test_sha256: str) -> list[Entry]:
    """Return one entry for each JSON file of a folder of engine results or submissions.

    Raises:
        UserError: a file without `name` or `overall.cer`; names the file.
    """
    entries = []
    for path in sorted(folder.glob("*.json")):
        value = read_json(path)
        overall = value.get("overall") if isinstance(value, dict) else None
        if not isinstance(overall, dict) or "cer" not in overall or "name" not in value:
            raise UserError(
                f"{path}: needs 'name' and 'overall' with 'cer'; see {folder}/README.md"
            )
        entries.append(
            Entry(
                name=str(value["name"]),
                kind=kind,
                source=path.as_posix(),
                values=overall,
                by_subset=value.get("by_subset", {}),
                url=str(value.get("url", "")),
                comparable=value.get("manifest_sha256") == test_sha256,
            )
        )
    return entries


def rank(
    entries: Iterable[Entry], beaten: Collection[tuple[str, str]] = ()
) -> list[tuple[int, Entry]]:
    """Return (rank, entry) sorted by CER; a tie group shares the rank of its best member.

    An entry opens a new group when its interval lies wholly above that of the group's best
    member (disjoint intervals are sufficient for a difference, not necessary), or when
    `beaten` holds (best member's name, entry's name): a paired comparison tells them apart.
    """
    ranked: list[tuple[int, Entry]] = []
    best: Entry | None = None
    for position, entry in enumerate(sorted(entries, key=lambda e: (e.values["cer"], e.name)), 1):
        tied = (
            best is not None
            and _low(entry) <= _high(best)
            and (best.name, entry.name) not in beaten
        )
        if not tied:
            best = entry
        ranked.append((ranked[-1][0] if tied else position, entry))
    return ranked


def beaten_in_pairs(evaluation: Mapping[str, Any]) -> set[tuple[str, str]]:
    """Return (better, worse) of adapter and base where the paired interval excludes zero."""
    overall = evaluation["difference"]["overall"]
    if overall.get("cer_high", 0.0) < 0:
        return {("adapter", "base")}
    return {("base", "adapter")} if overall.get("cer_low", 0.0) > 0 else set()


def _low(entry: Entry) -> float:
    return entry.values.get("cer_low", entry.values["cer"])


def _high(entry: Entry) -> float:
    return entry.values.get("cer_high", entry.values["cer"])


def percent(values: Mapping[str, float], key: str) -> str:
    """Return `12.34 [11.90, 12.80]` in percent, or a dash where the value is undefined."""
    if key not in values:
        return "-"
    text = f"{100 * values[key]:.2f}"
    if f"{key}_low" in values:
        text += f" [{100 * values[f'{key}_low']:.2f}, {100 * values[f'{key}_high']:.2f}]"
    return text


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table; cells are escaped, the first column is left-aligned."""
    lines = [" | ".join(header), "|".join([":--", *["--:"] * (len(header) - 1)])]
    lines += [" | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in r) for r in rows]
    return "\n".join(f"| {line} |" if i != 1 else f"|{line}|" for i, line in enumerate(lines))


def summary(ranked: Sequence[tuple[int, Entry]], apart: Sequence[Entry]) -> dict[str, Any]:
    """Return the machine-readable board: entries in rank order, then those not comparable."""

    def body(entry: Entry) -> dict[str, Any]:
        keep = {k: v for k, v in entry.values.items() if isinstance(v, (int, float))}
        return {
            "name": entry.name,
            "kind": entry.kind,
            "source": entry.source,
            "url": entry.url,
            "overall": keep,
            "cer_by_subset": {s: v["cer"] for s, v in entry.by_subset.items() if "cer" in v},
        }

    return {
        "entries": [{"rank": position, **body(entry)} for position, entry in ranked],
        "not_comparable": [body(entry) for entry in apart],
    }
