"""Stage train: fine-tune an adapter; the best checkpoint by validation error is published."""

from pathlib import Path
from typing import Any

from manifold_ocr.config import DecodeConfig, EvaluateConfig, LoraConfig, ModelConfig, TrainConfig
from manifold_ocr.errors import UserError
from manifold_ocr.models.base import RunSpec
from manifold_ocr.models.registry import base_path, family_of
from manifold_ocr.records import iter_manifest
from manifold_ocr.settings import load_section
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
    settings, decode = run_settings(), load_section(DecodeConfig, "decode")
    rows = {"train": iter_manifest(TRAIN), "val": iter_manifest(VAL)}
    figures = run.train(settings, rows, ADAPTER, METRICS)
    if run.is_main_process():
        keep_language_model(settings, decode)
        describe(settings.train, figures)


def keep_language_model(settings: RunSpec, decode: DecodeConfig) -> None:
    """Keep a language model beside the adapter, where `decode` asks for one and it helps."""
    if decode.language_model == "none" or not decode.beam:
        return
    if family_of(settings.base) != "ctc":
        raise UserError("decode.language_model: only models that decode frames take one; set none")
    from manifold_ocr.models.ctc import model as ctc
    from manifold_ocr.models.ctc.speller import keep_speller, own_texts

    texts = [*label_texts(decode.language_model), *own_texts(decode.language_model)]
    model = ctc.load(settings.model, settings.base, ADAPTER, None, searching=True)
    val = run.select(iter_manifest(VAL), settings.train, ["line"], settings.train.max_val_samples)
    print(keep_speller(ADAPTER, texts, model, val, IMAGE_ROOT, decode.beam, decode.words))


def label_texts(source: str) -> list[str]:
    """Return the labels of training lines, where the language model is made of them.

    Raises:
        UserError: there are none.
    """
    if "labels" not in source.split("+"):
        return []
    rows = iter_manifest(TRAIN)
    texts = [r.text for r in rows if r.granularity == "line" and r.task == "transcribe"]
    if not any(map(str.strip, texts)):
        raise UserError("decode.language_model: no label holds a line of text; set none")
    return texts


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
