"""Cross-checks of model, lora and train params before anything heavy is imported (torch-free).

What params alone decide is refused here at once; what needs the checkpoint's config.json is
read from that file; what needs the module tree is `training.coverage`.
"""

import warnings
from pathlib import Path
from typing import Any

from manifold_ocr.errors import UserError
from manifold_ocr.files import read_json
from manifold_ocr.models.adapter_files import chat_vlm_scope, ctc_scope, encoder_decoder_scope
from manifold_ocr.models.base import TrainingSettings
from manifold_ocr.models.registry import LIBRARY_CLASSES, library_config
from manifold_ocr.resources import gpu_present


def check_combinations(settings: TrainingSettings) -> None:
    """Refuse params that cannot work together, each with its remedy.

    Raises:
        UserError: quantisation or fp16 without a GPU, full fine-tuning of quantised weights,
            lengths beyond the decoder's positions, and the like.
    """
    _check_hardware(settings)
    _check_quantization(settings)
    _check_lengths(settings)


def _check_hardware(settings: TrainingSettings) -> None:
    model = settings.model
    if model.quantization == "none" and model.precision != "fp16":
        return
    if gpu_present():
        return
    if model.quantization != "none":
        raise UserError(
            f"model.quantization: {model.quantization} needs an NVIDIA GPU and none answers; "
            "set model.quantization=none, or check `nvidia-smi`"
        )
    raise UserError(
        "model.precision: fp16 needs an NVIDIA GPU and none answers; on a CPU set "
        "model.precision=fp32"
    )


def _check_quantization(settings: TrainingSettings) -> None:
    model, lora = settings.model, settings.lora
    if model.quantization == "none":
        return
    if lora.rank == 0:
        raise UserError(
            f"model.quantization: {model.quantization} weights cannot be trained themselves; "
            "set lora.rank above 0, or model.quantization=none for full fine-tuning"
        )
    if model.precision == "fp32":
        raise UserError(
            f"model.quantization: {model.quantization} computes in half precision; set "
            "model.precision=bf16 (or fp16)"
        )
    if lora.bias != "none":
        raise UserError(
            f"lora.bias: {lora.bias} would train biases of quantised layers; set lora.bias=none"
        )


def _check_lengths(settings: TrainingSettings) -> None:
    config = read_json(settings.base / "config.json")
    limit = decoder_positions(config)
    if limit is None:
        return
    for name in ("max_target_length", "generation_max_length"):
        value = getattr(settings.train, name)
        if value > limit:
            raise UserError(
                f"train.{name}: {value} is beyond the {limit} positions of this model's decoder; "
                f"set train.{name}={limit} or less"
            )


def decoder_positions(config: dict[str, object]) -> int | None:
    """Return how many tokens the decoder of a checkpoint's config.json can hold, or None."""
    for part in (config.get("decoder"), config.get("text_config"), config):
        if isinstance(part, dict) and "max_position_embeddings" in part:
            return int(part["max_position_embeddings"])
    return None


def check_targets(settings: TrainingSettings, family: str) -> None:
    """Refuse `lora.target_modules` that match no layer of the base model.

    The model is built from config.json on the meta device: seconds, also for large ones.
    `auto`, full fine-tuning and a given adapter (`train.init_from`) need no look.

    Raises:
        UserError: a name that ends no layer's name; the nearest ones are given.
    """
    lora = settings.lora
    if lora.rank == 0 or lora.target_modules == "auto" or settings.train.init_from:
        return
    from manifold_ocr.models.lora import match_targets, named_targets

    tree = module_tree(settings.base, family)
    match_targets(tree, named_targets(lora), scope(tree, family, settings.train.freeze))


def scope(tree: Any, family: str, freeze: str) -> str:
    """Return the prefix below which a family's LoRA layers lie."""
    frozen = freeze == "backbone"
    if family == "chat_vlm":
        return chat_vlm_scope(tree, freeze_backbone=frozen)[1]
    scopes = {"ctc": ctc_scope, "encoder_decoder": encoder_decoder_scope}
    return scopes[family](freeze_backbone=frozen)[1]


def module_tree(base: Path, family: str) -> Any:
    """Return the model of a checkpoint folder without storage.

    Raises:
        UserError: a config.json that the library cannot build a model of.
    """
    import torch
    import transformers

    kind = getattr(transformers, LIBRARY_CLASSES[family])
    build = getattr(kind, "from_config", kind)
    try:
        with warnings.catch_warnings(), torch.device("meta"):
            warnings.simplefilter("ignore")  # the same that loading the weights will say
            return build(library_config(base))
    except (OSError, ValueError) as error:
        raise UserError(f"{base / 'config.json'}: no model can be built of it: {error}") from error
