"""Stage compress_check: how small, how faithful and how checkable; gates from params."""

import dataclasses
import itertools
from collections.abc import Iterator
from pathlib import Path

from manifold_ocr import resources
from manifold_ocr.compression.check import Check, run_check, shown
from manifold_ocr.compression.optical import compare, costs_of_perf, describe, rows_per_page
from manifold_ocr.compression.report import metrics, summary, write_check
from manifold_ocr.config import CompressConfig
from manifold_ocr.errors import UserError
from manifold_ocr.files import write_json
from manifold_ocr.records import Sample, iter_manifest, read_predictions
from manifold_ocr.settings import load_section
from manifold_ocr.stages.runner import run_stage

MANIFEST = Path("data/manifest")
PREDICTIONS = Path("output/predictions")
SYSTEMS = ("adapter", "base")  # the gates judge the first
OUT = Path("output/compress")
OTHER_ROWS = 100_000


def main() -> None:
    """Write output/compress/ and metrics/compress.json; fail on gates only where enforced."""
    config = load_section(CompressConfig, "compress")
    for name in SYSTEMS:
        if not (PREDICTIONS / f"{name}.jsonl").is_file():
            raise UserError(
                f"{PREDICTIONS / name}.jsonl: no such file; run `dvc repro evaluate` first"
            )
    check = run_check(
        config,
        list(iter_manifest(MANIFEST / "test.jsonl")),
        {name: read_predictions(PREDICTIONS / f"{name}.jsonl") for name in SYSTEMS},
        _others(),
    )
    write_check(check, OUT)
    write_json("metrics/compress.json", metrics(check))
    _record_costs(check)
    print(summary(check, OUT))
    if config.enforce and check.failed:
        raise UserError(
            "compress.enforce is true and "
            + "; ".join(
                f"{g.corpus}: {g.name} {shown(g.name, g.value or 0)}, wanted {g.wanted}"
                for g in check.failed
            )
            + f". The report is {OUT}/report.md"
        )


def _record_costs(check: Check) -> None:
    """Note what a page costs beside the efficiency product, and print it."""
    costs = costs_of_perf(resources.noted(), rows_per_page(check.pages))
    for row in compare(check.optical, costs):
        print(f"compress_check: {describe(row)}")
        known = {
            key: value for key, value in dataclasses.asdict(row.cost).items() if value is not None
        }
        if known:
            known["accuracy_times_compression"] = row.product
            resources.record(f"efficiency_{row.system}", known)


def _others() -> Iterator[Sample]:
    """Stream rows of the other splits, at most `OTHER_ROWS` each, so that memory is bounded."""
    for split in ("val", "train"):
        path = MANIFEST / f"{split}.jsonl"
        if path.exists():
            yield from itertools.islice(iter_manifest(path), OTHER_ROWS)


if __name__ == "__main__":
    run_stage("compress_check", main)
