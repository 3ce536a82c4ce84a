"""The leaderboard: rows from metrics files, ranks with ties, Markdown and JSON. Torch-free."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from manifold_ocr.errors import UserError
from manifold_ocr.files import read_json

HEADLINE = ("cer", "wer", "ned", "token_f1", "exact_match")


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One system at one granularity: where its numbers come from, and its scalars.

    `values` are those of docs/metrics.md. `rows` is how many rows of that granularity the test
    split holds (0: not known); a system that read fewer is `partial` and not ranked. `pairs`
    compares it with systems of ours on common rows, `imported` counts the rows of its files.
    """

    name: str
    kind: str
    source: str
    values: Mapping[str, float]
    by_subset: Mapping[str, Mapping[str, float]]
    granularity: str = "line"
    rows: int = 0
    pairs: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    imported: Mapping[str, int] = field(default_factory=dict)
    url: str = ""
    comparable: bool = True

    @property
    def partial(self) -> bool:
        """Whether it read only some of the test rows."""
        return 0 < self.values.get("n", 0) < self.rows


def entries_of(
    name: str, kind: str, source: str, value: Mapping[str, Any], rows: Mapping[str, int]
) -> list[Entry]:
    """Return one entry a granularity that the system read; `rows` are those of the test split.

    Scores without `by_granularity` (a submission) count as those of the lines, where the test
    split holds any. Subsets belong to the granularity that `overall` is of.
    """
    overall = value["overall"]
    parts = value.get("by_granularity") or {"line" if rows.get("line") else "page": overall}
    return [
        Entry(
            name=name,
            kind=kind,
            source=source,
            values=values,
            by_subset=value.get("by_subset", {}) if values == overall else {},
            granularity=granularity,
            rows=rows.get(granularity, 0),
            pairs=value.get("paired", {}) if values == overall else {},
            imported=value.get("import", {}),
            url=str(value.get("url", "")),
        )
        for granularity, values in parts.items()
        if "cer" in values
    ]


def own_entries(evaluation: Mapping[str, Any]) -> list[Entry]:
    """Return the entries of metrics/evaluate.json: adapter, base and imported runs."""
    systems = [(kind, kind, evaluation[kind]) for kind in ("adapter", "base") if kind in evaluation]
    systems += [(name, "import", v) for name, v in evaluation.get("imported", {}).items()]
    return [
        entry
        for name, kind, value in systems
        for entry in entries_of(
            name, kind, "metrics/evaluate.json", value, evaluation.get("test_rows", {})
        )
    ]


def foreign_entries(
    folder: Path, kind: str, test_sha256: str, evaluation: Mapping[str, Any]
) -> list[Entry]:
    """Return the entries of the JSON files of a folder of engine results or submissions.

    A comparison with predictions of ours that are no longer those of `evaluation` is dropped.

    Raises:
        UserError: a file without `name` or `overall.cer`; names the file.
    """
    entries: list[Entry] = []
    rows = evaluation.get("test_rows", {})
    for path in sorted(folder.glob("*.json")):
        value = read_json(path)
        overall = value.get("overall") if isinstance(value, dict) else None
        if not isinstance(overall, dict) or "cer" not in overall or "name" not in value:
            raise UserError(
                f"{path}: needs 'name' and 'overall' with 'cer'; see {folder}/README.md"
            )
        current = evaluation.get("predictions_sha256", {})
        compared = value.get("predictions_sha256", {})
        pairs = {
            system: pair
            for system, pair in value.get("paired", {}).items()
            if system in current and compared.get(system) == current[system]
        }
        comparable = value.get("manifest_sha256") == test_sha256
        body = {**value, "paired": pairs}
        found = entries_of(str(value["name"]), kind, path.as_posix(), body, rows)
        entries += [replace(entry, comparable=comparable) for entry in found]
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


def beaten_in_pairs(
    evaluation: Mapping[str, Any], entries: Iterable[Entry] = ()
) -> set[tuple[str, str]]:
    """Return (better, worse) wherever the interval of a paired comparison excludes zero.

    Adapter and base are compared in the evaluation, the other systems with each of them.
    """
    overall = evaluation["difference"]["overall"]
    found = [("adapter", "base", overall.get("cer_low", 0.0), overall.get("cer_high", 0.0))]
    found += [
        (entry.name, ours, pair.get("difference_low", 0.0), pair.get("difference_high", 0.0))
        for entry in entries
        for ours, pair in entry.pairs.items()
    ]
    beaten = {(ours, theirs) for theirs, ours, low, _ in found if low > 0}
    return beaten | {(theirs, ours) for theirs, ours, _, high in found if high < 0}


def _low(entry: Entry) -> float:
    return entry.values.get("cer_low", entry.values["cer"])


def _high(entry: Entry) -> float:
    return entry.values.get("cer_high", entry.values["cer"])


def summary(
    ranked: Sequence[tuple[int, Entry]], partial: Sequence[Entry], apart: Sequence[Entry]
) -> dict[str, Any]:
    """Return the machine-readable board: entries in rank order, then those not ranked.

    `partial` read only some of the test rows, `apart` read other ones.
    """

    def body(entry: Entry) -> dict[str, Any]:
        keep = {k: v for k, v in entry.values.items() if isinstance(v, (int, float))}
        return {
            "name": entry.name,
            "kind": entry.kind,
            "granularity": entry.granularity,
            "source": entry.source,
            "url": entry.url,
            "overall": keep,
            "cer_by_subset": {s: v["cer"] for s, v in entry.by_subset.items() if "cer" in v},
            "paired": {name: dict(pair) for name, pair in entry.pairs.items()},
        }

    return {
        "entries": [{"rank": position, **body(entry)} for position, entry in ranked],
        "partial": [{"test_rows": entry.rows, **body(entry)} for entry in partial],
        "not_comparable": [body(entry) for entry in apart],
    }
