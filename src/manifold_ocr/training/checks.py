"""Cross-checks of model, lora and train params before anything heavy is imported (torch-free).

What params alone decide is refused here at once; what needs the checkpoint's config.json is
read from that file; the model without weights says which layers LoRA can reach.
"""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from manifold_ocr.config import LoraConfig, TrainConfig
from manifold_ocr.errors import UserError
from manifold_ocr.files import read_json
from manifold_ocr.models.adapter_files import (
    ADAPTER_CONFIG,
    Scope,
    chat_vlm_scope,
    ctc_scope,
    encoder_decoder_scope,
    is_adapter,
)
from manifold_ocr.models.base import RunSpec
from manifold_ocr.models.registry import LIBRARY_CLASSES, family_of, library_config
from manifold_ocr.resources import gpu_present


def check_combinations(settings: RunSpec) -> None:
    """Refuse params that cannot work together, each with its remedy.

    Raises:
        UserError: quantization or fp16 without a GPU, full fine-tuning of quantized weights,
            lengths beyond the decoder's positions, and the like.
    """
    _check_hardware(settings)
    if settings.train.freeze == "early" and (family := family_of(settings.base)) != "ctc":
        raise UserError(
            f"train.freeze: early is for the ctc family, and this base model is of {family}; set "
            "train.freeze=backbone or none"
        )
    if settings.train.change_kept < 1 and settings.train.init_from and settings.lora.rank:
        raise UserError(
            "train.change_kept: a share of what LoRA adds can be taken from the base model only; "
            "clear train.init_from, or set train.change_kept=1.0"
        )
    _check_fp16_accumulation(settings)
    _check_quantization(settings)
    _check_lengths(settings)


def _check_hardware(settings: RunSpec) -> None:
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


def _check_fp16_accumulation(settings: RunSpec) -> None:
    """Refuse sums in float16 where no frozen encoder multiplies float16 on a GPU."""
    if not settings.model.fp16_accumulation:
        return
    why = ""
    if settings.model.precision != "fp16":
        why = f"products are of {settings.model.precision}; set model.precision=fp16"
    elif settings.train.freeze != "backbone":
        why = "the encoder is trained, which needs exact sums; set train.freeze=backbone"
    elif family_of(settings.base) == "ctc":
        why = "the ctc family's backbone has no such products"
    if why:
        raise UserError(
            f"model.fp16_accumulation has no effect here: {why}, or model.fp16_accumulation=false"
        )


def _check_quantization(settings: RunSpec) -> None:
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
            f"lora.bias: {lora.bias} would train biases of quantized layers; set lora.bias=none"
        )


def _check_lengths(settings: RunSpec) -> None:
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


def check_start(train: TrainConfig, lora: LoraConfig, destination: Path) -> None:
    """Refuse a `train.init_from` that cannot be the start of this run.

    Raises:
        UserError: no folder, the stage's own out (`destination`, which DVC removes first), an
            adapter of other LoRA settings than the params', or a full checkpoint under LoRA.
    """
    if not train.init_from:
        return
    start = Path(train.init_from)
    where = f"train.init_from: {start}"
    if start.resolve() == destination.resolve():
        raise UserError(
            f"{where} is what this stage writes, and DVC removes it before the stage runs: copy "
            "the folder and name the copy"
        )
    if not start.is_dir():
        raise UserError(f"{where} is no folder; name an adapter folder")
    if not is_adapter(start):
        if lora.rank:
            raise UserError(
                f"{where} is a full checkpoint, not an adapter: set lora.rank=0 to train it on, or "
                "set model.id to it to train an adapter for it"
            )
        return
    if not lora.rank:
        raise UserError(
            f"{where} is an adapter and lora.rank is 0: set lora.rank to the adapter's, or write "
            "one checkpoint with `manifold-ocr merge` and name that"
        )
    config = read_json(start / ADAPTER_CONFIG)
    theirs = {name: config.get(key) for name, key in START_KEYS.items()}
    ours = {name: getattr(lora, name) for name in START_KEYS}
    if theirs != ours:
        remedy = " ".join(f"lora.{k}={theirs[k]}" for k in START_KEYS if theirs[k] != ours[k])
        raise UserError(
            f"{where} was made with other LoRA settings than params.yaml's: set {remedy}"
        )


START_KEYS = {"rank": "r", "alpha": "lora_alpha", "dropout": "lora_dropout", "bias": "bias"}


def check_targets(settings: RunSpec, family: str) -> None:
    """Refuse LoRA targets that no layer has, that cannot be trained, or that `init_from` lacks.

    The model is built from config.json on the meta device: seconds, also for large ones.
    `auto` and full fine-tuning need no look.

    Raises:
        UserError: a name that ends no layer's name (the nearest ones are given), the output
            head, or other layers than those of the adapter in `train.init_from`.
    """
    lora, start = settings.lora, settings.train.init_from
    if lora.rank == 0 or (lora.target_modules == "auto" and not start):
        return
    from manifold_ocr.models.lora import match_targets, named_targets, present

    tree = module_tree(settings.base, family)
    auto, within = scope(tree, family, settings.train.freeze)
    named = present(tree, auto, within) if lora.target_modules == "auto" else named_targets(lora)
    matched = match_targets(tree, named, within)
    head = None if family == "ctc" else tree.get_output_embeddings()
    for name, module in tree.named_modules():
        if module is head and name in matched:
            raise UserError(
                f"lora.target_modules: {name} is the output head, whose weights the loss reads as "
                "they are: an adapter on it would never be trained; leave it out"
            )
    if start:
        _check_same_layers(tree, Path(start), matched)


def _check_same_layers(tree: Any, start: Path, matched: Sequence[str]) -> None:
    from manifold_ocr.models.lora import match_targets

    named = read_json(start / ADAPTER_CONFIG)["target_modules"]
    if isinstance(named, str):  # a pattern, which this program does not write
        return
    theirs = match_targets(tree, named)
    if differing := sorted({*theirs} ^ {*matched}):
        raise UserError(
            f"train.init_from: {start} adapts {len(theirs)} layers and params.yaml asks for "
            f"{len(matched)}; {differing[0]} is in one alone: set lora.target_modules and "
            "train.freeze as they were when it was trained"
        )


def scope(tree: Any, family: str, freeze: str) -> Scope:
    """Return what `auto` names in a family, and the prefixes below which its LoRA layers lie."""
    if family == "ctc":
        return ctc_scope(freeze)
    frozen = freeze == "backbone"
    if family == "chat_vlm":
        return chat_vlm_scope(tree, freeze_backbone=frozen)
    return encoder_decoder_scope(freeze_backbone=frozen)


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
