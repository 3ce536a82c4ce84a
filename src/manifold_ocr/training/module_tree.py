"""The layers that params name, looked for in the model without its weights, before a run begins."""

import warnings
from pathlib import Path
from typing import Any

from manifold_ocr.errors import UserError
from manifold_ocr.models.lora_targets import chat_vlm_scope, ctc_scope, encoder_decoder_scope
from manifold_ocr.models.registry import LIBRARY_CLASSES
from manifold_ocr.training.settings import TrainingSettings


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
    from manifold_ocr.models.adapters import match_targets, named_targets

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
        config = transformers.AutoConfig.from_pretrained(base)
        with warnings.catch_warnings(), torch.device("meta"):
            warnings.simplefilter("ignore")  # the same that loading the weights will say
            return build(config)
    except (OSError, ValueError) as error:
        raise UserError(f"{base / 'config.json'}: no model can be built of it: {error}") from error
