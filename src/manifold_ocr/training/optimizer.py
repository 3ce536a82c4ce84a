"""The optimizer of a run: over joined weights where steps are captured."""

from collections.abc import Callable
from typing import Any

import torch
from accelerate.optimizer import AcceleratedOptimizer
from torch import nn
from transformers import TrainingArguments

from manifold_ocr.models.kernels.flat import FlatParameters
from manifold_ocr.models.lora import base_model


def join_weights(
    model: Any, args: TrainingArguments, decayed: Callable[[nn.Module], list[str]]
) -> FlatParameters | None:
    """Join a model's trained weights, where captured steps give one process their gradient.

    `decayed` names the weights that decay; where only some of them do, they stay apart. None
    says that they do. The model then has them as `flat_parameters`.
    """
    base = base_model(model)
    captured = getattr(getattr(base, "training_step", base), "graphs_allowed", False)
    if not captured or args.world_size > 1:
        return None
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if args.weight_decay and trained.keys() - set(decayed(model)):
        return None
    if len({(p.dtype, p.device) for p in trained.values()}) > 1:
        return None
    flat = base.flat_parameters = FlatParameters(list(trained.values()))
    return flat


class FlatAdamW(torch.optim.AdamW):
    """AdamW over `FlatParameters`; its saved state is that of AdamW over the parameters.

    So a run goes on from a checkpoint whichever of the two wrote it.
    """

    def __init__(self, flat: FlatParameters, weight_decay: float, **options: Any) -> None:
        """The second, empty group is that of weights without decay, as the library saves it."""
        self.flat = flat
        groups = [
            {"params": [flat.whole], "weight_decay": weight_decay},
            {"params": [], "weight_decay": 0.0},
        ]
        super().__init__(groups, **options)

    def state_dict(self) -> dict[str, Any]:
        """Return the state by parameter."""
        kept: dict[str, Any] = super().state_dict()
        numbers = range(len(self.flat.parameters))
        kept["param_groups"][0]["params"] = list(numbers)
        if whole := kept["state"].pop(0, None):
            parts = {
                name: self.flat.views(value) if value.shape == self.flat.whole.shape else None
                for name, value in whole.items()
            }
            kept["state"] = {
                number: {
                    name: (whole[name] if views is None else views[number]).clone()
                    for name, views in parts.items()
                }
                for number in numbers
            }
        return kept

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take a state by parameter."""
        groups = [dict(group) for group in state_dict["param_groups"]]
        groups[0]["params"] = [0]
        states, joined = state_dict["state"], {}
        for name, value in states.get(0, {}).items():
            joined[name] = value
            if value.shape == self.flat.parameters[0].shape:
                joined[name] = torch.zeros_like(self.flat.whole)
                for number, view in enumerate(self.flat.views(joined[name])):
                    view.copy_(states[number][name])
        super().load_state_dict({"state": {0: joined} if joined else {}, "param_groups": groups})


class DirectOptimizer(AcceleratedOptimizer):
    """accelerate's optimizer, whose every step looks through sys.path for a package it may need.

    For few rows that takes longer than the step. An optimizer is made one by its class.
    """

    _accelerate_step_called: bool

    def step(self, closure: Any = None) -> None:
        """Step once the gradients of all micro-batches are there, by the scaler if there is one."""
        if not self.gradient_state.sync_gradients:
            return
        if self.scaler is None:
            self.optimizer.step(closure)
            return
        self.optimizer.step = self._optimizer_patched_step_method
        self.scaler.step(self.optimizer, closure)
        self.scaler.update()
        self._is_overflow = not self._accelerate_step_called
        self.optimizer.step = self._optimizer_original_step_method
        self._accelerate_step_called = False
