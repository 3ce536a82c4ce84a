"""Stage compress_check: how small, how faithful and how checkable; gates from params."""

from pathlib import Path

from manifold_ocr.compression.check import run_check
from manifold_ocr.compression.config import CompressConfig
from manifold_ocr.compression.figures import metrics, summary
from manifold_ocr.compression.output import write_check
from manifold_ocr.config import load_section
from manifold_ocr.errors import UserError
from manifold_ocr.files import write_json
from manifold_ocr.records import Sample, read_predictions, read_samples
from manifold_ocr.stages.runner import run_stage

MANIFEST = Path("data/manifest")
PREDICTIONS = Path("output/predictions")
SYSTEMS = ("adapter", "base")  # the gates judge the first
OUT = Path("output/compress")


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
        list(read_samples(MANIFEST / "test.jsonl")),
        {name: read_predictions(PREDICTIONS / f"{name}.jsonl") for name in SYSTEMS},
        _others(),
    )
    write_check(check, OUT)
    write_json("metrics/compress.json", metrics(check))
    print(summary(check, OUT))
    if config.enforce and check.failed:
        raise UserError(
            "compress.enforce is true and "
            + "; ".join(
                f"{g.corpus}: {g.name} {g.value:.4g}, wanted {g.wanted}" for g in check.failed
            )
            + f". The report is {OUT}/report.md"
        )


def _others() -> list[Sample]:
    return [
        sample
        for split in ("train", "val")
        if (MANIFEST / f"{split}.jsonl").is_file()
        for sample in read_samples(MANIFEST / f"{split}.jsonl")
    ]


if __name__ == "__main__":
    run_stage("compress_check", main)
