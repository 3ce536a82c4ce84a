"""Which modules LoRA reaches and which it misses, by part of the model."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

from torch import nn


@dataclass(frozen=True)
class Coverage:
    """Linear layers and convolutions by part and name ending: adapted, or left as they are.

    `trained` parameters of `total` are optimised.
    """

    hit: dict[str, int]
    missed: dict[str, int]
    trained: int = 0
    total: int = 0

    def lines(self) -> list[str]:
        """Return the report, one line a kind of layer."""
        share = 100 * self.trained / max(1, self.total)
        what = f"LoRA reaches {sum(self.hit.values())} layers" if self.hit else "full fine-tuning"
        rows = [
            f"{what}: {self.trained:,} of {self.total:,} parameters are trained ({share:.2f} %)"
        ]
        if not self.hit:
            return rows
        rows += [f"  adapted  {count:4d}  {name}" for name, count in self.hit.items()]
        return rows + [f"  missed   {count:4d}  {name}" for name, count in self.missed.items()]


def adapted_coverage(model: nn.Module) -> Coverage:
    """Return what LoRA reaches in a model that PEFT has wrapped, and what is trained.

    The model may live on the meta device: no weights are needed.
    """
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
    sizes = [(p.numel(), p.requires_grad) for p in model.parameters()]
    trained = sum(size for size, free in sizes if free)
    return Coverage(
        dict(sorted(hit.items())),
        dict(sorted(missed.items())),
        trained,
        sum(size for size, _ in sizes),
    )


def _is_layer(module: Any) -> bool:
    linear = hasattr(module, "in_features") and hasattr(module, "weight")
    return linear or (isinstance(module, nn.Conv2d) and module.groups == 1)


def _kind(name: str) -> str:
    """Return a module name without its layer numbers: model.layers.*.self_attn.q_proj."""
    name = name.rpartition("base_model.model.")[2].removeprefix("recogniser.")
    return ".".join("*" if part.isdigit() else part for part in name.split("."))
