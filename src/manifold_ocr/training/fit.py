"""Train one run in this process: audit, model, trainer, result; half the batch when memory ends."""

import gc
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import TrainingArguments

from manifold_ocr import resources
from manifold_ocr.config import Precision, TrainConfig
from manifold_ocr.errors import UserError
from manifold_ocr.files import atomic_directory, read_json, write_json
from manifold_ocr.models import conventions
from manifold_ocr.models.base import Audit, RunSpec
from manifold_ocr.models.device import keep_freed_memory, make_deterministic
from manifold_ocr.models.family import TrainingFamily, family_for
from manifold_ocr.models.lora import import_peft
from manifold_ocr.models.quiet import without_library_notes
from manifold_ocr.records import Sample
from manifold_ocr.resources import GpuMonitor, collector_paused
from manifold_ocr.training import checkpoints
from manifold_ocr.training.batches import (
    BatchPlan,
    keep_plan,
    planned,
    planned_settings,
)
from manifold_ocr.training.callbacks import Conductor, LiveLog, ProgressLine, SpeedLog
from manifold_ocr.training.locking import rows_per_step, world_size
from manifold_ocr.training.memory import longest_of, probe
from manifold_ocr.training.preflight import overfit
from manifold_ocr.training.processes import from_first
from manifold_ocr.training.run_record import Run, Scorer

RESULTS = "eval_results.json"
PLAN = "batch.json"
OVERFIT_ROWS = 5
OVERFIT_STEPS = 300


def fit(run: Run) -> dict[str, Any]:
    """Train `run` and keep its result; return what it reached.

    Raises:
        UserError: no row can be learned, a loss is not finite, or one row exceeds memory.
        KeyboardInterrupt: stopped on request, after a checkpoint was saved.
    """
    import_peft()
    config = run.settings.train
    make_deterministic(config.seed, config.threads)
    keep_freed_memory()
    family = family_for(run.family, run.settings)
    with collector_paused():
        audit = family.audit([*run.rows["train"], *run.rows["rehearsal"]])
    run.folder.write_audit("train", audit)
    run.folder.write_audit("val", family.audit(run.rows["val"]))
    counts = dict(audit.counts)
    print("train: " + ", ".join(f"{name} {value}" for name, value in counts.items()))
    if not audit.kept:
        quarantine = run.folder.path / "quarantine_train.jsonl"
        raise UserError(f"no row can be learned: {quarantine} has the reason of each")
    if config.overfit_check and run.checkpoint is None:
        _require_learning(family, audit.kept, run.settings)
    record = run.home.path / PLAN
    plan = planned(family, audit.kept, run.settings, record)
    while True:
        keep_plan(plan, record)
        try:
            built = family_for(run.family, planned_settings(plan, run.settings))
            return _attempt(run, built, audit, plan)
        except torch.OutOfMemoryError as error:
            _check_halving(plan, error)
        # after the handler, so that its traceback no longer holds the model
        gc.collect()
        torch.cuda.empty_cache()
        checkpointed, plan = plan.spared, plan.halved()
        what = f"micro-batch {plan.micro}, accumulation {plan.accumulation}"
        print(f"train: out of memory; {what}{', checkpointed' if checkpointed else ''}")


def _require_learning(family: TrainingFamily, rows: Sequence[Sample], settings: RunSpec) -> None:
    few = rows[:OVERFIT_ROWS]
    result = overfit(family, few, settings, OVERFIT_STEPS)
    found = f"CER {result.before:.3f} -> {result.after:.3f} after {result.steps} steps"
    print(f"train: overfit check on {result.rows} rows: {found}")
    if result.after > 0:
        raise UserError(
            f"train.overfit_check: {len(few)} rows were not learned by heart ({found}); look at "
            "their labels and images, raise train.learning_rate, or set train.overfit_check=false"
        )


def _check_halving(plan: BatchPlan, error: BaseException) -> None:
    if plan.micro == 1 and not plan.spared:
        raise UserError(
            "memory is too small for one row: lower max_pixels or max_target_length"
        ) from error
    if (processes := world_size()) > 1:  # the other processes wait for this one
        raise UserError(
            f"process {os.environ.get('RANK')} ran out of memory; set "
            f"train.train_batch_size={plan.halved().micro} and train.gradient_accumulation="
            f"{plan.halved().accumulation * processes}: the same rows per step"
        ) from error


def _attempt(
    run: Run,
    family: TrainingFamily,
    audit: Audit,
    plan: BatchPlan,
) -> dict[str, Any]:
    counts, config = dict(audit.counts), run.settings.train
    make_deterministic(config.seed, config.threads)
    line = ProgressLine(rows_per_step(config))
    live = LiveLog(run.folder.path / "dvclive")
    monitor = GpuMonitor(int(os.environ.get("LOCAL_RANK", "0")))
    speeds = SpeedLog(run.folder.path / "speed", monitor)
    trainer = _trainer(run, family, audit, plan, [live, line, speeds])
    speeds.trainer = trainer
    if torch.cuda.is_available():
        longest = longest_of(family, trainer.rows, plan.micro)
        peak = probe(trainer.model, longest, trainer.compute_loss_context_manager) / 1024**3
        print(f"train: {peak:.2f} GiB reserved by two steps on the longest rows")
    with monitor, without_library_notes():
        try:
            trainer.train(resume_from_checkpoint=str(trainer.resumed) if trainer.resumed else None)
        finally:
            trainer.end_workers()
    if run.stop.requested:
        raise KeyboardInterrupt
    figures = _figures(trainer, counts)
    if not trainer.is_world_process_zero():
        return figures
    live.finish({"rows": dict(counts), "best": figures["best"]})
    _keep_result(run, trainer, figures)
    speed = {"seconds": round(line.seconds, 1), **speeds.finish()}
    speed |= {key: round(value, 3) for key, value in monitor.summary().items()}
    run.folder.update(**speed)
    if not torch.cuda.is_available():
        speed["cpu_vector_bits"] = resources.cpu_kind()["vector_bits"]
    resources.record("train_rest" if run.checkpoint else "train_loop", speed)
    return figures


def _trainer(
    run: Run,
    family: TrainingFamily,
    audit: Audit,
    plan: BatchPlan,
    callbacks: list[Any],
) -> Any:
    from torch.utils.tensorboard import SummaryWriter
    from transformers import PrinterCallback
    from transformers.integrations.integration_utils import TensorBoardCallback

    from manifold_ocr.training.trainer import OcrTrainer

    config, home, val = run.settings.train, run.home, run.rows["val"]
    args = training_arguments(
        config,
        training_precision(run.settings.model.precision, run.family),
        home.checkpoints,
        micro_batch=plan.micro,
        accumulation=plan.accumulation,
    )
    one_gpu(args)
    # looked for at each attempt: the one before, ended by full memory, may have gone further
    checkpoint = from_first(lambda: checkpoints.latest_complete(home.checkpoints))
    args.eval_on_start = checkpoint is None
    conductor = Conductor(run.stop, checkpoint)
    writer = SummaryWriter(str(run.folder.path / "tensorboard"))
    callbacks = [conductor, *callbacks, TensorBoardCallback(writer)]
    trainer = OcrTrainer(
        family=family,
        model=family.build(audit),
        args=args,
        train_samples=audit.kept,
        labels=audit.labels,
        val_samples=val,
        scorer=Scorer(
            val,
            home.path / "baseline.jsonl",
            run.folder.path / RESULTS,
            run.settings,
            run.output_case,
        ),
        run_inputs=run.inputs,
        callbacks=callbacks,
        keep=config.save_total_limit,
        patience=config.early_stopping_patience,
        resumed=checkpoint,
        change_kept=config.change_kept,
    )
    trainer.remove_callback(PrinterCallback)
    conductor.trainer = trainer
    return trainer


def one_gpu(args: TrainingArguments) -> None:
    """Join the group of processes; let this one use its own GPU alone, and say so if it sees more.

    The library would spread one process over all of them by nn.DataParallel, whose copies
    have no parameters of their own.
    """
    args.device  # noqa: B018 - joins the group
    if args.n_gpu > 1:
        print(
            f"train: this process uses one of the {args.n_gpu} GPUs it sees; set train.gpus=auto "
            "to train on all of them"
        )
        args._n_gpu = 1


def _figures(trainer: Any, counts: Mapping[str, int]) -> dict[str, Any]:
    """Return what the run reached: the same for a run that was interrupted and resumed."""
    history = trainer.state.log_history
    start: dict[str, Any] = next((e for e in history if e.get("step") == 0 and "eval_cer" in e), {})
    metric = trainer.args.metric_for_best_model
    best = {"step": trainer.state.best_global_step, metric: trainer.state.best_metric}
    if f"eval_{metric}" in start:
        best[f"{metric}_before"] = start[f"eval_{metric}"]
    return {"best": best, "steps": trainer.state.global_step, "rows": dict(counts)}


def _keep_result(run: Run, trainer: Any, figures: dict[str, Any]) -> None:
    with atomic_directory(run.home.result) as result:
        adapter = result / "adapter"
        adapter.mkdir()
        with trainer.change.kept():
            trainer.family.save(trainer.accelerator.unwrap_model(trainer.model), adapter)
        conventions.write_conventions(adapter, run.output_case)
        metrics = result / "metrics"
        shutil.copytree(run.folder.path / "dvclive", metrics)
        write_json(metrics / "metrics.json", read_json(metrics / "metrics.json"))  # sorted keys
        trainer.state.save_to_json(str(result / checkpoints.STATE))
        write_json(result / "state.json", figures)


def training_precision(precision: Precision, family: str) -> Precision:
    """Return the precision of a run's arithmetic; on a CPU only the ctc family has bf16.

    A CPU without instructions for it is told so: there bf16 is slower than fp32.
    """
    if torch.cuda.is_available():
        return precision
    if precision != "bf16" or family != "ctc":
        return "fp32"
    if not torch.cpu._is_avx512_bf16_supported():
        print("train: this CPU has no bf16 instructions: model.precision=fp32 is faster here")
    return precision


def training_arguments(
    config: TrainConfig,
    precision: Precision,
    checkpoints: Path,
    *,
    micro_batch: int,
    accumulation: int,
) -> TrainingArguments:
    """Return the arguments of a run whose checkpoints go to `checkpoints`.

    Reports, progress and checkpoint contents are the harness's own, so those of the library
    are off. `precision` sets autocast.
    """
    cuda = torch.cuda.is_available()
    evaluation = "steps" if config.eval_steps else "epoch"
    return TrainingArguments(
        output_dir=str(checkpoints),
        num_train_epochs=config.epochs,
        max_steps=config.max_steps or -1,
        per_device_train_batch_size=micro_batch,
        per_device_eval_batch_size=config.eval_batch_size,
        gradient_accumulation_steps=accumulation,
        learning_rate=config.learning_rate,
        weight_decay=config.weight_decay,
        warmup_steps=config.warmup,
        lr_scheduler_type=config.scheduler,
        max_grad_norm=config.max_grad_norm,
        optim="adamw_torch_fused" if cuda else "adamw_torch",
        bf16=precision == "bf16",
        fp16=cuda and precision == "fp16",
        use_cpu=not cuda,
        activation_checkpointing=False,  # the family decides where it helps
        eval_strategy=evaluation,
        eval_steps=config.eval_steps or None,
        save_strategy=evaluation,
        save_steps=config.save_steps or config.eval_steps or 500,
        save_total_limit=None,  # `checkpoints.prune` removes them, once a newer one is whole
        logging_steps=config.logging_steps,
        load_best_model_at_end=True,
        metric_for_best_model=config.metric_for_best_model,
        greater_is_better=config.larger_is_better,
        logging_nan_inf_filter=False,
        dataloader_num_workers=config.dataloader_workers,
        dataloader_pin_memory=cuda,
        # a copy that waits for the GPU would leave it idle while the next step is prepared
        accelerator_config={"non_blocking": cuda},
        remove_unused_columns=False,
        ddp_find_unused_parameters=False,  # all that is trained takes part in each step
        ddp_broadcast_buffers=False,  # none of them changes
        seed=config.seed,
        data_seed=config.seed,
        report_to="none",
        disable_tqdm=True,
    )
