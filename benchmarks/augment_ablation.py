"""Which degradations help on real receipts? The receipts adapter with and without each group.

    PYTHONPATH=src python benchmarks/augment_ablation.py --real DIR --work /tmp/ablation \
        --out ablation.json [--train 1500] [--seeds 1 2 3] [--arms none default ...]

DIR holds sroie/, uw3/ and omnidocbench/, as in rehearsal_tradeoff.py. Every arm runs the pipeline
itself in a clone of this project below --work; clean rows and their features are shared through
one cache. Trained on are --train lines of receipts and their variants, for the same number of
optimizer steps in every arm. Test receipts are never trained on. Prints a Markdown table of CER
in percent with the paired difference to the arm `none` and its 95 % interval (bootstrap over
documents, all seeds together). --out keeps what was measured: a rerun goes on from there.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from ruamel.yaml import YAML

from manifold_ocr.config import EvaluateConfig
from manifold_ocr.metrics.paired import cer, document_sums, read_sums
from manifold_ocr.metrics.score import score_rows
from manifold_ocr.records import read_predictions, read_samples
from rehearsal_tradeoff import SETS, keep, prepare, run, set_params

DRAWS = 2000
GROUPS = {
    "printer": ("low_ink", "thermal", "dot_matrix"),
    "sheet": ("stamp", "fold", "binding"),
    "camera": ("warp", "perspective", "moire"),
}
ARMS: dict[str, dict[str, Any]] = {
    "none": {"augment.variants": 0},
    "default": {"augment.variants": 1},
    **{
        f"default + {group}": {
            "augment.variants": 1,
            **{f"augment.recipe.{name}.p": 0.2 for name in names},
        }
        for group, names in GROUPS.items()
    },
    "default + all": {
        "augment.variants": 1,
        **{f"augment.recipe.{name}.p": 0.15 for names in GROUPS.values() for name in names},
    },
    "default + pages": {"augment.variants": 1, "augment.pages": True},
}


def documents(manifest: Path, predictions: Path) -> dict[str, list[list[Any]]]:
    """Return [document, wrong characters, characters] of each evaluation set."""
    config = EvaluateConfig(bootstrap_samples=0)
    samples = [s for s in read_samples(manifest) if s.granularity == "line"]
    rows = list(score_rows(samples, read_predictions(predictions), config))
    sums = read_sums(document_sums(rows), str(predictions))
    return {
        name: [[key.document, *cer(counts)] for key, counts in sums.items()
               if key.corpus == corpus and language in (None, key.language)]
        for name, corpus, language in SETS
    }  # fmt: skip


def measure(clone: Path, arm: str, seed: int, extra: dict[str, Any]) -> dict[str, Any]:
    """Run the pipeline of one arm and return its errors by document."""
    recipe = {f"augment.recipe.{n}.p": 0.0 for names in GROUPS.values() for n in names}
    plain = {"augment.pages": False, **recipe}
    set_params(clone / "params.yaml", {**plain, **extra, **ARMS[arm], "train.seed": seed,
                                       "augment.seed": seed})  # fmt: skip
    started = time.monotonic()
    run(clone, sys.executable, "-m", "dvc", "repro", "evaluate")
    minutes = (time.monotonic() - started) / 60
    read = clone / "output/predictions"
    manifest = clone / "data/manifest/test.jsonl"
    return {
        "minutes": minutes,
        "sets": documents(manifest, read / "adapter.jsonl"),
        "base": documents(manifest, read / "base.jsonl"),
    }


def totals(results: list[dict[str, Any]], name: str) -> dict[str, tuple[int, int]]:
    """Return (wrong characters, characters) by document over the seeds of an arm."""
    found: dict[str, tuple[int, int]] = {}
    for result in results:
        for document, wrong, characters in result["sets"][name]:
            before = found.get(document, (0, 0))
            found[document] = (before[0] + wrong, before[1] + characters)
    return found


def difference(
    ours: dict[str, tuple[int, int]], other: dict[str, tuple[int, int]]
) -> tuple[float, float]:
    """Return the 95 % interval of the difference of two CERs, documents drawn in pairs."""
    names = sorted(ours.keys() & other.keys())
    table = np.array([(*ours[name], *other[name]) for name in names], dtype=float)
    rng = np.random.default_rng(1)
    drawn = table[rng.integers(0, len(table), size=(DRAWS, len(table)))].sum(axis=1)
    low, high = np.percentile(drawn[:, 0] / drawn[:, 1] - drawn[:, 2] / drawn[:, 3], [2.5, 97.5])
    return float(low), float(high)


def show(table: dict[str, dict[str, Any]], seeds: list[int]) -> None:
    """Print CER of every arm and set, and the difference to `none` on the receipts."""
    header = [name for name, _, _ in SETS]
    print("| CER % | " + " | ".join(header) + " | receipts, beside none | minutes per run |")
    print("|:--|" + "--:|" * (len(header) + 2))
    arms = {arm: [table[key] for s in seeds if (key := f"{arm}, seed {s}") in table]
            for arm in ARMS}  # fmt: skip
    base = next((results[0] for results in arms.values() if results), None)
    if base:
        arms = {"base": [{"minutes": 0.0, "sets": base["base"]}], **arms}
    for arm, results in arms.items():
        if not results:
            continue
        cells = []
        for name in header:
            found = list(totals(results, name).values())
            characters = sum(count for _, count in found)
            wrong = sum(count for count, _ in found)
            cells.append(f"{100 * wrong / characters:.2f}" if characters else "-")
        beside = "-"
        if arm not in ("base", "none") and len(results) == len(arms["none"]):
            pair = totals(results, "receipts"), totals(arms["none"], "receipts")
            low, high = difference(*pair)
            beside = f"[{100 * low:+.2f}, {100 * high:+.2f}]"
        minutes = sum(r["minutes"] for r in results) / len(results)
        print(f"| {arm} | " + " | ".join(cells) + f" | {beside} | {minutes:.1f} |")


def main() -> None:
    """Measure what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--real", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=list(ARMS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--train", type=int, default=1500)
    parser.add_argument("--test", type=int, default=0, help="0: every test line")
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    clone = prepare(options.work, options.real.resolve())
    extra: dict[str, Any] = {
        "manifest.max_train_samples": options.train,
        "manifest.max_val_samples": 300,
        "manifest.max_test_samples": options.test,
        "train.max_steps": options.steps,
        "train.rehearsal": 0.1,
        "train.learning_rate": 0.001,
        **{k: YAML(typ="safe").load(v) for k, v in (s.split("=", 1) for s in options.set)},
    }
    table = json.loads(options.out.read_text()) if options.out.exists() else {}
    for seed in options.seeds:
        for arm in options.arms:
            if (key := f"{arm}, seed {seed}") not in table:
                table[key] = measure(clone, arm, seed, extra)
                keep(options.out, table)
    show(table, options.seeds)


if __name__ == "__main__":
    main()
