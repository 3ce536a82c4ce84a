"""Stage leaderboard: rank adapter, base, engines and submissions from the metrics alone."""

from pathlib import Path
from typing import Any

from manifold_ocr.config import GateConfig, LeaderboardConfig, load_section
from manifold_ocr.evaluation.gate import describe, judge
from manifold_ocr.files import atomic_write, read_json, write_json
from manifold_ocr.publish.leaderboard import Systems, page
from manifold_ocr.publish.ranking import (
    beaten_in_pairs,
    foreign_entries,
    own_entries,
    rank,
    summary,
)
from manifold_ocr.stages.runner import run_stage

BOARD = Path("docs/leaderboard")


def main() -> None:
    """Read metrics/, write docs/leaderboard/README.md and summary.json."""
    config = load_section(LeaderboardConfig, "leaderboard")
    gate = load_section(GateConfig, "gate")
    evaluation = read_json("metrics/evaluate.json")
    compress = read_json("metrics/compress.json")
    test_sha256 = str(evaluation.get("test_sha256", ""))
    entries = [
        *own_entries(evaluation),
        *foreign_entries(Path("metrics/engines"), "engine", test_sha256, evaluation),
        *foreign_entries(BOARD / "submissions", "submission", test_sha256, evaluation),
    ]
    apart = [entry for entry in entries if not entry.comparable]
    partial = [entry for entry in entries if entry.comparable and entry.partial]
    whole = [entry for entry in entries if entry.comparable and not entry.partial]
    beaten = beaten_in_pairs(evaluation, whole)
    ranked = [
        place
        for granularity in sorted({entry.granularity for entry in whole})
        for place in rank([e for e in whole if e.granularity == granularity], beaten)
    ]
    verdicts = judge(evaluation, gate)
    board: dict[str, Any] = {
        "test_sha256": test_sha256,
        "gate_passed": all(verdict.passed for verdict in verdicts),
        **summary(ranked, partial, apart),
    }
    systems = Systems(ranked=ranked, partial=partial, apart=apart)
    text = page(config.title, systems, evaluation, compress, verdicts, gate)
    with atomic_write(BOARD / "README.md") as file:
        file.write(text)
    write_json(BOARD / "summary.json", board)
    print(
        f"leaderboard: {len(ranked)} results ranked, {len(partial)} of some rows only, "
        f"{len(apart)} of other rows; best {ranked[0][1].name}"
    )
    print(describe(verdicts, gate))


if __name__ == "__main__":
    run_stage("leaderboard", main)
