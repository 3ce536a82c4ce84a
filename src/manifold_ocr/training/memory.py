"""How much GPU memory a training step needs, before a byte of it is allocated.

The model is built on the meta device (shapes without storage) and one step is run there
while every tensor's birth and death are watched: parameters, activations kept for the
backward pass, transient buffers, gradients. The peak of what is alive is the estimate; the
optimiser's states and the allocator's rounding are added.
"""

import weakref
from collections.abc import Callable, Iterator, Mapping
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


class _FusedDropout(torch.autograd.Function):
    """The memory of the GPU's dropout: one byte an element is kept for the backward pass."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        ctx.save_for_backward(values.new_empty(values.shape, dtype=torch.uint8))
        return torch.empty_like(values)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return torch.empty_like(grad)


def _dropout(
    values: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    return _FusedDropout.apply(values) if training and p > 0 else values


def _attention(query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any) -> Tensor:
    out: Tensor = _FusedAttention.apply(query, key, value)
    return out


@contextmanager
def fused_kernels() -> Iterator[None]:
    """Let attention and dropout cost what the GPU's kernels cost while the block runs."""
    originals = functional.scaled_dot_product_attention, functional.dropout
    torch_functions: Any = functional
    torch_functions.scaled_dot_product_attention = _attention
    torch_functions.dropout = _dropout
    try:
        yield
    finally:
        torch_functions.scaled_dot_product_attention, torch_functions.dropout = originals


def estimate_step(
    model: nn.Module, batch: Mapping[str, Tensor], loss: Callable[..., Tensor] | None = None
) -> MemoryEstimate:
    """Return the estimate for one training step of `model` on `batch`, both on the meta device.

    `loss(batch)` is what is differentiated; None: `model(**batch)["loss"]`.
    """
    trained = [p for p in model.parameters() if p.requires_grad]
    held = [*model.parameters(), *model.buffers()]
    weights = {t.untyped_storage()._cdata: t.untyped_storage().nbytes() for t in held}
    with fused_kernels(), _LiveBytes() as counter:
        counter.ignore(iter([*held, *batch.values()]))
        (model(**batch)["loss"] if loss is None else loss(batch)).backward()
    batch_bytes = sum(t.untyped_storage().nbytes() for t in batch.values())
    trained_bytes = sum(p.numel() * p.element_size() for p in trained)
    for parameter in trained:
        parameter.grad = None
    return MemoryEstimate(
        weights=sum(weights.values()),
        gradients_and_optimizer=2 * trained_bytes,  # AdamW's moments; gradients are in the peak
        activations=counter.peak + batch_bytes,
    )


def language_batch(model: Any, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return what a chat model's language model takes for `batch`, on the meta device.

    The vision tower runs before, without a graph, and needs less than the language model's
    step; its weights are counted with the model's.
    """
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    rows, length = batch["input_ids"].shape
    width = base.get_input_embeddings().weight.shape[1]
    count = batch["answer_index"].shape[0]
    placed = {}
    if hasattr(base.model, "get_rope_index"):  # others count positions by themselves
        placed = {"positions": torch.empty(3, rows, length, dtype=torch.long, device="meta")}
    return {
        **placed,
        "embedded": torch.empty(rows, length, width, dtype=base.dtype, device="meta"),
        "index": torch.empty(count, dtype=torch.long, device="meta"),
        "targets": torch.empty(count, dtype=torch.long, device="meta"),
    }


def quantised_savings(language_model: nn.Module, bits: int) -> int:
    """Return the bytes that 4- or 8-bit weights save against the model's half-precision ones.

    4 bit: half a byte a weight, one byte a block of 64 (double quantisation) and a float a
    256 blocks; a dense copy of the largest matrix exists during its product.
    """
    layers = [m for m in language_model.modules() if isinstance(m, nn.Linear)]
    weights = [m.weight for m in layers if not m.weight.requires_grad]
    dense = sum(w.numel() * w.element_size() for w in weights)
    each = 0.5 + 1 / 64 + 4 / (64 * 256) if bits == 4 else 1.0
    packed = sum(int(w.numel() * each) for w in weights)
    largest = max((w.numel() * w.element_size() for w in weights), default=0)
    return dense - packed - largest
