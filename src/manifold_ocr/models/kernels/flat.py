"""Trained weights as parts of one tensor: the work around a step is per tensor, not per weight.

LoRA on a decoder of 12 layers is 240 small weights. Handing on, scaling, clipping and applying
the gradient of each takes a CPU longer than a GPU needs for 8 lines; of one tensor it takes no
time. Every element is computed as before, but for the order in which the norm is summed.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

ALIGNED = 64  # elements: each weight starts where the GPU reads whole words, in half precision too


class FlatParameters:
    """`parameters` moved into the storage of `whole`, whose gradient is that of all of them.

    Captured steps give `whole` its gradient. Eager ones give each parameter its own:
    `collect` adds those.
    """

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        """All parameters must be of one dtype and on one device; what they hold stays."""
        self.parameters = list(parameters)
        self.starts: list[int] = []
        size = 0
        for parameter in self.parameters:
            self.starts.append(size)
            size += -(-parameter.numel() // ALIGNED) * ALIGNED
        self.whole = nn.Parameter(self.parameters[0].detach().new_zeros(size))
        for parameter, view in zip(self.parameters, self.views(self.whole.data), strict=True):
            view.copy_(parameter.detach())
            parameter.data = view

    def views(self, flat: Tensor) -> list[Tensor]:
        """Return the parts of a tensor like `whole`, shaped as the parameters are."""
        return [
            flat[start : start + parameter.numel()].view(parameter.shape)
            for start, parameter in zip(self.starts, self.parameters, strict=True)
        ]

    def collect(self) -> None:
        """Add the gradients that eager steps left on the parameters to `whole`'s."""
        own = [parameter.grad for parameter in self.parameters]
        if not any(grad is not None for grad in own):
            return
        if self.whole.grad is None:
            self.whole.grad = torch.zeros_like(self.whole)
        pairs = zip(self.views(self.whole.grad), own, strict=True)
        found = [(view, grad) for view, grad in pairs if grad is not None]
        torch._foreach_add_([view for view, _ in found], [grad for _, grad in found])
        for parameter in self.parameters:
            parameter.grad = None
