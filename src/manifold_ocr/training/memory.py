"""How much GPU memory a training step needs, before a byte of it is allocated.

The model is built on the meta device (shapes without storage) and one step is run there
while every tensor's birth and death are watched: parameters, activations kept for the
backward pass, transient buffers, gradients. The peak of what is alive is the estimate; the
optimizer's states and the allocator's rounding are added. Two real steps then prove it.
"""

import os
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from manifold_ocr.models.base import RunSpec
from manifold_ocr.models.device import local_device, moved
from manifold_ocr.models.family import TrainingData, TrainingFamily, family_for
from manifold_ocr.models.kernels.lora_linear import unfuse_lora_layers
from manifold_ocr.models.lora import base_model
from manifold_ocr.records import Sample

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
    """The memory of a flash attention: inputs, output and one float per row, no score matrix."""

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
    """The memory of the GPU's dropout: one byte per element is kept for the backward pass."""

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
    copies = getattr(base_model(model), "joined_bytes", int)()
    return MemoryEstimate(
        weights=sum(weights.values()) + copies,
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


def quantized_savings(language_model: nn.Module, bits: int) -> int:
    """Return the bytes that 4- or 8-bit weights save against the model's half-precision ones.

    4 bit: half a byte per weight, one byte per block of 64 (double quantization) and a float
    per 256 blocks; a dense copy of the largest matrix exists during its product.
    """
    layers = [m for m in language_model.modules() if isinstance(m, nn.Linear)]
    weights = [m.weight for m in layers if not m.weight.requires_grad]
    dense = sum(w.numel() * w.element_size() for w in weights)
    each = 0.5 + 1 / 64 + 4 / (64 * 256) if bits == 4 else 1.0
    packed = sum(int(w.numel() * each) for w in weights)
    largest = max((w.numel() * w.element_size() for w in weights), default=0)
    return dense - packed - largest


GIB = 1024**3
KEPT_FREE = 0.08  # share of the card left to the driver, the context and fragmentation


def estimated_families() -> tuple[str, ...]:
    """Return the families whose step the estimate can follow."""
    return ("encoder_decoder", "chat_vlm")


def usable_memory() -> int | None:
    """Return the bytes a run may use on its GPU, or None without one.

    Of several processes each takes its card's whole memory for granted, so that all of them
    come to the same answer; a share set for the process bounds it either way.
    """
    local = int(os.environ.get("LOCAL_RANK", "0"))
    if not torch.cuda.is_available():
        return None
    free, total = torch.cuda.mem_get_info(local)
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1
    bound = int(total * torch.cuda.get_per_process_memory_fraction(local))
    return int(min(total if several else free, bound) * (1 - KEPT_FREE))


def longest_batch(family: TrainingFamily, samples: Sequence[Sample], rows: int) -> dict[str, Any]:
    """Return the batch of the `rows` longest training rows (repeated where there are fewer)."""
    return longest_of(family, family.data(samples), rows)


def longest_of(family: TrainingFamily, data: TrainingData, rows: int) -> dict[str, Any]:
    """Return the batch of the `rows` longest rows of `data` (repeated where there are fewer)."""
    lengths = data.lengths
    order = sorted(range(len(data)), key=lambda i: -lengths[i])[:rows]
    order = (order * rows)[:rows]
    return family.collate([data[i] for i in order])


def unpacked_on_meta(family: TrainingFamily, settings: RunSpec) -> nn.Module:
    """Return the model to train without storage and without quantization.

    Over 8-bit weights PEFT's own forward runs, which keeps float32 copies of what enters each
    layer: it does here too.
    """
    plain = replace(settings.model, quantization="none")
    model = on_meta(family_for(family.name, replace(settings, model=plain)).build())
    if settings.model.quantization == "8bit":
        unfuse_lora_layers(model)
    return model


def step_memory(
    family: TrainingFamily, samples: Sequence[Sample], settings: RunSpec
) -> Callable[[int], float]:
    """Return a function: rows of a micro-batch -> estimated peak bytes of its step.

    Two estimates on the longest rows give it; a step's memory grows by the same for each row.
    """
    model = unpacked_on_meta(family, settings)
    one, two = (
        estimate_rows(model, longest_batch(family, samples, rows), settings) for rows in (1, 2)
    )
    return lambda rows: one + (rows - 1) * (two - one)


def estimate_rows(model: nn.Module, batch: dict[str, Any], settings: RunSpec) -> int:
    """Return the estimated peak bytes of a step on `batch`; `model` must be on the meta device."""
    meta = {k: v.to("meta") for k, v in batch.items() if isinstance(v, Tensor)}
    base = base_model(model)
    step = getattr(base, "training_step", None)
    if step is None:
        return estimate_step(model, meta).total
    total = estimate_step(model, language_batch(model, meta), step.language_loss).total
    bits = {"4bit": 4, "8bit": 8}.get(settings.model.quantization)
    return total - quantized_savings(base.model.language_model, bits) if bits else total


def on_meta(model: nn.Module) -> nn.Module:
    """Return the model without storage, in place; tied weights stay tied."""
    model.to("meta")
    base = base_model(model)
    if hasattr(base, "tie_weights"):
        base.tie_weights()
    return model


def probe(
    model: nn.Module,
    batch: dict[str, Any],
    context: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> int:
    """Return the peak of two training steps on the GPU, in bytes; the gradients are dropped.

    The model is moved there and stays. Steps that can be captured are: the longest batch's
    graph comes first, and those of shorter batches find room in its memory. `context` is
    what a step's forward runs in, such as autocast.
    """
    device = torch.device(local_device())
    model.to(device)
    placed = {name: moved(value, device) for name, value in batch.items()}
    torch.cuda.reset_peak_memory_stats()
    generator = torch.cuda.get_rng_state()
    model.train()
    for _ in range(2):
        with context():
            loss = model(**placed)["loss"]
        loss.backward()
        model.zero_grad(set_to_none=True)
    torch.cuda.synchronize()
    torch.cuda.set_rng_state(generator)  # dropout in the probe must not shift the run's
    return torch.cuda.max_memory_reserved()
