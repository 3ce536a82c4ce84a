"""Two systems on the same rows: what the leaderboard needs to tell them apart."""

from collections.abc import Mapping, Sequence

from manifold_ocr.scoring import EvaluateConfig, compare, summarise
from manifold_ocr.text.rows import RowScore

INTERVAL = ("cer", "cer_low", "cer_high")


def paired(
    theirs: Sequence[RowScore], ours: Mapping[str, Sequence[RowScore]], config: EvaluateConfig
) -> dict[str, dict[str, float]]:
    """Compare a system with each of `ours` on the rows that both read.

    Returns {our system: {n, documents, theirs, ours, difference, ...}}: both CERs on the common
    rows, and theirs less ours with its 95 % interval (paired bootstrap by document;
    `difference_low` and `difference_high` are missing for a single document). Systems of ours
    that share no row are left out.
    """
    found = {}
    for name, rows in ours.items():
        common = {row.id for row in theirs} & {row.id for row in rows}
        if not common:
            continue
        a = [row for row in theirs if row.id in common]
        b = [row for row in rows if row.id in common]
        values = compare(a, b, config).get("overall", {})
        if "cer" not in values:
            continue
        found[name] = {
            "n": values["n"],
            "documents": values["documents"],
            "theirs": summarise(a, config)["overall"]["cer"],
            "ours": summarise(b, config)["overall"]["cer"],
            **{key.replace("cer", "difference"): values[key] for key in INTERVAL if key in values},
        }
    return found
