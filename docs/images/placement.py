"""Draw what training the head and the whole recognizer gain, from their evaluations.

manifold-ocr preset whole && dvc repro evaluate && cp metrics/evaluate.json /tmp/whole.json
git checkout params.yaml && dvc repro evaluate
python docs/images/placement.py metrics/evaluate.json /tmp/whole.json docs/images/placement.png
"""

import json
import sys
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

MEASURE = "cer_without_spaces"
COLORS = {"base": "#9e9e9e", "head (default)": "#64b5f6", "whole recognizer": "#1565c0"}


def scores(head: dict[str, Any], whole: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the measures of each system by group, all lines together first."""
    systems = {"base": head["base"], "head (default)": head["adapter"],
               "whole recognizer": whole["adapter"]}  # fmt: skip
    return {
        name: {"all lines": system["overall"], **system["by_subset"]}
        for name, system in systems.items()
    }


def main() -> None:
    """Write the plot; refuses evaluations of different rows."""
    head, whole = (json.loads(Path(path).read_text()) for path in sys.argv[1:3])
    if head["test_sha256"] != whole["test_sha256"]:
        sys.exit("the two evaluations are of different test rows")
    found = scores(head, whole)
    groups = list(found["base"])
    figure = Figure(figsize=(9, 4.2), layout="constrained")
    axes = figure.add_subplot()
    for number, (name, by_group) in enumerate(found.items()):
        values = [100 * by_group[group][MEASURE] for group in groups]
        low = [100 * by_group[group][f"{MEASURE}_low"] for group in groups]
        high = [100 * by_group[group][f"{MEASURE}_high"] for group in groups]
        bars = [[v - edge for v, edge in zip(values, low, strict=True)],
                [edge - v for v, edge in zip(values, high, strict=True)]]  # fmt: skip
        places = [place + 0.27 * (number - 1) for place in range(len(groups))]
        axes.bar(places, values, 0.25, yerr=bars, label=name, color=COLORS[name],
                 error_kw={"linewidth": 0.8, "capsize": 2})  # fmt: skip
    axes.set_xticks(range(len(groups)), groups)
    axes.set(ylabel="CER without spaces, %", title="Errors on the default corpus' test lines")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, title="95 % intervals by document", title_fontsize="small")
    figure.savefig(sys.argv[3], dpi=110)


if __name__ == "__main__":
    main()
