"""How much GPU memory a training step needs, before a byte of it is allocated.

The model is built on the meta device (shapes without storage) and one step is run there
while every tensor's birth and death are watched: parameters, activations kept for the
backward pass, transient buffers, gradients. The peak of what is alive is the estimate; the
optimiser's states and the allocator's rounding are added.
"""

import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

BLOCK = 512  # bytes: the CUDA allocator rounds every block up to a multiple
WORKSPACE = 33 << 20  # bytes: cuBLAS and its handles, measured on Hopper


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes of one process: `total` is the peak, the others are its parts."""

    weights: int
    gradients_and_optimizer: int
    activations: int

    @property
    def total(self) -> int:
        """Return the peak."""
        return self.weights + self.gradients_and_optimizer + self.activations + WORKSPACE


class _LiveBytes(TorchDispatchMode):
    """Counts the bytes of storages that operations create, while they live."""

    def __init__(self) -> None:
        super().__init__()
        self.live = 0
        self.peak = 0
        self.known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor):
                self._born(leaf)
        return out

    def ignore(self, tensors: Iterator[Tensor]) -> None:
        """Count nothing for tensors that were there before."""
        for tensor in tensors:
            self.known.add(tensor.untyped_storage()._cdata)

    def _born(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self.known:
            return
        self.known.add(key)
        size = -(-storage.nbytes() // BLOCK) * BLOCK
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._died, key, size)

    def _died(self, key: int, size: int) -> None:
        self.known.discard(key)
        self.live -= size


class _FusedAttention(torch.autograd.Function):
    """The memory of a flash attention: inputs, output and one float a row, no score matrix."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        out = torch.empty_like(query)
        ctx.save_for_backward(query, key, value, out, query.new_empty(query.shape[:-1]).float())
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        query, key, value, *_ = ctx.saved_tensors
        return torch.empty_like(query), torch.empty_like(key), torch.empty_like(value)


def _attention(query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any) -> Tensor:
    return _FusedAttention.apply(query, key, value)


@contextmanager
def fused_attention() -> Iterator[None]:
    """Let attention cost what the fused GPU kernels cost while the block runs."""
    original = functional.scaled_dot_product_attention
    functional.scaled_dot_product_attention = _attention
    torch.nn.functional.scaled_dot_product_attention = _attention
    try:
        yield
    finally:
        functional.scaled_dot_product_attention = original


def estimate_step(model: nn.Module, batch: Mapping[str, Tensor]) -> MemoryEstimate:
    """Return the estimate for one training step of `model` on `batch`, both on the meta device.

    `model(**batch)` must return a mapping with `loss`, as the training families do.
    """
    parameters = list(model.parameters())
    trained = [p for p in parameters if p.requires_grad]
    held = [*parameters, *model.buffers()]
    weights = {t.untyped_storage()._cdata: t.untyped_storage().nbytes() for t in held}
    with fused_attention(), _LiveBytes() as counter:
        counter.ignore(iter([*held, *batch.values()]))
        model(**batch)["loss"].backward()
    batch_bytes = sum(t.untyped_storage().nbytes() for t in batch.values())
    trained_bytes = sum(p.numel() * p.element_size() for p in trained)
    for parameter in trained:
        parameter.grad = None
    return MemoryEstimate(
        weights=sum(weights.values()),
        gradients_and_optimizer=2 * trained_bytes,  # AdamW's moments; gradients are in the peak
        activations=counter.peak + batch_bytes,
    )
