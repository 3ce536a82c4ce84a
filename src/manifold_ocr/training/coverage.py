"""Which modules LoRA reaches and which it misses, by part of the model."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from manifold_ocr.models.adapters import match_targets


@dataclass(frozen=True)
class Coverage:
    """Linear layers by part and name ending: adapted, or left as they are."""

    hit: dict[str, int]
    missed: dict[str, int]

    def lines(self) -> list[str]:
        """Return the report, one line a kind of layer."""
        rows = [f"  adapted  {count:4d}  {name}" for name, count in self.hit.items()]
        return rows + [f"  missed   {count:4d}  {name}" for name, count in self.missed.items()]


def coverage(model: nn.Module, targets: Sequence[str], within: str = "") -> Coverage:
    """Return what `targets` (name endings below `within`) reach in an unwrapped model.

    The model may live on the meta device: no weights are needed.

    Raises:
        UserError: a target matches nothing.
    """
    matched = set(match_targets(model, targets, within))
    return _count(model, matched)


def adapted_coverage(model: nn.Module) -> Coverage:
    """Return the same of a model that PEFT has wrapped."""
    matched = {n for n, module in model.named_modules() if hasattr(module, "lora_A")}
    return _count(model, matched)


def _count(model: nn.Module, matched: set[str]) -> Coverage:
    hit: Counter[str] = Counter()
    missed: Counter[str] = Counter()
    for name, module in model.named_modules():
        if name in matched:
            hit[_kind(name)] += 1
        elif _is_layer(module) and ".lora_" not in name and not name.endswith(".base_layer"):
            missed[_kind(name)] += 1
    return Coverage(dict(sorted(hit.items())), dict(sorted(missed.items())))


def _is_layer(module: Any) -> bool:
    return hasattr(module, "in_features") and hasattr(module, "weight")


def _kind(name: str) -> str:
    """Return a module name without its layer numbers: model.layers.*.self_attn.q_proj."""
    name = name.removeprefix("base_model.model.")
    return ".".join("*" if part.isdigit() else part for part in name.split("."))
