"""What the machine allows a training run."""

import dataclasses
import os
from typing import Any

import torch

from manifold_ocr.models.config import ModelConfig


def on_gpu() -> bool:
    """Return whether training runs on a CUDA GPU."""
    return torch.cuda.is_available()


def trained_config(config: ModelConfig) -> ModelConfig:
    """Return the model section as it is trained: on a CPU always in float32."""
    return config if on_gpu() else dataclasses.replace(config, precision="fp32")


def local_device() -> str:
    """Return this process's device (torchrun numbers processes with LOCAL_RANK)."""
    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if on_gpu() else "cpu"


def moved(value: Any, device: torch.device) -> Any:
    """Return a batch (tensors, or lists of them) on `device`; other values as they are."""
    if isinstance(value, torch.Tensor):
        return value.to(device)
    return [moved(part, device) for part in value] if isinstance(value, list | tuple) else value
