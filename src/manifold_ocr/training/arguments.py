"""`train` params as transformers' TrainingArguments."""

from pathlib import Path

import torch
from transformers import TrainingArguments

from manifold_ocr.training.config import TrainConfig


def training_arguments(
    config: TrainConfig, precision: str, checkpoints: Path, *, micro_batch: int, accumulation: int
) -> TrainingArguments:
    """Return the arguments of a run whose checkpoints go to `checkpoints`.

    Reports, progress and checkpoint contents are the harness's own, so those of the library
    are off. On a GPU `precision` sets autocast; on a CPU training is in float32.
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
        bf16=cuda and precision == "bf16",
        fp16=cuda and precision == "fp16",
        use_cpu=not cuda,
        activation_checkpointing=False,  # the family decides where it helps
        eval_strategy=evaluation,
        eval_steps=config.eval_steps or None,
        save_strategy=evaluation,
        save_steps=config.save_steps or config.eval_steps or 500,
        # beside the best, and beside the one that is being written
        save_total_limit=config.save_total_limit + 2,
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
