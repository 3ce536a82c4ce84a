"""PEFT around a loaded model: wrap for training, load an adapter, get at what is below."""

from pathlib import Path
from typing import Any

from peft import LoraConfig, PeftModel, get_peft_model

from manifold_ocr.errors import UserError
from manifold_ocr.models.config import LoraSettings
from manifold_ocr.models.fast.lora_linear import fuse_lora_layers


def base_model(model: Any) -> Any:
    """Return the transformers model below a PEFT wrapper, or the model itself."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def wrap_for_training(model: Any, lora: LoraSettings, targets: str | list[str]) -> PeftModel:
    """Return `model` with new LoRA layers (float32 weights) and the fused forward.

    `targets` is a full-match pattern of module names, or a list of name endings.

    Raises:
        UserError: the targets match no module.
    """
    settings = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        bias=lora.bias,
        target_modules=targets,
    )
    try:
        wrapped = get_peft_model(model, settings)
    except ValueError as error:
        raise UserError(
            f"lora.target_modules: {targets!r} matches no module of {type(model).__name__}; "
            "use `auto`, or names from `manifold-ocr train --dry-run`"
        ) from error
    fuse_lora_layers(wrapped)
    return wrapped


def add_adapter(model: Any, adapter: Path, base_path: Path | str) -> PeftModel:
    """Return `model` with a trained adapter for reading, its weights in the base's precision.

    Raises:
        UserError: the folder holds no adapter, or one of another architecture.
    """
    try:
        wrapped = PeftModel.from_pretrained(model, str(adapter), autocast_adapter_dtype=False)
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(f"{adapter}: the adapter does not fit {base_path}: {error}") from error
    fuse_lora_layers(wrapped)
    return wrapped.eval()
