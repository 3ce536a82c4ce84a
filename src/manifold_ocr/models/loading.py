"""Checkpoints through transformers, with one clear message where the library prints a page."""

import sys
from pathlib import Path
from typing import Any

import torch

from manifold_ocr.errors import UserError
from manifold_ocr.models.adapters import without_library_notes

UNUSED = ".pooler."  # ViT's pooler: no text comes from it, and OCR checkpoints leave it out


def load_pretrained(kind: Any, folder: Path | str, **options: Any) -> Any:
    """Return `kind.from_pretrained(folder)` from safetensors; name weights that it had to draw.

    Raises:
        UserError: the folder holds no such checkpoint.
    """
    try:
        with without_library_notes():
            model, found = kind.from_pretrained(
                folder, use_safetensors=True, output_loading_info=True, **options
            )
    except torch.OutOfMemoryError:
        raise
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(f"{folder}: not a usable {kind.__name__} checkpoint: {error}") from error
    missing = sorted(name for name in found["missing_keys"] if UNUSED not in name)
    if missing:
        print(
            f"warning: {folder} lacks {len(missing)} weights, which are drawn at random: "
            f"{', '.join(missing[:3])}; fetch the checkpoint again",
            file=sys.stderr,
        )
    return model
