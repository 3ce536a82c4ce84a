"""From a `model` section to a loaded recognizer: where its weights are, and which family reads.

The family follows from `model_type` of the checkpoint's config.json through one explicit
table. Families are imported when used, so that choosing one does not import torch.
"""

import re
from pathlib import Path
from typing import Any

from manifold_ocr.config import ModelConfig, Spaces
from manifold_ocr.errors import UserError
from manifold_ocr.files import read_json
from manifold_ocr.models.adapter_files import check_origin, is_adapter
from manifold_ocr.models.base import GenerativeModel, OcrModel

BASE_ROOT = Path("data/base")
FAMILIES = {
    "pp_ocrv6_small_rec": "ctc",
    "vision-encoder-decoder": "encoder_decoder",
    "qwen2_vl": "chat_vlm",
    "qwen2_5_vl": "chat_vlm",
    "qwen3_vl": "chat_vlm",
    "paddleocr_vl": "chat_vlm",
    "lighton_ocr": "chat_vlm",
    "glm_ocr": "chat_vlm",
}
GRANULARITIES = {
    "ctc": ("line",),
    "encoder_decoder": ("line", "page"),
    "chat_vlm": ("line", "page"),
}
READS_TEXT_ONLY = ("ctc",)  # the others write what they are asked for: JSON, LaTeX, one line
LIBRARY_CLASSES = {  # of transformers
    "ctc": "AutoModelForTextRecognition",
    "encoder_decoder": "VisionEncoderDecoderModel",
    "chat_vlm": "AutoModelForImageTextToText",
}
MODULES = {
    "ctc": ("manifold_ocr.models.ctc.model", "manifold_ocr.models.ctc.onnx"),
    "encoder_decoder": ("manifold_ocr.models.encoder_decoder.model",),
    "chat_vlm": ("manifold_ocr.models.chat_vlm.model",),
}


def slug(model_id: str) -> str:
    """Return a folder name for a model id: a hub id keeps owner and name."""
    return re.sub(r"[^A-Za-z0-9._-]+", "--", model_id.strip("/")).strip("-.") or "model"


def base_path(config: ModelConfig, root: Path = BASE_ROOT) -> Path:
    """Return the checkpoint folder of `config.id`: a local folder, or one below data/base.

    Raises:
        UserError: the folder has no config.json yet.
    """
    local = Path(config.id)
    folder = local if local.is_dir() else root / slug(config.id)
    if not (folder / "config.json").is_file():
        raise UserError(
            f"{folder / 'config.json'}: no such file; `dvc repro download_base` fetches the base "
            f"model {config.id!r}, or set model.id to a checkpoint folder"
        )
    return folder


def family_of(folder: Path) -> str:
    """Return the family of a checkpoint folder.

    Raises:
        UserError: no config.json, or a `model_type` that no family reads.
    """
    model_type = model_type_of(read_json(folder / "config.json"))
    if model_type not in FAMILIES:
        known = ", ".join(sorted(FAMILIES))
        raise UserError(f"{folder}: model_type {model_type!r} has no family; known: {known}")
    return FAMILIES[model_type]


def model_type_of(config: dict[str, Any]) -> str:
    """Return the `model_type` of a config.json, by its architecture where another's is named.

    LightOnOCR was published as a kind of Mistral 3 before transformers had a class for it.
    """
    architectures = config.get("architectures") or [""]
    if str(architectures[0]).lower().startswith("lightonocr"):
        return "lighton_ocr"
    return str(config.get("model_type", ""))


def library_config(folder: Path, *, trust_remote_code: bool = False) -> Any:
    """Return a checkpoint's configuration as the library's class of it.

    Raises:
        UserError: a config.json that the library cannot read.
    """
    import transformers

    values = read_json(folder / "config.json")
    model_type = model_type_of(values)
    try:
        if model_type != values.get("model_type"):
            kind = transformers.CONFIG_MAPPING[model_type]
            return kind.from_dict({**values, "model_type": model_type})
        return transformers.AutoConfig.from_pretrained(folder, trust_remote_code=trust_remote_code)
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{folder / 'config.json'}: not a usable configuration: {error}") from error


def family(config: ModelConfig) -> str:
    """Return the family of the base model of `config` (see `family_of`)."""
    return family_of(base_path(config))


def granularities(name: str) -> tuple[str, ...]:
    """Return what the family `name` reads in one pass: lines, pages or both."""
    return GRANULARITIES[name]


def learns(name: str, task: str) -> bool:
    """Return whether the family `name` can be trained on rows of a task."""
    return task == "transcribe" or name not in READS_TEXT_ONLY


def modules(name: str) -> tuple[str, ...]:
    """Return the modules whose code decides what the family `name` reads: for fingerprints."""
    return MODULES[name]


def load_model(
    config: ModelConfig,
    adapter: Path | None = None,
    device: str | None = None,
    max_new_tokens: int | None = None,
    spaces: Spaces = "model",
) -> OcrModel:
    """Load the recognizer of `config`, with an adapter (or a full fine-tuned checkpoint).

    `device` is a torch device name; None takes this process's GPU, where there is one.
    `max_new_tokens` bounds the texts of families that generate (None: their default). `spaces`
    is `decode.spaces` of params.yaml, for families that decode frames.

    Raises:
        UserError: weights are missing, or no family reads them.
    """
    base = base_path(config)
    if adapter is not None and not adapter.is_dir():
        raise UserError(f"{adapter}: no such adapter folder; run `dvc repro train` first")
    kind = family_of(base)
    if adapter is not None:
        check_origin(adapter, base)
    if kind == "ctc":
        from manifold_ocr.models.ctc import model as ctc

        return ctc.load(config, base, adapter, device, spaces)
    loaded = _load_generative(kind, config, base, adapter, device)
    if max_new_tokens is not None:
        loaded.limit_text(max_new_tokens)
    return loaded


def load_plain(base: Path) -> Any:
    """Return the library's own model of a checkpoint folder, in the precision it is kept in.

    Raises:
        UserError: no family reads it, or the weights cannot be read.
    """
    import transformers

    from manifold_ocr.models.generative import load_pretrained

    kind = getattr(transformers, LIBRARY_CLASSES[family_of(base)])
    config = library_config(base)
    return load_pretrained(kind, base, config=config, dtype="auto", local_files_only=True).eval()


def _load_generative(
    kind: str, config: ModelConfig, base: Path, adapter: Path | None, device: str | None
) -> GenerativeModel:
    from manifold_ocr.models.chat_vlm import model as chat_vlm
    from manifold_ocr.models.device import default_device
    from manifold_ocr.models.encoder_decoder import model as encoder_decoder
    from manifold_ocr.models.lora import add_adapter

    place = device or default_device()
    full = adapter is not None and not is_adapter(adapter)  # a fully fine-tuned checkpoint
    folder = adapter if full and adapter is not None else base
    loaded: encoder_decoder.EncoderDecoder | chat_vlm.ChatVlm
    if kind == "encoder_decoder":
        loaded = encoder_decoder.load_base(config, folder, place)
    else:
        loaded = chat_vlm.load_base(config, folder, place)
    if adapter is not None and not full:
        loaded.model = add_adapter(loaded.model, adapter).eval()
    return loaded
