"""Stage `manifest`: rows of the selected corpora, split, filtered, checked and described."""

from pathlib import Path
from typing import Any

from manifold_ocr import resources
from manifold_ocr.config import ManifestConfig, TrainConfig
from manifold_ocr.data.card import manifest_metrics, write_card
from manifold_ocr.data.fetch import METRICS as DOWNLOADS
from manifold_ocr.data.fetch import looks_changed
from manifold_ocr.data.manifest import BuildReport, build_rows, check_gates
from manifold_ocr.data.registry import SelectedCorpus, select_corpora
from manifold_ocr.data.rows import SPLITS
from manifold_ocr.errors import UserError, build
from manifold_ocr.files import atomic_directory, read_yaml, write_json
from manifold_ocr.settings import load_section
from manifold_ocr.stages.runner import run_stage

RAW = Path("data/raw")
MANIFEST = Path("data/manifest")
METRICS = Path("metrics/manifest.json")


def main() -> None:
    """Write data/manifest and metrics/manifest.json.

    A gate that fails leaves rejected.jsonl and the card for inspection, and no manifests.
    """
    params = read_yaml("params.yaml")
    config = load_section(ManifestConfig, "manifest")
    longest = build(TrainConfig, params.get("train") or {}, "params.yaml: train").max_target_length
    corpora = select_corpora(params)
    prune_downloads([corpus.name for corpus in corpora])
    with atomic_directory(MANIFEST) as folder:
        report = build_rows(corpora, config, RAW, folder, longest)
        write_card(folder, report, corpora, config, RAW)
        metrics = manifest_metrics(report, corpora)
        failure = check_gates(report, metrics, config)
        if failure:
            for split in SPLITS:
                _remove(folder / f"{split}.jsonl")
    if failure:
        raise UserError(failure)
    write_json(METRICS, metrics)
    resources.record("manifest_seconds", report.seconds)
    print(summary(report, metrics, corpora))


def prune_downloads(selected: list[str]) -> None:
    """Delete the download metrics of corpora that are no longer selected."""
    for path in sorted(DOWNLOADS.glob("*.json")):
        if path.stem not in selected:
            path.unlink()


def _remove(path: Path) -> None:
    if path.is_dir():
        for shard in path.iterdir():
            shard.unlink()
        path.rmdir()
    else:
        path.unlink(missing_ok=True)


def summary(report: BuildReport, metrics: dict[str, Any], corpora: list[SelectedCorpus]) -> str:
    """Return the lines that the stage prints."""
    lines = [f"manifest: {', '.join(f'{c.name} ({c.role})' for c in corpora)}"]
    for split, counts in report.splits.items():
        lines.append(
            f"  {split:5} {counts.rows:>9,} rows, {counts.documents:,} documents, "
            f"{counts.characters:,} characters"
        )
    leaks, dropped = metrics["leakage"], metrics["rejected"]
    lines.append(
        f"  rejected {dropped['total']:,} ({dropped['fraction']:.2%}), of these leaks "
        f"{leaks['rows']:,} in train and {leaks['validation']['rows']:,} in val; filtered out "
        f"{sum(metrics['filtered'].values()):,}; labels over train.max_target_length "
        f"{metrics['truncated']['total']:,}"
    )
    lines += [
        f"  warning: benchmark {c.name} is trained on; its scores mean nothing"
        for c in corpora
        if c.contaminated
    ]
    lines += [
        f"  warning: the local source of {c.name} was touched after it was copied, and this "
        f"manifest holds the copy; run: manifold-ocr download {c.name}"
        for c in corpora
        if looks_changed(c.name, c.options)
    ]
    for split in ("train", "val"):
        if not report.splits[split].rows:
            lines.append(f"  note: {split} is empty; training on this manifest will refuse to run")
    benchmarks = [corpus.name for corpus in corpora if corpus.role == "eval_only"]
    if benchmarks and not report.splits["train"].rows:
        lines.append(trained_on(benchmarks))
    return "\n".join(lines)


def trained_on(benchmarks: list[str]) -> str:
    """Return how to train on benchmarks, which go to the test split alone, and what it costs."""
    options = " ".join(f"-S +corpora.{name}.role=train" for name in benchmarks)
    one = len(benchmarks) == 1
    return (
        f"  note: {', '.join(benchmarks)} {'is a benchmark' if one else 'are benchmarks'}, for the "
        "test split alone. Add a corpus to train on (manifold-ocr download), or train on "
        f"{'it' if one else 'them'} with `dvc exp run {options}`; that costs "
        f"{'its' if one else 'their'} scores, which then mean nothing: the run counts as "
        "contaminated and is promoted only with --force"
    )


if __name__ == "__main__":
    run_stage("manifest", main)
