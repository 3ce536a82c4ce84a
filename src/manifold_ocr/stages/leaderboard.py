"""Stage leaderboard: rank adapter, base, engines and submissions from the metrics alone."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from manifold_ocr.config import EvaluateConfig, GateConfig, LeaderboardConfig, MonitorConfig
from manifold_ocr.evaluation.gate import describe, judge, refused
from manifold_ocr.files import atomic_write, read_json, write_json
from manifold_ocr.publish.leaderboard import page
from manifold_ocr.publish.leaderboard_html import html
from manifold_ocr.publish.ranking import (
    About,
    board,
    engine_entries,
    lend_costs,
    own_entries,
    summary,
)
from manifold_ocr.publish.submissions import check_folder
from manifold_ocr.settings import load_section
from manifold_ocr.stages.runner import run_stage

BOARD = Path("docs/leaderboard")
SUBMISSIONS = BOARD / "submissions"
ENGINES = Path("metrics/engines")
TEST = Path("data/manifest/test.jsonl")


def main() -> None:
    """Read metrics/, write README.md, index.html and summary.json below docs/leaderboard.

    Everything is read and checked before the first file is written.
    """
    config = load_section(LeaderboardConfig, "leaderboard")
    gate = load_section(GateConfig, "gate")
    rule = load_section(MonitorConfig, "monitor")
    evaluation, compress = read_json("metrics/evaluate.json"), read_json("metrics/compress.json")
    test_sha256 = str(evaluation.get("test_sha256", ""))
    engines, apart = engine_entries(ENGINES, test_sha256)
    entries, others = lend_costs(own_entries(evaluation, known_of_ours(compress)), engines)
    apart += others
    taken = {entry.name.casefold(): entry.source for entry in entries}
    manifest = TEST if TEST.exists() else None
    submissions = check_folder(
        SUBMISSIONS, manifest, load_section(EvaluateConfig, "evaluate"), taken
    )
    for item in submissions:
        if item.manifest_sha256 == test_sha256:
            entries += item.entries
        else:
            apart.append((item.entries[0].name, "read other test rows"))
    found, verdicts = board(entries, rule, apart), judge(evaluation, rule)
    text = page(config.title, found, evaluation, compress, verdicts, gate)
    site = html(config.title, found, describe(verdicts, gate), compress)
    passed = not refused(verdicts, gate)
    write_json(
        BOARD / "summary.json",
        {"test_sha256": test_sha256, "gate_passed": passed, **summary(found)},
    )
    for name, content in (("README.md", text), ("index.html", site)):
        with atomic_write(BOARD / name) as file:
            file.write(content)
    ranked = sum(len(track.ranked) for track in found.tracks)
    print(f"leaderboard: {ranked} results ranked in {len(found.tracks)} tracks")
    if waiting := sum(not item.rescored for item in submissions):
        print(f"leaderboard: {waiting} submissions not scored again: their test rows are not here")
    print(describe(verdicts, gate))


def known_of_ours(compress: Mapping[str, Any]) -> dict[str, About]:
    """Return parameters and contamination of adapter and base: both are of the base's size."""
    parameters, contaminated = None, ""
    if Path("metrics/base.json").is_file():
        parameters = read_json("metrics/base.json").get("parameters")
    if Path("metrics/manifest.json").is_file():
        count = read_json("metrics/manifest.json").get("contaminated_benchmarks", 0)
        contaminated = f"trained on {count:g} benchmark corpora" if count else ""
    return {
        "adapter": About(parameters=parameters, contaminated=contaminated),
        "base": About(parameters=parameters),
        "base+gap": About(parameters=parameters),
    }


if __name__ == "__main__":
    run_stage("leaderboard", main)
