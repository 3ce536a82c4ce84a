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


@triton.jit
def _shifted_norm_kernel(x, shift, weight, bias, out, width, eps, BLOCK: tl.constexpr):
    start = tl.program_id(0).to(tl.int64) * width
    at = tl.arange(0, BLOCK)
    inside = at < width
    value = tl.load(x + start + at, mask=inside, other=0.0).to(tl.float32)
    value += tl.load(shift + at, mask=inside, other=0.0)
    mean = tl.sum(value, 0) / width
    centered = tl.where(inside, value - mean, 0.0)
    scale = tl.rsqrt(tl.sum(centered * centered, 0) / width + eps)
    value = centered * scale * tl.load(weight + at, mask=inside, other=0.0).to(tl.float32)
    value += tl.load(bias + at, mask=inside, other=0.0).to(tl.float32)
    tl.store(out + start + at, value.to(out.dtype.element_ty), mask=inside)


def shifted_norm(x: Tensor, shift: Tensor, norm: Any) -> Tensor:
    """Return the layer norm of x + shift; x [rows, width] contiguous, shift float32 [width]."""
    out, width = torch.empty_like(x), x.shape[-1]
    _shifted_norm_kernel[(x.numel() // width,)](
        x, shift, norm.weight, norm.bias, out, width, norm.eps,
        BLOCK=triton.next_power_of_2(width), num_warps=4,
    )  # fmt: skip
    return out


@triton.jit
def _patches_kernel(
    pixels, scale, shift, out, height, width, size,
    CHANNELS: tl.constexpr, PATCH: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = at < size
    within, patch = at % (CHANNELS * PATCH * PATCH), at // (CHANNELS * PATCH * PATCH)
    channel, y, x = within // (PATCH * PATCH), within // PATCH % PATCH, within % PATCH
    columns = width // PATCH
    count = columns * (height // PATCH)
    image, row, column = patch // count, patch % count // columns, patch % columns
    source = ((image * CHANNELS + channel) * height + row * PATCH + y) * width + column * PATCH + x
    value = tl.load(pixels + source, mask=inside, other=0).to(tl.float32)
    value = value * tl.load(scale + channel, mask=inside, other=0.0)
    value += tl.load(shift + channel, mask=inside, other=0.0)
    tl.store(out + at, value.to(out.dtype.element_ty), mask=inside)


def patches(pixels: Tensor, patch: int, scale: Tensor, shift: Tensor, dtype: Any) -> Tensor:
    """Return pixels * scale + shift as rows of patches, [images x patches, channels x patch^2].

    Pixels are uint8 [images, channels, height, width], scale and shift float32 by channel.
    """
    images, channels, height, width = pixels.shape
    count = images * (height // patch) * (width // patch)
    out = torch.empty(count, channels * patch * patch, dtype=dtype, device=pixels.device)
    _patches_kernel[(triton.cdiv(out.numel(), 2048),)](
        pixels, scale, shift, out, height, width, out.numel(),
        CHANNELS=channels, PATCH=patch, BLOCK=2048, num_warps=8,
    )  # fmt: skip
    return out


@triton.jit
def _rotate_kernel(
    qkv, cos, sin, stride, HEADS: tl.constexpr, HALF: tl.constexpr, BLOCK: tl.constexpr
):
    token = tl.program_id(0).to(tl.int64)
    at = tl.arange(0, BLOCK)  # pairs of the heads of query and key
    inside = at < 2 * HEADS * HALF
    head, pair = at // HALF, at % HALF
    first = qkv + token * stride + head * 2 * HALF + pair
    low = tl.load(first, mask=inside, other=0.0).to(tl.float32)
    high = tl.load(first + HALF, mask=inside, other=0.0).to(tl.float32)
    angle = token * 2 * HALF + pair
    cos_low = tl.load(cos + angle, mask=inside, other=0.0).to(tl.float32)
    cos_high = tl.load(cos + angle + HALF, mask=inside, other=0.0).to(tl.float32)
    sin_low = tl.load(sin + angle, mask=inside, other=0.0).to(tl.float32)
    sin_high = tl.load(sin + angle + HALF, mask=inside, other=0.0).to(tl.float32)
    kind = qkv.dtype.element_ty
    tl.store(first, (low * cos_low - high * sin_low).to(kind), mask=inside)
    tl.store(first + HALF, (high * cos_high + low * sin_high).to(kind), mask=inside)


def rotate_in_place(qkv: Tensor, cos: Tensor, sin: Tensor, heads: int) -> None:
    """Rotate query and key of qkv [tokens, 3 x heads x width]; cos and sin are [tokens, width]."""
    half = qkv.shape[1] // heads // 6
    _rotate_kernel[(qkv.shape[0],)](
        qkv, cos.contiguous(), sin.contiguous(), qkv.stride(0),
        HEADS=heads, HALF=half, BLOCK=triton.next_power_of_2(2 * heads * half), num_warps=4,
    )  # fmt: skip


@triton.jit
def _quick_gelu_kernel(x, size, BLOCK: tl.constexpr):
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = at < size
    value = tl.load(x + at, mask=inside).to(tl.float32)
    tl.store(x + at, (value * tl.sigmoid(1.702 * value)).to(x.dtype.element_ty), mask=inside)


def quick_gelu_in_place(x: Tensor) -> Tensor:
    """Replace x (contiguous) by x * sigmoid(1.702 x); return it."""
    _quick_gelu_kernel[(triton.cdiv(x.numel(), 2048),)](x, x.numel(), BLOCK=2048, num_warps=8)
    return x


@triton.jit
def _spread_kernel(values, mask, out, size, scale, COUNT: tl.constexpr, BLOCK: tl.constexpr):
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = at < size
    value = tl.load(values + at, mask=inside).to(tl.float32) * scale
    for _ in tl.static_range(COUNT):
        kept = tl.load(mask + at, mask=inside).to(tl.float32)
        tl.store(out + at, (value * kept).to(out.dtype.element_ty), mask=inside)
        mask += size
        out += size


def spread_dropped(values: Tensor, mask: Tensor, scale: float) -> Tensor:
    """Return scale * values * mask for each mask [count, rows, width]; values [rows, width]."""
    values = values.contiguous()
    out = torch.empty(mask.shape, dtype=values.dtype, device=values.device)
    size = values.numel()
    _spread_kernel[(triton.cdiv(size, 2048),)](
        values, mask.view(torch.uint8), out, size, scale,
        COUNT=mask.shape[0], BLOCK=2048, num_warps=8,
    )  # fmt: skip
    return out


@triton.jit
def _add_dropped_kernel(
    target, left, right, mask, rows, width, left_matrix, left_stride, scale,
    COUNT: tl.constexpr, RANK: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    inside = (row < rows)[:, None] & (column < width)[None, :]
    at = row[:, None] * width + column[None, :]
    value = tl.load(target + at, mask=inside, other=0.0).to(tl.float32)
    for m in tl.static_range(COUNT):
        total = tl.zeros((ROWS, COLUMNS), tl.float32)
        for k in tl.static_range(RANK):
            lows = left + m * left_matrix + row * left_stride + k
            highs = right + (m * RANK + k) * width + column
            low = tl.load(lows, mask=row < rows, other=0.0).to(tl.float32)
            high = tl.load(highs, mask=column < width, other=0.0).to(tl.float32)
            total += low[:, None] * high[None, :]
        kept_at = (row + m * rows)[:, None] * width + column[None, :]
        kept = tl.load(mask + kept_at, mask=inside, other=0).to(tl.float32)
        value += total * kept * scale
    tl.store(target + at, value.to(target.dtype.element_ty), mask=inside)


def add_dropped_products(
    target: Tensor, left: Tensor, right: Tensor, mask: Tensor, scale: float
) -> None:
    """Add the sum of scale * mask * (left @ right) to target [rows, width], in one kernel."""
    rows, width = target.shape
    grid = (triton.cdiv(rows, 8), triton.cdiv(width, 256))
    left = left if left.stride(2) == 1 else left.contiguous()
    _add_dropped_kernel[grid](
        target, left, right.contiguous(), mask.view(torch.uint8), rows, width,
        left.stride(0), left.stride(1), scale,
        COUNT=left.shape[0], RANK=left.shape[2], ROWS=8, COLUMNS=256, num_warps=4,
    )  # fmt: skip
