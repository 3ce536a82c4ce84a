"""Devices, precision and determinism: how weights are held and where they run."""

import ctypes
import dataclasses
import os
import random
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from manifold_ocr.config import ModelConfig

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of malloc.h
DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def default_device() -> str:
    """Return this process's GPU (torchrun numbers processes with LOCAL_RANK), or `cpu`."""
    if not torch.cuda.is_available():
        return "cpu"
    device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    torch.cuda.set_device(device)  # captured steps and streams go to the current one
    return device


def weights_dtype(precision: str) -> torch.dtype:
    """Return the torch dtype of `fp32`, `fp16` or `bf16`."""
    return DTYPES[precision]


def quantization_config(config: ModelConfig) -> Any | None:
    """Return bitsandbytes' settings: LLM.int8, or nf4 with double quantization; None without.

    The vision tower, its projector and the head stay in `precision`: quantizing them saves
    little and the tower is run without a graph anyway.
    """
    if config.quantization == "none":
        return None
    from transformers import BitsAndBytesConfig

    skip = ["lm_head", "output_projection", "visual", "vision_tower", "vision_encoder", "encoder"]
    skip += ["projector", "vision_projection"]
    if config.quantization == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=skip)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=weights_dtype(config.precision),
        llm_int8_skip_modules=skip,
    )


def processor_path(config: ModelConfig, base_path: Path) -> Path | str:
    """Return where tokenizer and image preparation come from."""
    return config.processor_id or base_path


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


def keep_freed_memory() -> None:
    """Let the C library keep for the next tensor what one gives back, where it is glibc's.

    It would return blocks as large as activations to the system, which clears new pages for the
    next ones at every layer.
    """
    tell = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if tell is not None:
        tell(M_MMAP_THRESHOLD, 32 << 20)  # the most that it takes
        tell(M_TRIM_THRESHOLD, 2**31 - 1)


def make_deterministic(seed: int, threads: int) -> None:
    """Seed everything and fix the number of threads: sums over cores depend on it.

    On a GPU some kernels have no deterministic form (CTC's gradient among them); torch then
    warns instead of refusing.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # a CPU's convolutions are compiled for each shape; lines have hundreds, oneDNN keeps 1,024
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "65536")
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True, warn_only=torch.cuda.is_available())
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
