"""The `model` and `lora` sections of params.yaml (torch-free, checked before weights load)."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Which weights, at which precision.

    `id` is a local folder, a hub id, or the embedded default `pp-ocrv6-small`; `revision`
    pins a hub id; `processor_id` takes the processor from elsewhere (empty: same as `id`).
    `max_pixels` is the pixel budget of an image for chat models (0: the checkpoint's own).
    """

    id: str
    revision: str = ""
    processor_id: str = ""
    precision: Literal["fp32", "fp16", "bf16"] = "fp32"
    quantization: Literal["none", "8bit", "4bit"] = "none"
    max_pixels: int = 0
    trust_remote_code: bool = False


@dataclass(frozen=True, kw_only=True)
class LoraSettings:
    """Low-rank adaptation; rank 0 means full fine-tuning of what `freeze` leaves free."""

    rank: int = 8
    alpha: int = 16
    dropout: float = 0.0
    target_modules: str | list[str] = "auto"
    bias: Literal["none", "all", "lora_only"] = "none"

    def __post_init__(self) -> None:
        if self.rank < 0:
            raise ValueError(f"rank must be 0 (full fine-tuning) or more, not {self.rank}")
        if not 0.0 <= self.dropout < 1.0:
            raise ValueError(f"dropout must be in [0, 1), not {self.dropout}")
