"""The `train` section of params.yaml (torch-free, checked before weights load)."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Optimisation, evaluation during training, checkpoints and resume.

    `max_steps` > 0 overrides `epochs`. `train_batch_size` 0 means automatic. `warmup` is a
    share of the steps. `rehearsal` is the share of steps' rows drawn from general text.
    `freeze` names what stays fixed: `backbone` (vision tower) or `none`.
    """

    epochs: float = 4.0
    max_steps: int = 0
    train_batch_size: int = 16
    eval_batch_size: int = 32
    gradient_accumulation: int = 1
    learning_rate: float = 1e-3
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
    dataloader_workers: int = 0
    max_train_samples: int = 0
    max_val_samples: int = 0
    include_languages: tuple[str, ...] = ()
    include_subsets: tuple[str, ...] = ()
    rehearsal: float = 0.0
    freeze: Literal["backbone", "none"] = "backbone"
    init_from: str = ""
    overfit_check: bool = False
