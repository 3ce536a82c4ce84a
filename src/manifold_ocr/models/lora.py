"""LoRA adapters through PEFT: attach, save so that equal runs give equal files, reload, merge."""

import difflib
import importlib
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from manifold_ocr.config import LoraConfig
from manifold_ocr.errors import UserError
from manifold_ocr.files import atomic_directory, read_json, write_json
from manifold_ocr.models.adapter_files import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    PREFIX,
    is_adapter,
)
from manifold_ocr.models.ctc.grown_head import load_grown
from manifold_ocr.models.ctc.onnx import export_merged
from manifold_ocr.models.ctc.vocabulary import character_list, read_growth
from manifold_ocr.models.kernels.lora_linear import fuse_lora_layers
from manifold_ocr.models.quiet import without_library_notes

Within = str | tuple[str, ...]  # what names start with


def import_peft() -> Any:
    """Return the peft module, imported when it is used: that takes seconds."""
    return importlib.import_module("peft")


def match_targets(model: nn.Module, suffixes: Sequence[str], within: Within = "") -> list[str]:
    """Return the sorted names of the linear and convolution modules that end in a suffix.

    `within` keeps modules below parts of the model (`head.`: the rest stays frozen). A
    pooler is left out: no text comes from it.

    Raises:
        UserError: a suffix matches nothing; the nearest module names are given.
    """
    candidates = [
        name
        for name, module in _used_modules(model, within)
        if hasattr(module, "in_features") or _is_conv(module)
    ]
    matched: set[str] = set()
    for suffix in suffixes:
        hits = [n for n in candidates if n == suffix or n.endswith(f".{suffix}")]
        if not hits:
            endings = sorted({name.rsplit(".", 1)[-1] for name in candidates})
            close = difflib.get_close_matches(suffix, endings, n=3, cutoff=0.3) or endings[:8]
            raise UserError(
                f"lora.target_modules: {suffix!r} matches no module"
                f"{_below(within)}; this model has {', '.join(close)}"
            )
        matched.update(hits)
    return sorted(matched)


def _below(within: Within) -> str:
    parts = (within,) if isinstance(within, str) else within
    return f" below {' or '.join(parts)}" if any(parts) else ""


def _used_modules(model: nn.Module, within: Within) -> Iterator[tuple[str, nn.Module]]:
    """Yield the named modules below `within` that a text depends on: all but poolers."""
    for name, module in model.named_modules():
        if name.startswith(within) and "pooler" not in name.split("."):
            yield name, module


def _is_conv(module: nn.Module) -> bool:
    return isinstance(module, nn.Conv2d) and module.groups == 1


def add_lora(
    model: nn.Module,
    lora: LoraConfig,
    auto_targets: Sequence[str],
    within: Within = "",
    **extra: Any,
) -> Any:
    """Return `model` inside a PeftModel whose LoRA layers are trainable, the rest frozen.

    `auto_targets` are the family's suffixes for `target_modules: auto`. `extra` goes to
    peft.LoraConfig. The caller seeds torch first: A is random, B is zero.

    Raises:
        UserError: targets that match no module.
    """
    peft = import_peft()
    wanted = auto_targets if lora.target_modules == "auto" else named_targets(lora)
    settings = peft.LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        bias=lora.bias,
        target_modules=match_targets(model, wanted, within),
        **extra,
    )
    with without_library_notes():
        wrapped = peft.get_peft_model(model, settings)
    for name, parameter in wrapped.named_parameters():  # bias: all frees those of frozen parts too
        if not name.removeprefix(PREFIX).startswith(within):
            parameter.requires_grad_(False)
    return wrapped


def named_targets(lora: LoraConfig) -> list[str]:
    """Return the endings that `lora.target_modules` lists, by commas or as a list."""
    targets = lora.target_modules
    return [part.strip() for part in targets.split(",")] if isinstance(targets, str) else targets


def attach(model: nn.Module, adapter: Path, trainable: bool = False) -> Any:
    """Return `model` with a saved adapter on it.

    Raises:
        UserError: the adapter is damaged or made for another architecture.
    """
    peft = import_peft()
    if not (adapter / ADAPTER_WEIGHTS).is_file():
        raise UserError(f"{adapter / ADAPTER_WEIGHTS}: no such file; train the adapter again")
    try:
        load_grown(model, adapter, trainable=trainable)
        with without_library_notes():
            return peft.PeftModel.from_pretrained(model, str(adapter), is_trainable=trainable)
    except (RuntimeError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{adapter}: does not fit this base model ({error})") from error


def restore_adapter(model: Any, folder: Path) -> None:
    """Load the adapter weights of `folder` into a PeftModel in place."""
    from safetensors.torch import load_file

    peft = import_peft()
    outcome = peft.set_peft_model_state_dict(model, load_file(folder / ADAPTER_WEIGHTS))
    if outcome.unexpected_keys:
        raise UserError(f"{folder}: has weights that the model lacks: {outcome.unexpected_keys[0]}")


def save_adapter(model: Any, folder: Path, base_name: str, revision: str = "") -> None:
    """Write adapter_config.json and adapter_model.safetensors into the existing `folder`.

    Equal adapters give equal bytes: targets are sorted, `base_name` (a hub id or a path
    relative to the project) replaces the path of this machine, no README is generated.
    """
    with tempfile.TemporaryDirectory(dir=folder) as name:
        model.save_pretrained(name, safe_serialization=True)
        written = Path(name)
        config = read_json(written / ADAPTER_CONFIG)
        config["base_model_name_or_path"] = base_name
        config["revision"] = revision or None
        if config.get("auto_mapping"):  # AutoPeftModel imports it: the library's class, not ours
            kind = library_class(base_model(model))
            names = {"base_model_class": kind.__name__, "parent_library": kind.__module__}
            config["auto_mapping"] = names
        config["target_modules"] = sorted(config["target_modules"])
        write_json(folder / ADAPTER_CONFIG, config)
        shutil.copyfile(written / ADAPTER_WEIGHTS, folder / ADAPTER_WEIGHTS)


def merge_adapter(model: nn.Module, adapter: Path, base: Path, destination: Path) -> None:
    """Write a full checkpoint: the base `model` with the adapter's changes inside the weights.

    Tokenizer and processor files of `base` are copied; a CTC checkpoint with graphs for
    onnxruntime gets graphs with the merged weights.
    """
    if not is_adapter(adapter):
        raise UserError(f"{adapter}: not a LoRA adapter; a full checkpoint needs no merging")
    merged = attach(model, adapter).merge_and_unload()
    with atomic_directory(destination) as folder:
        for path in base.iterdir():
            kept = path.suffix in {".json", ".txt", ".model", ".jinja"}
            if path.is_file() and kept and not path.name.endswith(".index.json"):
                shutil.copyfile(path, folder / path.name)
        for path in adapter.glob("language_model.*"):  # of a CTC adapter: see `ctc.speller`
            shutil.copyfile(path, folder / path.name)
        if read_growth(adapter):
            facts = read_json(folder / "preprocessor_config.json")
            facts["character_list"] = character_list(base, adapter)
            write_json(folder / "preprocessor_config.json", facts)
        with without_library_notes():
            merged.save_pretrained(folder, safe_serialization=True)
        for path in folder.glob("*.safetensors"):
            path.chmod(0o644)
        export_merged(base, adapter, folder)


def library_class(model: nn.Module) -> type:
    """Return the class of transformers that a model is of, below what this project adds to it."""
    kinds = [kind for kind in type(model).__mro__ if kind.__module__.startswith("transformers.")]
    return kinds[0] if kinds else type(model)


def base_model(model: Any) -> Any:
    """Return the transformers model below a PEFT wrapper, or the model itself."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def present(model: nn.Module, suffixes: Sequence[str], within: Within) -> list[str]:
    """Return those of `suffixes` that name a linear layer below `within`, in their order.

    Architectures of one family name their layers differently; `auto` takes what is there.
    """
    found = [n for n, module in _used_modules(model, within) if hasattr(module, "in_features")]
    return [suffix for suffix in suffixes if any(f".{n}".endswith(f".{suffix}") for n in found)]


def wrap_for_training(
    model: nn.Module, lora: LoraConfig, auto_targets: Sequence[str], within: Within = ""
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
