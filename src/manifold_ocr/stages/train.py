"""Stage train: fine-tune an adapter; the best checkpoint by validation error is published."""

from pathlib import Path
from typing import Any

from manifold_ocr.config import EvaluateConfig, LoraConfig, ModelConfig, TrainConfig, load_section
from manifold_ocr.models.base import RunSpec
from manifold_ocr.models.registry import base_path
from manifold_ocr.records import iter_manifest
from manifold_ocr.stages.runner import run_stage
from manifold_ocr.training import locking, run
from manifold_ocr.training.locking import rows_per_step

TRAIN = Path("data/augmented/train.jsonl")
VAL = Path("data/manifest/val.jsonl")
IMAGE_ROOT = Path("data/raw")
ADAPTER = Path("output/adapter")
METRICS = Path("metrics/train")


def main() -> None:
    """Write output/adapter and metrics/train."""
    train = load_section(TrainConfig, "train")
    if (processes := locking.processes_to_start(train.gpus, rows_per_step(train))) > 1:
        print(f"train: {processes} GPUs, a process for each")
        raise SystemExit(locking.start_processes(processes, "manifold_ocr.stages.train"))
    settings = run_settings()
    rows = {"train": iter_manifest(TRAIN), "val": iter_manifest(VAL)}
    figures = run.train(settings, rows, ADAPTER, METRICS)
    if run.is_main_process():
        describe(settings.train, figures)


def run_settings() -> RunSpec:
    """Return what params.yaml says of a training run."""
    model = load_section(ModelConfig, "model")
    scoring = load_section(EvaluateConfig, "evaluate")
    return RunSpec(
        model=model,
        lora=load_section(LoraConfig, "lora"),
        train=load_section(TrainConfig, "train"),
        base=base_path(model),
        image_root=IMAGE_ROOT,
        profile=scoring.profile,
        metric_tokenizer=scoring.metric_tokenizer,
    )


def describe(config: TrainConfig, figures: dict[str, Any]) -> None:
    """Print what was reached, and whether it beats the starting point."""
    best = figures["best"]
    metric = config.metric_for_best_model
    before = f" (before: {best[f'{metric}_before']:.4f})" if f"{metric}_before" in best else ""
    print(
        f"train: {figures['steps']} steps; best at step {best['step']}: validation "
        f"{metric} {best[metric]:.4f}{before}; adapter in {ADAPTER}"
    )
    start = best.get(f"{metric}_before")
    gained = start is None or (
        best[metric] > start if config.larger_is_better else best[metric] < start
    )
    if not gained:
        print(
            "train: warning: no checkpoint beats the starting point on the validation rows; add "
            "rows or rehearsal, lower train.learning_rate, or keep the base model"
        )


if __name__ == "__main__":
    run_stage("train", main)
