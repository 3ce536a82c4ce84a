"""What decides a training run, as one value (torch-free)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from manifold_ocr.models.config import LoraSettings, ModelConfig
from manifold_ocr.records import Rejection, Sample
from manifold_ocr.training.config import TrainConfig


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """The params sections that decide a training run, and where its inputs are.

    `base` is the checkpoint folder of the base model, `image_root` the folder that samples'
    `image` paths start from.
    """

    model: ModelConfig
    lora: LoraSettings
    train: TrainConfig
    base: Path
    image_root: Path


@dataclass(frozen=True, kw_only=True)
class Audit:
    """Rows looked at before training: what can be learnt, what cannot and why.

    `counts` are finite numbers for metrics; `details` (such as the missing characters with
    their counts) go to the run folder.
    """

    kept: Sequence[Sample]
    rejected: Sequence[Rejection] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)
