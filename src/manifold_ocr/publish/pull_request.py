"""What a branch changes, as one comment in Markdown: from git alone, without data and GPU.

Scores are compared with those of the commit where the branch left its base. Both evaluations
hold sums per document, so the change of every group has an interval in pairs, and "worse" is the
gate's rule (`metrics.paired`). Texts that a branch brings along are shown
as code: they may be hostile.
"""

import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from manifold_ocr.config import EvaluateConfig, GateConfig, MonitorConfig
from manifold_ocr.errors import UserError, build
from manifold_ocr.evaluation.gate import describe, judge, judge_sums, refused, sums_of
from manifold_ocr.evaluation.markdown import render
from manifold_ocr.evaluation.monitor import comparable
from manifold_ocr.evaluation.past_runs import EVALUATION, git_show
from manifold_ocr.files import parse_yaml, read_yaml
from manifold_ocr.metrics.paired import Comparison, compare
from manifold_ocr.publish.pull_request_plots import draw_changes, draw_learning
from manifold_ocr.publish.ranking import board, engine_entries, lend_costs, own_entries
from manifold_ocr.publish.stale import Stale, stale_stages
from manifold_ocr.publish.submissions import Checked, Refused, judge_folder

SHOWN = 30  # rows of the table of other numbers
HEADLINE = (
    ("cer", "CER"),
    ("cer_without_spaces", "CER without spaces"),
    ("cer_casefold", "CER without case"),
    ("space_precision", "Space precision"),
    ("space_recall", "Space recall"),
    ("wer", "WER"),
    ("exact_match", "Exact match"),
    ("insertion_rate", "Insertion rate"),
    ("deletion_rate", "Deletion rate"),
)
ENGINES = "metrics/engines"
SUBMISSIONS = "docs/leaderboard/submissions"
LEARNING = "metrics/train/plots/metrics/eval/cer.tsv"
TIMES = ("metrics/perf.json",)  # differ with every run and machine


@dataclass(frozen=True, kw_only=True)
class Report:
    """Everything that the comment says; `lost` are groups that are worse than in the base."""

    base: str
    head: str
    gate_line: str
    gate_failed: bool
    gate: Sequence[Comparison]
    changes: Sequence[Comparison]
    lost: Sequence[Comparison]
    note: str
    headline: Sequence[tuple[str, ...]]
    numbers: Sequence[tuple[str, ...]]
    params: Sequence[tuple[str, ...]]
    stale: Sequence[Stale]
    submissions: Sequence[Checked | Refused]
    ranks: Mapping[str, str]

    @property
    def failed(self) -> bool:
        """Whether the gate, a group or a submission was refused."""
        wrong = any(isinstance(item, Refused) for item in self.submissions)
        return self.gate_failed or bool(self.lost) or wrong


def write_report(base: str, manifest: Path | None, folder: Path) -> tuple[Report, str]:
    """Write comment.md and its plots into `folder`; return the report and the comment.

    `base` is a revision; what the branch is compared with is where it left it. `manifest` are
    the test rows that submissions are scored with; without it they are checked only.

    Raises:
        UserError: no git repository, no such revision, or damaged files of ours.
    """
    start = _git("merge-base", "HEAD", _revision(base))
    gate = build(GateConfig, read_yaml("params.yaml").get("gate") or {}, "params.yaml: gate")
    rule = build(MonitorConfig, read_yaml("params.yaml").get("monitor") or {}, "params.yaml")
    report = _report(base, start, gate, rule, manifest)
    folder.mkdir(parents=True, exist_ok=True)
    plots = []
    if report.gate:
        draw_changes(report.gate, gate, folder / "gate.png", "Adapter less base model, this branch")
        plots.append(("Adapter against the base model, by group", "gate.png"))
    if any(item.change for item in report.changes):
        title = f"This branch less {base}, adapter"
        groups = [item for item in report.changes if item.name != "overall"]  # not judged
        draw_changes(groups, gate, folder / "change.png", title)
        plots.insert(0, (f"Change against {base}, by group", "change.png"))
    if draw_learning(git_show(start, LEARNING), _text(LEARNING), base, folder / "learning.png"):
        plots.append(("Validation error while training", "learning.png"))
    comment = render(
        "publish/templates/pull_request.md.j2",
        report=report,
        plots=plots,
        limit=f"{100 * gate.max_loss:g}",
        base=start[:10],
        params_rows=[tuple(map(code, row)) for row in report.params],
        number_rows=[tuple(map(code, row)) for row in report.numbers[:SHOWN]],
        more=max(0, len(report.numbers) - SHOWN),
        change_rows=[_change_row(item, report) for item in report.changes],
        submission_rows=[_submission_row(item, report.ranks) for item in report.submissions],
    )
    (folder / "comment.md").write_text(comment, encoding="utf-8")
    return report, comment


def _report(
    base: str, start: str, gate: GateConfig, rule: MonitorConfig, manifest: Path | None
) -> Report:
    now = _json(_text(EVALUATION), EVALUATION)
    then = _json(git_show(start, EVALUATION), f"{base}:{EVALUATION}")
    verdicts = judge(now, rule) if now else []
    changes, note = _changes(now, then, rule, base)
    submissions, ranks = _submissions(now, rule, manifest)
    dirty = "with uncommitted changes" if _git("status", "--porcelain", "-uno") else ""
    return Report(
        base=f"{base} ({start[:10]})",
        head=f"{_git('rev-parse', '--short=10', 'HEAD')} {dirty}".strip(),
        gate_line=describe(verdicts, gate) if now else "gate: no metrics/evaluate.json to judge",
        gate_failed=bool(refused(verdicts, gate)),
        gate=verdicts,
        changes=changes,
        lost=refused(changes, gate),
        note=note,
        headline=list(_headline(now, then)),
        numbers=_numbers(start),
        params=_params(start, base),
        stale=stale_stages(),
        submissions=submissions,
        ranks=ranks,
    )


def _changes(
    now: Mapping[str, Any], then: Mapping[str, Any], rule: MonitorConfig, base: str
) -> tuple[list[Comparison], str]:
    """Return the change of every group in pairs, or none and why not."""
    if not now or not then:
        return [], f"no {EVALUATION} {'here' if not now else f'in {base}'}: nothing to compare"
    if now == then:
        return [], f"{EVALUATION} is the same as in {base}."
    try:
        comparable(now, then, rule)
        a, b = sums_of(now, rule.system), sums_of(then, rule.system, f"{base}:{EVALUATION}")
    except UserError as error:
        return [], f"Not compared in pairs: {error}"
    return [compare("overall", "cer", a, b, rule), *judge_sums(a, b, rule)], ""


def _headline(now: Mapping[str, Any], then: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """Yield (system, metric, then, now, change) of what differs, in percent and points."""
    for system in ("adapter", "base", "base+gap"):
        before, after = (side.get(system, {}).get("overall", {}) for side in (then, now))
        for key, title in HEADLINE:
            if key in before and key in after and before[key] != after[key]:
                a, b = 100 * before[key], 100 * after[key]
                yield system, title, f"{a:.2f}", f"{b:.2f}", f"{b - a:+.2f}"


def _numbers(start: str) -> list[tuple[str, ...]]:
    """Return (file, key, then, now) of the other numbers under metrics/ that differ.

    Of other engines' results only overall scores; bounds of intervals are left out.
    """
    listed = _git("ls-tree", "-r", "--name-only", start, "--", "metrics").splitlines()
    here = [p.as_posix() for p in sorted(Path("metrics").rglob("*.json"))]
    found = []
    for path in sorted({*listed, *here} - {EVALUATION, *TIMES}):
        if not path.endswith(".json"):
            continue
        sides = [_json(text, path) for text in (git_show(start, path), _text(path))]
        before, after = (dict(leaves(side)) for side in sides)
        for key in sorted({*before, *after}):
            a, b = before.get(key), after.get(key)
            if key.endswith(("_low", "_high")) or (path.startswith(ENGINES) and not _main(key)):
                continue
            if a != b and all(isinstance(v, int | float | None) for v in (a, b)):
                found.append((path, key, *("-" if v is None else f"{v:.6g}" for v in (a, b))))
    return found


def _main(key: str) -> bool:
    """Tell whether a key of an engine's result is an overall headline score."""
    section, _, metric = key.partition(".")
    return section == "overall" and metric in dict(HEADLINE)


def _params(start: str, base: str) -> list[tuple[str, ...]]:
    """Return (key, then, now) of the params that differ."""
    text = git_show(start, "params.yaml")
    before = dict(leaves(parse_yaml(text, f"{base}:params.yaml"))) if text else {}
    after = dict(leaves(read_yaml("params.yaml")))
    return [
        (key, *(str(side.get(key, "-")) for side in (before, after)))
        for key in sorted({*before, *after})
        if before.get(key) != after.get(key)
    ]


def _submissions(
    now: Mapping[str, Any], rule: MonitorConfig, manifest: Path | None
) -> tuple[list[Checked | Refused], dict[str, str]]:
    """Return what became of each submission, and the ranks of those of the present test rows."""
    test_sha256 = str(now.get("test_sha256", ""))
    engines, apart = engine_entries(Path(ENGINES), test_sha256)
    entries, _ = lend_costs(own_entries(now, {}) if now else [], engines)
    taken = {entry.name.casefold(): entry.source for entry in entries}
    section = read_yaml("params.yaml").get("evaluate") or {}
    config = build(EvaluateConfig, section, "params.yaml: evaluate")
    found = judge_folder(Path(SUBMISSIONS), manifest, config, taken)
    for item in found:
        if isinstance(item, Checked) and item.manifest_sha256 == test_sha256:
            entries += item.entries
    ranks = {
        entry.source: f"{rank} of {len(track.ranked)} ({track.title})"
        for track in board(entries, rule, apart).tracks
        for rank, entry in track.ranked
    }
    return found, ranks


def _submission_row(item: Checked | Refused, ranks: Mapping[str, str]) -> tuple[str, str, str, str]:
    name = item.path.name
    if isinstance(item, Refused):
        return code(name), "REFUSED", "-", code(item.reason)
    entry = item.entries[0]
    state = "scored again" if item.rescored else "checked, not scored again: other test rows here"
    rank = ranks.get(str(item.path), "not ranked")
    return code(name), state, f"{100 * entry.cer:.2f}", f"{code(entry.name)}, rank {rank}"


def _change_row(item: Comparison, report: Report) -> tuple[str, ...]:
    verdict = item.verdict if item.p is not None else item.reason
    if item in report.lost:
        verdict = "**worse, refused**"
    elif item.name == "overall":
        verdict = "(sum of all)"
    return (
        code(item.name),
        f"{item.documents:,}",
        f"{100 * item.baseline:.2f}",
        f"{100 * item.value:.2f}",
        f"{100 * item.change:+.2f} [{100 * item.low:+.2f}, {100 * item.high:+.2f}]",
        verdict,
    )


def code(text: str) -> str:
    """Return a text as inline code of one line, so that no markup of it is followed."""
    return f"`{' '.join(text.replace('`', chr(39)).split())[:300]}`"


def leaves(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield ("section.key", value) for every leaf of a nested mapping."""
    for key, item in value.items() if isinstance(value, Mapping) else ():
        if isinstance(item, Mapping):
            yield from leaves(item, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", item


def _text(path: str) -> str | None:
    return Path(path).read_text(encoding="utf-8") if Path(path).is_file() else None


def _json(text: str | None, where: str) -> Mapping[str, Any]:
    try:
        value = json.loads(text) if text else {}
    except ValueError as error:
        raise UserError(f"{where}: not valid JSON ({error})") from error
    return value if isinstance(value, dict) else {}


def _revision(base: str) -> str:
    if base.startswith("-"):
        raise UserError(f"--base {base!r}: no revision")
    return _git("rev-parse", "--verify", "--quiet", f"{base}^{{commit}}", name=base)


def _git(*arguments: str, name: str = "") -> str:
    done = subprocess.run(["git", *arguments], capture_output=True, check=False, text=True)
    if done.returncode:
        said = done.stderr.strip().splitlines()[-1:] or [f"no such revision {name!r}"]
        raise UserError(
            f"git {arguments[0]}: {said[0]}; --base names a branch or commit, and a shallow clone "
            "lacks the history (git fetch --unshallow)"
        )
    return done.stdout.strip()
