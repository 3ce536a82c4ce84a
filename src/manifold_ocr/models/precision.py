"""Precision and quantisation of weights as transformers wants them."""

import os
from pathlib import Path
from typing import Any

import torch

from manifold_ocr.models.config import ModelConfig

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
    """Return bitsandbytes' settings: LLM.int8, or nf4 with double quantisation; None without.

    The vision tower, its projector and the head stay in `precision`: quantising them saves
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
