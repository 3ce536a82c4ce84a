"""Every section of params.yaml and the dataclass that reads it: the whole file is checked."""

import dataclasses
import importlib
from pathlib import Path
from typing import Any

from manifold_ocr.config import build, load_params
from manifold_ocr.data.registry import select_corpora
from manifold_ocr.errors import UserError

# section -> (module, dataclass); a section's dataclass lives beside its consumer.
SECTIONS: dict[str, tuple[str, str]] = {
    "model": ("manifold_ocr.config", "ModelConfig"),
    "lora": ("manifold_ocr.config", "LoraSettings"),
    "manifest": ("manifold_ocr.config", "ManifestConfig"),
    "augment": ("manifold_ocr.augment.recipe", "AugmentConfig"),
    "train": ("manifold_ocr.config", "TrainConfig"),
    "evaluate": ("manifold_ocr.metrics.score", "EvaluateConfig"),
    "compress": ("manifold_ocr.config", "CompressConfig"),
    "leaderboard": ("manifold_ocr.publish.ranking", "LeaderboardConfig"),
    "monitor": ("manifold_ocr.evaluation.monitor", "MonitorConfig"),
    "gate": ("manifold_ocr.evaluation.gate", "GateConfig"),
}
# Checked by the corpora's own code: which keys are valid depends on the kind of a corpus.
OPEN_SECTIONS = ("download", "corpora")


def check_params(path: Path | str = "params.yaml") -> dict[str, Any]:
    """Build every section and return {section: dataclass}.

    Raises:
        UserError: an unknown section or key, a mistyped value; names the key and the
            nearest valid one.
    """
    values = load_params(path)
    names = (*OPEN_SECTIONS, *SECTIONS)
    schema = dataclasses.make_dataclass("Params", [(name, Any) for name in names])
    build(schema, values, str(path))
    select_corpora(values)
    built = {}
    for section, (module, name) in SECTIONS.items():
        if section not in values:
            raise UserError(f"{path}: section {section!r} is missing")
        cls = getattr(importlib.import_module(module), name)
        built[section] = build(cls, values[section], f"{path}: {section}")
    return built
