"""Every section of params.yaml and the dataclass that reads it: the whole file is checked."""

import dataclasses
import importlib
from pathlib import Path
from typing import Any

from manifold_ocr.config import build, load_params
from manifold_ocr.errors import UserError

# section -> (module, dataclass); a section's dataclass lives beside its consumer.
SECTIONS: dict[str, tuple[str, str]] = {
    "model": ("manifold_ocr.models.config", "ModelConfig"),
    "lora": ("manifold_ocr.models.config", "LoraSettings"),
    "manifest": ("manifold_ocr.manifest.config", "ManifestConfig"),
    "train": ("manifold_ocr.training.config", "TrainConfig"),
    "leaderboard": ("manifold_ocr.ranking", "LeaderboardConfig"),
    "gate": ("manifold_ocr.gate", "GateConfig"),
}


def check_params(path: Path | str = "params.yaml") -> dict[str, Any]:
    """Build every section and return {section: dataclass}.

    Raises:
        UserError: an unknown section or key, a mistyped value; names the key and the
            nearest valid one.
    """
    values = load_params(path)
    schema = dataclasses.make_dataclass("Params", [(name, Any) for name in SECTIONS])
    build(schema, values, str(path))
    built = {}
    for section, (module, name) in SECTIONS.items():
        if section not in values:
            raise UserError(f"{path}: section {section!r} is missing")
        cls = getattr(importlib.import_module(module), name)
        built[section] = build(cls, values[section], f"{path}: {section}")
    return built
