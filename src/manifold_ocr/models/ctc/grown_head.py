"""The last linear layer of a CTC recognizer with other classes than its base model's."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name everyone uses

from manifold_ocr.models.ctc.vocabulary import WEIGHTS, Growth, first_rows, grown_rows, read_growth


class GrownLinear(nn.Linear):
    """A linear layer whose last classes are trained in full while the others stay as they are.

    PEFT takes it for the linear layer that it is and puts LoRA around it.
    """

    def __init__(self, known: nn.Linear, rows: Tensor, bias: Tensor) -> None:
        """`known` is the layer of the base's classes; `rows` (K, H), `bias` (K,) are new."""
        nn.Module.__init__(self)
        self.in_features = known.in_features
        self.out_features = known.out_features + len(rows)
        self.known = known
        self.new_rows = nn.Parameter(rows)
        self.new_bias = nn.Parameter(bias)

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        """Return all classes' rows (C + K, H)."""
        return torch.cat([self.known.weight, self.new_rows])

    @property
    def bias(self) -> Tensor:  # type: ignore[override]
        """Return all classes' biases (C + K,)."""
        return torch.cat([self.known.bias, self.new_bias])

    def forward(self, input: Tensor) -> Tensor:
        """Return the logits (..., C + K) of (..., H)."""
        return F.linear(input, self.weight, self.bias)

    def trainable(self) -> None:
        """Free the new classes, which PEFT has frozen with everything else."""
        self.new_rows.requires_grad_(True)
        self.new_bias.requires_grad_(True)


def grow_head(model: Any, growth: Growth, base: list[str]) -> None:
    """Give a recognizer new classes in place, started from those that look like them.

    `base` holds the text of each class that the recognizer has now.
    """
    layer = model.head.head
    weight, bias = (part.detach().float().numpy() for part in (layer.weight, layer.bias))
    if growth.kept is not None:
        layer = _plain(layer, weight[list(growth.kept)], bias[list(growth.kept)])
    if growth.added:
        rows, biases = first_rows(growth.added, base, weight, bias)
        layer = GrownLinear(layer, torch.from_numpy(rows), torch.from_numpy(biases))
    _set(model, layer)


def load_grown(model: Any, adapter: Path, *, trainable: bool = False) -> None:
    """Give a recognizer the classes of a saved adapter in place; most adapters have none."""
    growth = read_growth(adapter)
    if not growth:
        return
    layer = model.head.head
    names = ("weight", "bias")
    weight, bias = (
        grown_rows(name, getattr(layer, name).detach().float().numpy(), adapter) for name in names
    )
    known = len(weight) - len(growth.added)
    grown = _plain(layer, weight, bias)
    if trainable and growth.added:
        new = torch.from_numpy(weight[known:].copy()), torch.from_numpy(bias[known:].copy())
        grown = GrownLinear(_plain(layer, weight[:known], bias[:known]), *new)
    _set(model, grown)


def grown_layer(model: Any) -> GrownLinear | None:
    """Return the layer with new classes of a recognizer, LoRA around it or not."""
    layer = model.head.head
    layer = getattr(layer, "base_layer", layer)
    return layer if isinstance(layer, GrownLinear) else None


def save_grown(model: Any, growth: Growth, folder: Path) -> None:
    """Write the new classes of a recognizer beside its adapter."""
    from safetensors.torch import save_file

    growth.write(folder)
    if (layer := grown_layer(model)) is not None:
        tensors = {"weight": layer.new_rows, "bias": layer.new_bias}
        whole = {name: value.detach().float().cpu().contiguous() for name, value in tensors.items()}
        save_file(whole, folder / WEIGHTS)


def restore_grown(model: Any, folder: Path) -> None:
    """Load what `save_grown` wrote into a recognizer of the same classes."""
    from safetensors.torch import load_file

    layer = grown_layer(model)
    if layer is not None:
        tensors = load_file(folder / WEIGHTS)
        with torch.no_grad():
            layer.new_rows.copy_(tensors["weight"])
            layer.new_bias.copy_(tensors["bias"])


def plain_head(model: Any) -> None:
    """Make the layer of a fully trained recognizer a plain linear one again, in place."""
    if (layer := grown_layer(model)) is not None:
        weight, bias = layer.weight.detach(), layer.bias.detach()
        _set(model, _plain(layer.known, weight.cpu().numpy(), bias.cpu().numpy()))


def _plain(like: nn.Linear, weight: np.ndarray, bias: np.ndarray) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weight))
        layer.bias.copy_(torch.from_numpy(bias))
    return layer.to(like.weight.device, like.weight.dtype)


def _set(model: Any, layer: nn.Linear) -> None:
    model.head.head = layer
    model.config.head_out_channels = layer.out_features
