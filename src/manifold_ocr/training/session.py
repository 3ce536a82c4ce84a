"""A training run from rows to a published adapter: resumed, republished or trained."""

import os
import random
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from manifold_ocr import perf
from manifold_ocr.errors import UserError
from manifold_ocr.files import atomic_directory, cache_root, read_json, write_json
from manifold_ocr.models import registry
from manifold_ocr.records import Prediction, Sample, read_predictions, write_rows
from manifold_ocr.training import checkpoints, guard
from manifold_ocr.training.fingerprint import fingerprint, run_parts
from manifold_ocr.training.run_folder import RunFolder, open_run_folder
from manifold_ocr.training.selection import rehearsal_rows, select
from manifold_ocr.training.settings import TrainingSettings

RESUME_FROM = "RESUME_FROM"
AUTOMATIC_BATCH = 16
IN_TRAINING_BOOTSTRAP = 200  # intervals in eval_results.json; evaluate draws its own


@dataclass(frozen=True)
class RunHome:
    """Where a run's work is kept: output/cache/training/<fingerprint>, for any workspace."""

    path: Path

    @property
    def checkpoints(self) -> Path:
        """Return the folder of checkpoints."""
        return self.path / "checkpoints"

    @property
    def result(self) -> Path:
        """Return the folder of a finished run: adapter/, metrics/ and state.json."""
        return self.path / "result"

    @property
    def finished(self) -> bool:
        """Return whether the run has ended with a result (it appears whole or not at all)."""
        return (self.result / "state.json").is_file()


def train(
    settings: TrainingSettings,
    rows: Mapping[str, Sequence[Sample]],
    destination: Path,
    metrics: Path,
) -> dict[str, Any]:
    """Train on rows["train"], validate on rows["val"]; publish adapter and metrics.

    A run is known by the fingerprint of params, data, base model, code and versions: a
    finished one is published again without training, an interrupted one goes on from its
    newest whole checkpoint, anything else starts afresh. Returns figures of the run.

    Raises:
        UserError: no rows, a refused RESUME_FROM, or a loss that is not finite.
        KeyboardInterrupt: stopped on request, after a checkpoint was saved.
    """
    kind = registry.family_of(settings.base)
    config, sorts = settings.train, registry.granularities(kind)
    chosen = {
        "train": select(rows["train"], config, sorts, config.max_train_samples),
        "val": select(rows["val"], config, sorts, config.max_val_samples),
    }
    chosen["rehearsal"] = rehearsal_rows(config, len(chosen["train"]))
    parts = run_parts(
        family=kind,
        model=settings.model,
        lora=settings.lora,
        train=config,
        base=settings.base,
        rows=chosen,
        image_root=settings.image_root,
    )
    key = fingerprint(parts)
    home = RunHome(cache_root().resolve() / "training" / key[:32])
    guard.end_with_launchers()
    with guard.run_lock(home.path / "lock"), guard.StopRequest().installed() as stop:
        if home.finished and not os.environ.get(RESUME_FROM):
            print(f"train: run {key[:12]} is finished already; its result is published again")
            figures = read_json(home.result / "state.json")
        else:
            figures = _run(settings, kind, chosen, parts, home, stop)
        publish(home, destination, metrics)
    return dict(figures)


def publish(home: RunHome, destination: Path, metrics: Path) -> None:
    """Copy the result of a finished run to the stage's outs."""
    for source, target in (("adapter", destination), ("metrics", metrics)):
        with atomic_directory(target) as folder:
            shutil.copytree(home.result / source, folder, dirs_exist_ok=True)


def _run(
    settings: TrainingSettings,
    kind: str,
    rows: Mapping[str, Sequence[Sample]],
    parts: Mapping[str, Any],
    home: RunHome,
    stop: guard.StopRequest,
) -> dict[str, Any]:
    key = fingerprint(parts)
    checkpoint = choose_checkpoint(home, parts, settings.train.resume)
    name = f"{registry.slug(settings.model.id)}-r{settings.lora.rank}-{key[:8]}"
    folder = open_run_folder(name, home.path / "run_folder")
    folder.start(parts, key, checkpoint.name if checkpoint else "")
    home.checkpoints.mkdir(parents=True, exist_ok=True)
    folder.link("checkpoints", home.checkpoints)
    print(f"train: run folder {folder.path}" + (f", from {checkpoint.name}" if checkpoint else ""))
    try:
        figures = _train_in_memory(settings, kind, rows, parts, home, folder, checkpoint, stop)
    except KeyboardInterrupt:
        folder.finish("interrupted")
        raise
    except BaseException as error:
        folder.finish("failed", error=f"{type(error).__name__}: {error}")
        raise
    folder.link("adapter", home.result / "adapter")
    shutil.copyfile(home.result / checkpoints.STATE, folder.path / checkpoints.STATE)
    folder.finish("finished", result=figures)
    return figures


def choose_checkpoint(home: RunHome, parts: Mapping[str, Any], resume: bool) -> Path | None:
    """Return the checkpoint to go on from: RESUME_FROM, the newest whole one, or None."""
    if wished := os.environ.get(RESUME_FROM):
        home.checkpoints.mkdir(parents=True, exist_ok=True)
        return checkpoints.adopt(Path(wished), home.checkpoints, parts)
    if resume:
        return checkpoints.latest_complete(home.checkpoints)
    shutil.rmtree(home.checkpoints, ignore_errors=True)
    return None


def _train_in_memory(
    settings: TrainingSettings,
    kind: str,
    rows: Mapping[str, Sequence[Sample]],
    parts: Mapping[str, Any],
    home: RunHome,
    folder: RunFolder,
    checkpoint: Path | None,
    stop: guard.StopRequest,
) -> dict[str, Any]:
    import torch

    from manifold_ocr.models.adapters import import_peft

    import_peft()
    from manifold_ocr.training.family import family_for

    config = settings.train
    make_deterministic(config.seed, config.threads)
    family = family_for(kind, settings)
    audit = family.audit([*rows["train"], *rows["rehearsal"]])
    folder.write_audit("train", audit)
    folder.write_audit("val", family.audit(rows["val"]))
    counts = dict(audit.counts)
    print("train: " + ", ".join(f"{name} {value}" for name, value in counts.items()))
    if not audit.kept:
        raise UserError(f"no row can be learnt: see {folder.path / 'quarantine_train.jsonl'}")
    micro, accumulation = config.train_batch_size or AUTOMATIC_BATCH, config.gradient_accumulation
    while True:
        try:
            return _one_attempt(
                settings, family, (audit.kept, rows["val"]), parts, home, folder, checkpoint,
                stop, (micro, accumulation), counts,
            )  # fmt: skip
        except torch.OutOfMemoryError as error:
            if micro == 1:
                raise UserError(
                    "memory is too small for one row: lower max_pixels or max_target_length"
                ) from error
            micro, accumulation = (micro + 1) // 2, accumulation * 2
            torch.cuda.empty_cache()
            checkpoint = checkpoints.latest_complete(home.checkpoints)
            print(f"train: out of memory; micro-batch {micro}, accumulation {accumulation}")


def _one_attempt(
    settings: TrainingSettings,
    family: Any,
    rows: tuple[Sequence[Sample], Sequence[Sample]],
    parts: Mapping[str, Any],
    home: RunHome,
    folder: RunFolder,
    checkpoint: Path | None,
    stop: guard.StopRequest,
    batch: tuple[int, int],
    counts: Mapping[str, int],
) -> dict[str, Any]:
    from torch.utils.tensorboard import SummaryWriter
    from transformers import EarlyStoppingCallback, PrinterCallback
    from transformers.integrations import TensorBoardCallback

    from manifold_ocr.training.arguments import training_arguments
    from manifold_ocr.training.callbacks import Conductor, LiveLog, ProgressLine
    from manifold_ocr.training.trainer import OcrTrainer

    config = settings.train
    make_deterministic(config.seed, config.threads)
    args = training_arguments(
        config, settings.model.precision, home.checkpoints,
        micro_batch=batch[0], accumulation=batch[1],
    )  # fmt: skip
    args.eval_on_start = checkpoint is None
    conductor = Conductor(stop, checkpoint)
    live = LiveLog(folder.path / "dvclive")
    line = ProgressLine(batch[0] * batch[1])
    writer = SummaryWriter(str(folder.path / "tensorboard"))
    callbacks = [conductor, live, line, TensorBoardCallback(writer)]
    if config.early_stopping_patience:
        callbacks.append(EarlyStoppingCallback(config.early_stopping_patience))
    trainer = OcrTrainer(
        family=family,
        model=family.build(),
        args=args,
        train_samples=rows[0],
        val_samples=rows[1],
        scorer=Scorer(rows[1], home.path / "baseline.jsonl", folder.path / "eval_results.json"),
        parts=parts,
        callbacks=callbacks,
    )
    trainer.remove_callback(PrinterCallback)
    conductor.trainer = trainer
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    if stop.wished:
        raise KeyboardInterrupt
    figures = _figures(trainer, counts)
    live.finish({"rows": dict(counts), "best": figures["best"]})
    _keep_result(home, trainer, folder, figures)
    speed = {"seconds": round(line.seconds, 1), "rows_per_second": _rate(trainer, line, batch)}
    folder.update(**speed)
    perf.record("train_loop", speed)
    return figures


def _rate(trainer: Any, line: Any, batch: tuple[int, int]) -> float:
    steps = trainer.state.global_step - line.first_step
    return round(steps * batch[0] * batch[1] / line.seconds, 1) if line.seconds else 0.0


def _figures(trainer: Any, counts: Mapping[str, int]) -> dict[str, Any]:
    """Return what the run reached: the same for a run that was interrupted and resumed."""
    history = trainer.state.log_history
    start = next((e for e in history if e.get("step") == 0 and "eval_cer" in e), {})
    metric = trainer.args.metric_for_best_model
    best = {"step": trainer.state.best_global_step, metric: trainer.state.best_metric}
    if f"eval_{metric}" in start:
        best[f"{metric}_before"] = start[f"eval_{metric}"]
    return {"best": best, "steps": trainer.state.global_step, "rows": dict(counts)}


def _keep_result(home: RunHome, trainer: Any, folder: RunFolder, figures: dict[str, Any]) -> None:
    with atomic_directory(home.result) as result:
        adapter = result / "adapter"
        adapter.mkdir()
        trainer.family.save(trainer.accelerator.unwrap_model(trainer.model), adapter)
        metrics = result / "metrics"
        shutil.copytree(folder.path / "dvclive", metrics)
        write_json(metrics / "metrics.json", read_json(metrics / "metrics.json"))  # sorted keys
        trainer.state.save_to_json(str(result / checkpoints.STATE))
        write_json(result / "state.json", figures)


class Scorer:
    """Scores what validation rows were read as, with the evaluator's own code.

    The reading before the first step is the baseline; each later one is written to
    eval_results.json in the schema of metrics/evaluate.json.
    """

    def __init__(self, samples: Sequence[Sample], baseline: Path, results: Path) -> None:
        self.samples = samples
        self.baseline = baseline
        self.results = results

    def __call__(self, predictions: list[Prediction], step: int) -> dict[str, float]:
        """Return the headline metrics of the reading at `step`."""
        from manifold_ocr import scoring

        config = scoring.EvaluateConfig(bootstrap_samples=IN_TRAINING_BOOTSTRAP)
        rows = scoring.score_rows(self.samples, predictions, config)
        if step == 0:
            write_rows(self.baseline, predictions)
        before = rows
        if self.baseline.is_file():
            before = scoring.score_rows(self.samples, read_predictions(self.baseline), config)
        report = {"step": step, **scoring.evaluation(rows, before, config)}
        write_json(self.results, report)
        headline = report["adapter"]["overall"]
        names = ("cer", "ned", "wer", "character_accuracy", "token_f1", "exact_match")
        scores = {name: float(headline[name]) for name in names if name in headline}
        for subset, values in report["adapter"]["by_subset"].items():
            scores[f"cer_{subset}"] = float(values["cer"])
        return scores


def make_deterministic(seed: int, threads: int) -> None:
    """Seed everything and fix the number of threads: sums over cores depend on it.

    On a GPU some kernels have no deterministic form (CTC's gradient among them); torch then
    warns instead of refusing.
    """
    import numpy as np
    import torch

    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True, warn_only=torch.cuda.is_available())
    torch.utils.deterministic.fill_uninitialized_memory = False  # a debugging aid, and slow
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
