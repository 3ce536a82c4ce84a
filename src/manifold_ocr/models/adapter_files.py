"""Saved adapters without torch: their origin, and LoRA merged into plain weights with numpy.

Each function named a scope returns (endings of module names, prefixes of the names that are
looked at). With `freeze_backbone` the vision part stays as it is: nothing of it is named.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from manifold_ocr.errors import UserError
from manifold_ocr.files import read_json, sha256_file, sha256_json, write_json

ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
PREFIX = "base_model.model."
ORIGIN = "manifold.json"
HEADER_BYTES = 1 << 20


def is_adapter(folder: Path) -> bool:
    """Return whether `folder` holds a PEFT adapter (otherwise it is a full checkpoint)."""
    return (folder / ADAPTER_CONFIG).is_file()


def load_tensors(path: Path) -> dict[str, np.ndarray]:
    """Return the tensors of a safetensors file.

    Raises:
        UserError: missing or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return dict(load_file(path))
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path}: cannot be read as safetensors ({error}); train again") from error


def merged_weights(folder: Path, base: Callable[[str], np.ndarray]) -> dict[str, np.ndarray]:
    """Return the weights that the adapter changes: W + scale * B A, and trained biases.

    `base` gives a parameter of the base model by name. The scale is alpha / r, or
    alpha / sqrt(r) for rank-stabilised adapters (Hu et al. 2021; Kalajdzievski 2023).

    Raises:
        UserError: an adapter of another kind than plain LoRA on linear layers.
    """
    config = read_json(folder / ADAPTER_CONFIG)
    special = [
        key
        for key in ("use_dora", "rank_pattern", "alpha_pattern", "modules_to_save")
        if config.get(key)
    ]
    if config.get("peft_type") != "LORA" or special:
        raise UserError(f"{folder}: only plain LoRA can be merged here, not {special or config}")
    rank, alpha = int(config["r"]), float(config["lora_alpha"])
    scale = alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)
    tensors = load_tensors(folder / ADAPTER_WEIGHTS)
    merged = {}
    for key, tensor in tensors.items():
        name = key.removeprefix(PREFIX)
        if name.endswith(".lora_A.weight"):
            module = name.removesuffix(".lora_A.weight")
            up, known = tensors[key.replace(".lora_A.", ".lora_B.")], base(f"{module}.weight")
            change = up.reshape(len(up), -1) @ tensor.reshape(len(tensor), -1)  # convolutions too
            merged[f"{module}.weight"] = known + scale * change.reshape(known.shape)
        elif not name.endswith(".lora_B.weight"):
            merged[name.replace(".base_layer.", ".")] = tensor
    return {name: value.astype(np.float32) for name, value in merged.items()}


def base_fingerprint(base: Path) -> str:
    """Return a hash of a checkpoint's config and of the head and size of each weight file.

    Reads 1 MiB per file, so that checking a large base model costs nothing.
    """
    parts: list[Any] = [sha256_file(base / "config.json")]
    for path in sorted(base.glob("*.safetensors")):
        with open(path, "rb") as file:
            parts.append([path.name, path.stat().st_size, file.read(HEADER_BYTES).hex()])
    return sha256_json(parts)


def write_origin(folder: Path, base: Path, values: dict[str, Any]) -> None:
    """Write manifold.json beside the weights: what they were made from (no clock, no path)."""
    write_json(folder / ORIGIN, {"base_fingerprint": base_fingerprint(base), **values})


def check_origin(folder: Path, base: Path) -> None:
    """Refuse weights that say they were made from another base model.

    Raises:
        UserError: manifold.json names another base; adapters without it are accepted.
    """
    path = folder / ORIGIN
    if not path.is_file():
        return
    origin = read_json(path)
    if origin.get("base_fingerprint") != base_fingerprint(base):
        raise UserError(
            f"{folder}: was trained on {origin.get('base_id', 'another base model')}, not on "
            f"{base}; set model.id to that base model, or train again"
        )


CTC_HEAD = ("qkv", "projection", "fc1", "fc2", "head.head")
CTC_BACKBONE = ("channel_conv1.convolution", "channel_conv2.convolution")
DECODER = ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2")
BERT = ("query", "key", "value", "dense")  # a decoder of that kind
ENCODER = ("query", "key", "value", "o_proj", "dense")
LANGUAGE = (
    *("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"),
    "gate_up_proj",  # GLM joins the two
)
VISION = ("qkv", "proj", "fc1", "fc2", "out_proj", "linear_fc1", "linear_fc2")

CTC_LAST_STAGE = "model.backbone.encoder.blocks.3."  # of four
CTC_FREE: dict[str, str | tuple[str, ...]] = {  # by train.freeze
    "backbone": "head.",
    "early": (CTC_LAST_STAGE, "head."),
    "none": "",
}

Scope = tuple[tuple[str, ...], str | tuple[str, ...]]


def ctc_scope(freeze: str) -> Scope:
    """Return the head's layers, and the pointwise convolutions of what `freeze` leaves free."""
    return (CTC_HEAD if freeze == "backbone" else (*CTC_HEAD, *CTC_BACKBONE)), CTC_FREE[freeze]


def encoder_decoder_scope(*, freeze_backbone: bool) -> Scope:
    """Return attention and feed-forward projections of the decoder, and of the encoder."""
    return ((*DECODER, *BERT), "decoder.") if freeze_backbone else ((*DECODER, *ENCODER), "")


def chat_vlm_scope(model: Any, *, freeze_backbone: bool) -> Scope:
    """Return attention and feed-forward projections of the language model, and of the tower."""
    if not freeze_backbone:
        return (*LANGUAGE, *VISION), ""
    return LANGUAGE, "model.language_model." if hasattr(model.model, "language_model") else "model."
