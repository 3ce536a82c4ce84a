"""Results of systems, the tracks they are compared in, and their ranks. Torch-free.

A track is one corpus, read as lines or as whole pages, on one set of pages under one
normalization profile: only inside it are systems ranked. Ranks come from `evaluation.gate`'s rule:
a system opens a new rank where it is worse than the best of the rank before.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from manifold_ocr.config import MonitorConfig
from manifold_ocr.errors import UserError, build
from manifold_ocr.files import read_json, sha256_json
from manifold_ocr.metrics.paired import Comparison, Counts, Key, compare, judge_all, read_sums
from manifold_ocr.settings import settings

HEADLINE = ("cer", "wer", "ned", "token_f1", "exact_match")
DIGITS = 12  # of intervals: the last of a float differ from one CPU to the next
OURS = ("adapter", "base", "base+gap")  # others are compared with these in pairs
SAME_RUN = {"base": "base+gap"}  # one run of the network is decoded both ways


@settings
class About:
    """What is known of a system beside its errors; None: not known.

    Seconds and memory are of reading one row (a line or a page) on the machine that measured
    them; `cost_usd` is for 1,000 rows. `contaminated` and `retracted` hold the reason.
    """

    url: str = ""
    license: str = ""
    hardware: str = ""
    parameters: int | None = None
    seconds: float | None = None
    memory_gib: float | None = None
    vision_tokens: float | None = None
    cost_usd: float | None = None
    contaminated: str = ""
    retracted: str = ""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One system on one corpus at one granularity: its scalars, and its documents' sums.

    `values` are those of docs/metrics.md. `imported` counts the rows of its files.
    """

    name: str
    kind: str
    source: str
    corpus: str
    granularity: str
    profile: str
    values: Mapping[str, float]
    sums: Mapping[Key, Counts] = field(repr=False)
    by_subset: Mapping[str, Mapping[str, float]] = field(default_factory=dict, repr=False)
    imported: Mapping[str, int] = field(default_factory=dict)
    about: About = field(default_factory=About)

    @property
    def pages(self) -> frozenset[tuple[Key, int, int]]:
        """The documents it read, each with its rows and reference characters."""
        return frozenset((key, c[0], c[1]) for key, c in self.sums.items())

    @property
    def cer(self) -> float:
        """Wrong characters over reference characters; infinite without a reference character."""
        characters = sum(counts[1] for counts in self.sums.values())
        return (
            sum(counts[2] for counts in self.sums.values()) / characters if characters else math.inf
        )

    @property
    def rows(self) -> int:
        """Rows read."""
        return sum(counts[0] for counts in self.sums.values())


@dataclass(frozen=True, kw_only=True)
class Track:
    """Systems on one page set.

    `ranked` is in rank order. `partial` read a part of the pages only, `pairs` are comparisons
    (system, against, outcome) on common documents.
    """

    corpus: str
    granularity: str
    profile: str
    page_set: str
    rows: int
    documents: int
    ranked: Sequence[tuple[int, Entry]]
    partial: Sequence[Entry]
    pairs: Sequence[tuple[Entry, Entry, Comparison]]

    @property
    def title(self) -> str:
        """Such as `synthetic, lines`."""
        return f"{self.corpus}, {'whole pages' if self.granularity == 'page' else 'lines'}"

    @property
    def lent(self) -> list[tuple[str, str]]:
        """Pairs of systems, the second of which has the costs of the first one's run."""
        seconds = {e.name: e.about.seconds for _, e in self.ranked if e.about.seconds is not None}
        return [(a, b) for a, b in SAME_RUN.items() if a in seconds and b in seconds]


@dataclass(frozen=True, kw_only=True)
class Board:
    """All tracks; `apart` are (name, reason) of what is in none, `retracted` stays listed."""

    tracks: Sequence[Track]
    apart: Sequence[tuple[str, str]] = ()
    retracted: Sequence[Entry] = ()

    @property
    def entries(self) -> list[Entry]:
        """Every entry of a track, ranked ones first."""
        return [
            entry
            for track in self.tracks
            for entry in (*(e for _, e in track.ranked), *track.partial)
        ]


def entries_of(
    name: str, kind: str, source: str, value: Mapping[str, Any], about: Mapping[str, About]
) -> list[Entry]:
    """Return one entry per corpus and granularity that the system read.

    `about` holds what is known by granularity, or of all under an empty key.

    Raises:
        UserError: damaged sums; names the source.
    """
    sums = read_sums(value.get("documents", []), source)
    parts: dict[tuple[str, str], dict[Key, Counts]] = {}
    for key, counts in sums.items():
        parts.setdefault((key.corpus, key.granularity), {})[key] = counts
    found = []
    for (corpus, granularity), own in sorted(parts.items()):
        entry = Entry(
            name=name,
            kind=kind,
            source=source,
            corpus=corpus,
            granularity=granularity,
            profile=str(value.get("settings", {}).get("profile", "")),
            values={},
            sums=own,
            imported=value.get("import", {}),
            about=about.get(granularity) or about.get("") or About(),
        )
        values = _values(value, entry, single=len({c for c, _ in parts}) == 1)
        main = values == value.get("overall") or value.get("by_corpus", {}).get(corpus) == values
        subsets = {key.subset for key in own}
        by_subset = {s: v for s, v in value.get("by_subset", {}).items() if main and s in subsets}
        found.append(replace(entry, values=values, by_subset=by_subset))
    return found


def _values(value: Mapping[str, Any], entry: Entry, *, single: bool) -> Mapping[str, float]:
    """Return the section of the scores that is of just these rows; CER alone where none is."""
    candidates = [value.get("by_corpus", {}).get(entry.corpus, {})]
    if single:
        candidates += [value.get("by_granularity", {}).get(entry.granularity, {})]
        candidates += [value.get("overall", {})]
    for values in candidates:
        if values.get("n") == entry.rows and math.isclose(
            values.get("cer", -1.0), entry.cer, rel_tol=1e-9, abs_tol=1e-12
        ):
            found: Mapping[str, float] = values
            return found
    return {"n": entry.rows, "cer": entry.cer}


def own_entries(evaluation: Mapping[str, Any], about: Mapping[str, About]) -> list[Entry]:
    """Return the entries of metrics/evaluate.json: adapter, base, others and imported runs."""
    source = "metrics/evaluate.json"
    documents = evaluation.get("documents", {})
    found = []
    for name, lines in documents.items():
        imported = evaluation.get("imported", {}).get(name)
        value = {**(imported or evaluation.get(name, {})), "documents": lines}
        kind = "import" if imported else name
        found += entries_of(name, kind, source, value, {"": about.get(name, About())})
    return found


def engine_entries(folder: Path, test_sha256: str) -> tuple[list[Entry], list[tuple[str, str]]]:
    """Return the entries of a folder of engine results, and what cannot be compared and why.

    Raises:
        UserError: a file without `name` and `overall`, or with damaged values; names the file.
    """
    entries: list[Entry] = []
    apart: list[tuple[str, str]] = []
    for path in sorted(folder.glob("*.json")):
        value = read_json(path)
        if not isinstance(value, dict) or not isinstance(value.get("overall"), dict):
            raise UserError(
                f"{path}: needs `name` and `overall`; run `manifold-ocr eval --engine NAME` again"
            )
        name = str(value.get("name", path.stem))
        if value.get("manifest_sha256") != test_sha256:
            apart.append((name, "read other test rows"))
        elif not value.get("documents"):
            apart.append(
                (name, "no sums per document: run `manifold-ocr eval --engine NAME` again")
            )
        else:
            known = {
                kind: build(About, taken, f"{path}: about.{kind}")
                for kind, taken in value.get("about", {}).items()
            }
            entries += entries_of(name, "engine", path.as_posix(), value, known)
    return entries, apart


def lend_costs(
    own: Sequence[Entry], engines: Sequence[Entry]
) -> tuple[list[Entry], list[tuple[str, str]]]:
    """Return all entries, and what is apart: an engine's result with the name of one of ours.

    The evaluate stage keeps no times, since its outs are the same on every machine. A result of
    `manifold-ocr eval --engine checkpoint --label adapter` on the same rows, with the same errors,
    lends them, to `base+gap` too where it is of the base; with other errors it is of another
    adapter.
    """
    entries, apart = list(own), []
    for entry in engines:
        near = {
            e.name: n
            for n, e in enumerate(own)
            if (e.corpus, e.granularity) == (entry.corpus, entry.granularity)
        }
        if entry.name not in near:
            entries.append(entry)
        elif own[near[entry.name]].sums == entry.sums:
            known = {k: v for k, v in asdict(entry.about).items() if v not in (None, "")}
            for name in (entry.name, SAME_RUN.get(entry.name)):
                if name in near:
                    place = near[name]
                    entries[place] = replace(own[place], about=replace(own[place].about, **known))
        else:
            reason = "its times are of another reading: run `manifold-ocr eval --engine` again"
            apart.append((entry.name, reason))
    return entries, apart


def board(
    entries: Iterable[Entry], rule: MonitorConfig, apart: Sequence[tuple[str, str]] = ()
) -> Board:
    """Put entries into tracks and rank them.

    Raises:
        UserError: two entries of one name in a track.
    """
    found = list(entries)
    groups: dict[tuple[str, str, str], list[Entry]] = {}
    for entry in (e for e in found if not e.about.retracted):
        groups.setdefault((entry.corpus, entry.granularity, entry.profile), []).append(entry)
    tracks: list[Track] = []
    others = list(apart)
    for members in groups.values():
        track, left = _track(members, rule)
        tracks.append(track)
        others += [(entry.name, f"read other pages of {track.title}") for entry in left]
    tracks.sort(key=lambda track: (track.granularity, track.corpus, track.profile))
    return Board(
        tracks=tracks,
        apart=list(dict.fromkeys(others)),
        retracted=[entry for entry in found if entry.about.retracted],
    )


def _track(members: Sequence[Entry], rule: MonitorConfig) -> tuple[Track, list[Entry]]:
    """Rank those that read all pages; return the track, and entries of other pages."""
    seen: dict[str, Entry] = {}
    for entry in members:
        other = seen.setdefault(entry.name.casefold(), entry)
        if other is not entry:
            raise UserError(
                f"{entry.source}: the name {entry.name!r} is that of {other.source}; rename one"
            )
    pages = max((e for e in members if e.kind != "submission"), default=members[0], key=_size).pages
    whole = sorted((e for e in members if e.pages == pages), key=lambda e: (e.cer, e.name))
    partial = sorted((e for e in members if e.pages < pages), key=lambda e: (e.cer, e.name))
    asked = [(b, a) for i, a in enumerate(whole) for b in whole[i + 1 :]]
    against = [e for e in whole if e.kind in OURS] or whole[:1]
    asked += [(entry, other) for entry in partial for other in against]
    raw = [compare(f"{a.name} less {b.name}", "cer", a.sums, b.sums, rule) for a, b in asked]
    judged = judge_all(raw, rule)
    pairs = [(a, b, item) for (a, b), item in zip(asked, judged, strict=True)]
    first = whole[0]
    track = Track(
        corpus=first.corpus,
        granularity=first.granularity,
        profile=first.profile,
        page_set=sha256_json(sorted([*key, rows, characters] for key, rows, characters in pages)),
        rows=first.rows,
        documents=len({key.document for key in first.sums}),
        ranked=rank(whole, {(a.name, b.name): item.verdict for a, b, item in pairs}),
        partial=partial,
        pairs=pairs,
    )
    return track, [e for e in members if e not in whole and e not in partial]


def _size(entry: Entry) -> tuple[bool, int]:
    """Ours say what the page set is; without them, who read most does."""
    return entry.kind in OURS, len(entry.sums)


def rank(
    entries: Sequence[Entry], verdicts: Mapping[tuple[str, str], str]
) -> list[tuple[int, Entry]]:
    """Return (rank, entry) of entries sorted by CER; those not told apart share a rank.

    `verdicts` maps (name, name of a better one) to the verdict on the first. An entry opens a new
    rank where it is worse than the best member of the rank before.
    """
    ranked: list[tuple[int, Entry]] = []
    best: Entry | None = None
    for position, entry in enumerate(entries, 1):
        if best is None or verdicts.get((entry.name, best.name)) == "worse":
            best = entry
            ranked.append((position, entry))
        else:
            ranked.append((ranked[-1][0], entry))
    return ranked


def summary(found: Board) -> dict[str, Any]:
    """Return the machine-readable board: tracks with their entries in rank order, and the rest."""

    def body(entry: Entry) -> dict[str, Any]:
        known = {k: v for k, v in asdict(entry.about).items() if v not in (None, "")}
        keep = {k: v for k, v in entry.values.items() if isinstance(v, (int, float))}
        return {
            "name": entry.name,
            "kind": entry.kind,
            "source": entry.source,
            "overall": keep,
            "cer_by_subset": {s: v["cer"] for s, v in entry.by_subset.items() if "cer" in v},
            "about": known,
        }

    return {
        "tracks": [
            {
                "corpus": track.corpus,
                "granularity": track.granularity,
                "profile": track.profile,
                "page_set": track.page_set,
                "rows": track.rows,
                "documents": track.documents,
                "entries": [{"rank": position, **body(entry)} for position, entry in track.ranked],
                "partial": [{"rows": entry.rows, **body(entry)} for entry in track.partial],
                "pairs": [
                    {
                        "system": a.name,
                        "against": b.name,
                        "documents": item.documents,
                        "difference": round(item.change, DIGITS),
                        "low": round(item.low, DIGITS),
                        "high": round(item.high, DIGITS),
                        "verdict": item.verdict,
                    }
                    for a, b, item in track.pairs
                ],
            }
            for track in found.tracks
        ],
        "not_comparable": [{"name": name, "reason": reason} for name, reason in found.apart],
        "retracted": [
            {"name": entry.name, "reason": entry.about.retracted} for entry in found.retracted
        ],
    }
