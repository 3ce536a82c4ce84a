"""PEFT around a generative model: wrap for training, load an adapter, get at what is below."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from manifold_ocr.models.adapters import add_lora, attach
from manifold_ocr.models.config import LoraSettings
from manifold_ocr.models.fast.lora_linear import fuse_lora_layers


def base_model(model: Any) -> Any:
    """Return the transformers model below a PEFT wrapper, or the model itself."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def present(model: nn.Module, suffixes: Sequence[str], within: str) -> list[str]:
    """Return those of `suffixes` that name a linear layer below `within`, in their order.

    Architectures of one family name their layers differently; `auto` takes what is there.
    """
    found = {
        name.rsplit(".", 1)[-1]
        for name, module in model.named_modules()
        if name.startswith(within) and hasattr(module, "in_features")
    }
    return [suffix for suffix in suffixes if suffix in found]


def wrap_for_training(
    model: nn.Module, lora: LoraSettings, auto_targets: Sequence[str], within: str = ""
) -> Any:
    """Return `model` with new LoRA layers (float32 weights) and the fused forward.

    Raises:
        UserError: targets that match no module.
    """
    names = present(model, auto_targets, within)
    wrapped = add_lora(model, lora, names or list(auto_targets), within)
    fuse_lora_layers(wrapped)
    return wrapped


def add_adapter(model: nn.Module, adapter: Path, *, trainable: bool = False) -> Any:
    """Return `model` with a saved adapter, fused.

    For reading (not `trainable`) the adapter takes the precision of the base's weights.

    Raises:
        UserError: the folder holds no adapter, or one of another architecture.
    """
    wrapped = attach(model, adapter, trainable=trainable)
    if not trainable:
        for module in wrapped.modules():
            weight = getattr(getattr(module, "base_layer", None), "weight", None)
            if weight is not None and weight.is_floating_point() and hasattr(module, "lora_A"):
                module.lora_A.to(weight.dtype)
                module.lora_B.to(weight.dtype)
    fuse_lora_layers(wrapped)
    return wrapped
