"""The `train` section of params.yaml (torch-free, checked before weights load)."""

from dataclasses import dataclass
from typing import Literal

LARGER_IS_BETTER = {
    "cer": False,
    "ned": False,
    "wer": False,
    "character_accuracy": True,
    "token_f1": True,
}


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Optimisation, evaluation during training, checkpoints and resume.

    Lengths are tokens, `warmup` and `rehearsal` shares of one; docs/training.md describes
    every field. `max_steps` > 0 overrides `epochs`. `train_batch_size` 0 is automatic.
    `eval_steps` 0 evaluates after each epoch, `save_steps` 0 saves whenever it evaluates.
    `freeze` names what stays fixed: `backbone` (the vision part) or `none`. `init_from` is
    an adapter folder to start from.
    """

    epochs: float = 2.0
    max_steps: int = 0
    train_batch_size: int = 16
    eval_batch_size: int = 32
    gradient_accumulation: int = 1
    learning_rate: float = 5e-4
    weight_decay: float = 0.01
    warmup: float = 0.05
    scheduler: Literal["linear", "cosine", "constant", "constant_with_warmup"] = "cosine"
    max_grad_norm: float = 1.0
    gradient_checkpointing: bool = False
    max_target_length: int = 512
    generation_max_length: int = 512
    logging_steps: int = 20
    eval_steps: int = 0
    save_steps: int = 0
    save_total_limit: int = 2
    early_stopping_patience: int = 0
    metric_for_best_model: Literal["cer", "ned", "wer", "character_accuracy", "token_f1"] = "cer"
    resume: bool = True
    seed: int = 20240601
    threads: int = 2
    dataloader_workers: int = 0
    max_train_samples: int = 0
    max_val_samples: int = 0
    include_languages: tuple[str, ...] = ()
    include_subsets: tuple[str, ...] = ()
    rehearsal: float = 0.2
    rehearsal_degraded: float = 0.5
    rehearsal_languages: tuple[str, ...] = ("en", "zh")
    freeze: Literal["backbone", "none"] = "backbone"
    init_from: str = ""
    overfit_check: bool = False

    def __post_init__(self) -> None:
        for name in ("epochs", "gradient_accumulation", "learning_rate", "threads"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, not {getattr(self, name)}")
        for name in ("max_target_length", "generation_max_length", "logging_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more, not {getattr(self, name)}")
        for name in ("warmup", "rehearsal"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise ValueError(f"{name} is a share in [0, 1), not {getattr(self, name)}")
        if not 0.0 <= self.rehearsal_degraded <= 1.0:
            raise ValueError(f"rehearsal_degraded is a share, not {self.rehearsal_degraded}")
        counts = ("max_steps", "train_batch_size", "eval_steps", "save_steps", "max_train_samples")
        others = ("max_val_samples", "early_stopping_patience", "dataloader_workers")
        for name in (*counts, *others, "weight_decay", "max_grad_norm"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be 0 or more, not {getattr(self, name)}")
        self._check_schedule()

    def _check_schedule(self) -> None:
        if self.eval_batch_size < 1:
            raise ValueError(f"eval_batch_size must be 1 or more, not {self.eval_batch_size}")
        if self.save_total_limit < 1:
            raise ValueError(
                "save_total_limit must be 1 or more: while a checkpoint is written, the one "
                f"before it is the only whole one; it is {self.save_total_limit}"
            )
        if self.save_steps and (not self.eval_steps or self.save_steps % self.eval_steps):
            raise ValueError(
                f"save_steps ({self.save_steps}) must be a multiple of eval_steps "
                f"({self.eval_steps}): the best checkpoint is one that was evaluated"
            )

    @property
    def larger_is_better(self) -> bool:
        """Return the direction of `metric_for_best_model`: accuracies up, errors down."""
        return LARGER_IS_BETTER[self.metric_for_best_model]
