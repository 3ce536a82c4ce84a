"""Elementwise work fused into single kernels; plain PyTorch where Triton or a GPU is missing."""

import functools
import importlib.util
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

MOST_RANKS = 32  # of a LoRA layer that one kernel multiplies without tensor cores


@functools.cache
def _triton_kernels() -> Any | None:
    """Return the module of Triton kernels, or None where they cannot be compiled."""
    if importlib.util.find_spec("triton") is None or not torch.cuda.is_available():
        return None
    from manifold_ocr.models.kernels import triton

    return triton


def kernels_for(tensor: Tensor) -> Any | None:
    """Return the Triton kernels for a tensor on a GPU, or None where plain PyTorch must do."""
    return _triton_kernels() if tensor.is_cuda else None


def cross_entropy_in_place(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the loss of each row, float32 [rows]; `logits` becomes softmax - one_hot(label).

    Shapes: logits [rows, vocabulary] contiguous, labels [rows] int64. A negative label gives
    no loss and a gradient of zeros.
    """
    if logits.is_meta:  # a memory estimate: the GPU's kernel needs no buffer either
        return logits.new_empty(logits.shape[0], dtype=torch.float32)
    kernels = kernels_for(logits)
    if kernels is not None:
        return kernels.cross_entropy_in_place(logits, labels)
    values = logits.float()
    norm = torch.logsumexp(values, dim=-1)
    counted = (labels >= 0).unsqueeze(1).to(values.dtype)
    chosen = labels.clamp_min(0).unsqueeze(1)
    loss = (norm - values.gather(1, chosen).squeeze(1)) * counted.squeeze(1)
    values.sub_(norm.unsqueeze(1)).exp_()
    values.scatter_add_(1, chosen, -torch.ones_like(chosen, dtype=values.dtype))
    logits.copy_(values.mul_(counted))
    return loss


class _SwiGlu(torch.autograd.Function):
    """silu(gate) * up that keeps its two inputs only (autograd would keep three tensors)."""

    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor) -> Tensor:
        ctx.save_for_backward(gate, up)
        if gate.is_meta:
            return torch.empty_like(gate)
        kernels = kernels_for(gate)
        return functional.silu(gate) * up if kernels is None else kernels.swiglu(gate, up)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        gate, up = ctx.saved_tensors
        if gate.is_meta:
            return torch.empty_like(gate), torch.empty_like(up)
        kernels = kernels_for(gate)
        if kernels is not None:
            return kernels.swiglu_backward(grad.contiguous(), gate, up)
        sigmoid = torch.sigmoid(gate)
        silu = gate * sigmoid
        return grad * up * (sigmoid + silu * (1 - sigmoid)), grad * silu


def swiglu(gate: Tensor, up: Tensor) -> Tensor:
    """Return silu(gate) * up (equal shapes; Shazeer 2020, arXiv:2002.05202)."""
    return _SwiGlu.apply(gate, up)


def spread_dropout(values: Tensor, count: int, rate: float) -> tuple[Tensor, Tensor]:
    """Return `count` copies of `values` [rows, width], each with its own dropout, and the masks.

    Shapes: both [count, rows, width]; masks are bool, true where a value is kept.
    """
    if kernels_for(values) is None:
        return torch.native_dropout(values.expand(count, -1, -1), rate, True)
    shape = (count, *values.shape)
    mask = torch.empty(shape, dtype=torch.bool, device=values.device).bernoulli_(1 - rate)
    return spread_dropped(values, mask, rate), mask


def spread_dropped(values: Tensor, mask: Tensor, rate: float) -> Tensor:
    """Return values * mask / (1 - rate) for each mask, as the forward pass scaled what it kept.

    Shapes: values [rows, width], mask and result [count, rows, width].
    """
    kernels = kernels_for(values)
    if kernels is not None:
        return kernels.spread_dropped(values, mask, 1 / (1 - rate))
    return torch.ops.aten.native_dropout_backward(
        values.expand(len(mask), -1, -1), mask, 1 / (1 - rate)
    )


def add_dropped_products(
    target: Tensor, left: Tensor, right: Tensor, mask: Tensor, scale: float
) -> None:
    """Add the sum of scale * mask * (left @ right) to `target`: gradients through dropout.

    Shapes: target [rows, width], left [m, rows, rank], right [m, rank, width], mask bool
    [m, rows, width].
    """
    kernels = kernels_for(target)
    if kernels is not None and left.shape[2] <= MOST_RANKS and target.is_contiguous():
        kernels.add_dropped_products(target, left, right, mask, scale)
    else:
        for a, b, kept in zip(left, right, mask, strict=True):
            target += torch.ops.aten.native_dropout_backward(a @ b, kept, scale)


def dequantize_nf4(weight: Any) -> Tensor:
    """Return the dense matrix [out, in] of a bitsandbytes 4-bit weight, in its compute dtype."""
    state = weight.quant_state
    kernels = kernels_for(weight.data)
    if kernels is not None and state.quant_type == "nf4" and state.blocksize % 32 == 0:
        return kernels.dequantize_nf4(weight.data, state)
    import bitsandbytes.functional

    return bitsandbytes.functional.dequantize_4bit(weight.data, state)


HALF = (torch.float16, torch.bfloat16)


def half_precision_as_is(model: nn.Module) -> AbstractContextManager[object]:
    """Return a context without autocast for a half-precision base, else a neutral one.

    A float32 base (full fine-tuning keeps float32 master weights) needs the caller's
    autocast for its speed, so it is left alone.
    """
    frozen = next((p for p in model.parameters() if p.is_floating_point()), None)
    if frozen is None or frozen.dtype not in HALF or frozen.device.type == "meta":
        return nullcontext()
    return torch.autocast(frozen.device.type, enabled=False)


@contextmanager
def fp16_accumulation(allowed: bool) -> Iterator[None]:
    """Let products of float16 be summed in float16 (`model.fp16_accumulation`).

    GeForce cards multiply at twice the rate then; a captured step keeps what held at capture.
    """
    matmul: Any = torch.backends.cuda.matmul
    before = matmul.allow_fp16_accumulation
    matmul.allow_fp16_accumulation = allowed
    try:
        yield
    finally:
        matmul.allow_fp16_accumulation = before
