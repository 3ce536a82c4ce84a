"""What training changed, and the share of it that is kept."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


class Change:
    """A model's change since it was built; `share` of it is kept for reading and publishing.

    Weights between those before and those after fine-tuning read what training did not show
    better than either end does (WiSE-FT: Wortsman et al. 2022, equation 1). A LoRA pair starts
    at B = 0, so its change is scaled through B alone: W + share x (alpha / r) B A.
    """

    def __init__(self, model: nn.Module, share: float) -> None:
        """Keep the weights of `model` as they are now; a `share` of 1 needs none of them."""
        self.share = share
        self.trained = {
            name: parameter
            for name, parameter in model.named_parameters()
            if share < 1 and parameter.requires_grad and "lora_A" not in name
        }
        self.first = {name: value.detach().clone() for name, value in self.trained.items()}

    @contextmanager
    @torch.no_grad()
    def kept(self) -> Iterator[None]:
        """Give the model the kept share of its change, and afterwards all of it again."""
        last = {name: value.detach().clone() for name, value in self.trained.items()}
        for name, value in self.trained.items():
            value.lerp_(self.first[name].to(value.device), 1 - self.share)
        try:
            yield
        finally:
            for name, value in self.trained.items():
                value.copy_(last[name])
