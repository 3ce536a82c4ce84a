"""Triton kernels: in-place cross-entropy, SwiGLU, nf4 dequantization with double quantization.

Imported only where a CUDA device and Triton exist (see kernels.py, which holds the plain
versions that these must equal; tests/models/test_fast_kernels_gpu.py compares them).
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

# ruff: noqa: ANN001, ANN202, N803 - Triton kernels take pointers and compile-time constants


@triton.jit
def _cross_entropy_kernel(logits, labels, losses, stride, vocabulary, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    start = logits + row * stride
    label = tl.load(labels + row)
    counted = tl.where(label >= 0, 1.0, 0.0)
    highest = tl.full((), float("-inf"), tl.float32)
    total = tl.zeros((), tl.float32)
    for offset in range(0, vocabulary, BLOCK):
        columns = offset + tl.arange(0, BLOCK)
        values = tl.load(start + columns, mask=columns < vocabulary, other=float("-inf"))
        values = values.to(tl.float32)
        block_highest = tl.maximum(highest, tl.max(values, 0))
        total = total * tl.exp(highest - block_highest) + tl.sum(tl.exp(values - block_highest), 0)
        highest = block_highest
    norm = highest + tl.log(total)
    chosen = tl.load(start + tl.maximum(label, 0)).to(tl.float32)
    tl.store(losses + row, (norm - chosen) * counted)
    # Every thread must have read the label's logit before any thread overwrites it.
    tl.debug_barrier()
    for offset in range(0, vocabulary, BLOCK):
        columns = offset + tl.arange(0, BLOCK)
        values = tl.load(start + columns, mask=columns < vocabulary, other=float("-inf"))
        grad = tl.exp(values.to(tl.float32) - norm) - tl.where(columns == label, 1.0, 0.0)
        grad *= counted
        tl.store(start + columns, grad.to(values.dtype), mask=columns < vocabulary)


def cross_entropy_in_place(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the losses [rows] float32 and overwrite logits with softmax - one_hot."""
    losses = torch.empty(logits.shape[0], dtype=torch.float32, device=logits.device)
    _cross_entropy_kernel[(logits.shape[0],)](
        logits, labels, losses, logits.stride(0), logits.shape[1], BLOCK=4096, num_warps=8
    )
    return losses


@triton.jit
def _swiglu_kernel(gate, up, out, size, BLOCK: tl.constexpr):
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = at < size
    g = tl.load(gate + at, mask=inside).to(tl.float32)
    u = tl.load(up + at, mask=inside).to(tl.float32)
    tl.store(out + at, (g * tl.sigmoid(g) * u).to(out.dtype.element_ty), mask=inside)


@triton.jit
def _swiglu_backward_kernel(grad, gate, up, grad_gate, grad_up, size, BLOCK: tl.constexpr):
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = at < size
    d = tl.load(grad + at, mask=inside).to(tl.float32)
    g = tl.load(gate + at, mask=inside).to(tl.float32)
    u = tl.load(up + at, mask=inside).to(tl.float32)
    sigmoid = tl.sigmoid(g)
    slope = sigmoid * (1 + g * (1 - sigmoid))
    tl.store(grad_gate + at, (d * u * slope).to(grad_gate.dtype.element_ty), mask=inside)
    tl.store(grad_up + at, (d * g * sigmoid).to(grad_up.dtype.element_ty), mask=inside)


def swiglu(gate: Tensor, up: Tensor) -> Tensor:
    """Return silu(gate) * up, computed in float32."""
    gate, up = gate.contiguous(), up.contiguous()
    out = torch.empty_like(gate)
    _swiglu_kernel[(triton.cdiv(gate.numel(), 1024),)](gate, up, out, gate.numel(), BLOCK=1024)
    return out


def swiglu_backward(grad: Tensor, gate: Tensor, up: Tensor) -> tuple[Tensor, Tensor]:
    """Return the gradients of swiglu with respect to gate and up."""
    gate, up = gate.contiguous(), up.contiguous()
    grad_gate, grad_up = torch.empty_like(gate), torch.empty_like(up)
    _swiglu_backward_kernel[(triton.cdiv(gate.numel(), 1024),)](
        grad, gate, up, grad_gate, grad_up, gate.numel(), BLOCK=1024
    )
    return grad_gate, grad_up


@triton.jit
def _nf4_kernel(
    packed,
    code,
    scales,
    scale_code,
    outer,
    offset,
    out,
    bytes_,
    BLOCKSIZE: tl.constexpr,
    OUTER: tl.constexpr,
    NESTED: tl.constexpr,
    BLOCK: tl.constexpr,
):
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = at < bytes_
    byte = tl.load(packed + at, mask=inside, other=0)
    block = at * 2 // BLOCKSIZE
    if NESTED:
        index = tl.load(scales + block, mask=inside, other=0)
        scale = tl.load(scale_code + index.to(tl.int32)) * tl.load(
            outer + block // OUTER, mask=inside, other=0.0
        )
        scale += tl.load(offset)
    else:
        scale = tl.load(scales + block, mask=inside, other=0.0)
    high = tl.load(code + (byte >> 4).to(tl.int32)) * scale
    low = tl.load(code + (byte & 15).to(tl.int32)) * scale
    both = tl.interleave(high, low).to(out.dtype.element_ty)
    where = tl.program_id(0).to(tl.int64) * BLOCK * 2 + tl.arange(0, 2 * BLOCK)
    tl.store(out + where, both, mask=where < bytes_ * 2)


def dequantize_nf4(packed: Tensor, state: Any) -> Tensor:
    """Return the dense [out, in] matrix of packed nf4 bytes (two values a byte, high first).

    value = code[nibble] * scale of its block; with double quantization the scale is
    scale_code[index] * outer scale + offset (Dettmers et al. 2023, arXiv:2305.14314).
    """
    out = torch.empty(state.shape, dtype=state.dtype, device=packed.device)
    nested = state.nested
    inner: Any = state.state2 if nested else None
    _nf4_kernel[(triton.cdiv(packed.numel(), 1024),)](
        packed, state.code, state.absmax,
        inner.code if nested else state.code,
        inner.absmax if nested else state.absmax,
        state.offset if nested else state.absmax,
        out, packed.numel(),
        BLOCKSIZE=state.blocksize, OUTER=inner.blocksize if nested else 1,
        NESTED=nested, BLOCK=1024,
    )  # fmt: skip
    return out
