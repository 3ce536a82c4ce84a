"""LoRA layers that share an input as one product: query, key and value, forth and back.

The weights, the gradients and the files stay those of the single layers (`lora_linear`); a step
of few rows is bound by the number of its kernels, and these are a third of them.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from manifold_ocr.models.kernels.lora_linear import (
    FastLoraLinear,
    dropout_rate,
    is_plain,
    lowered,
    tall_product,
    tall_products,
    whole_product,
)
from manifold_ocr.models.kernels.ops import add_dropped_products, spread_dropout, spread_dropped


class _QueryKeyValue(torch.autograd.Function):
    """LoRA layers of equal shapes over one trained input; see `lora_query_key_value`."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        dropout: float,
        scaling: float,
        low: tuple[Tensor, ...],
        *trained: Tensor,
    ) -> tuple[Tensor, ...]:
        layers, rank = len(low) // 2, low[0].shape[0]
        flat = x.reshape(-1, x.shape[-1])
        out = functional.linear(flat, weight, bias)
        inner = flat.new_empty(flat.shape[0], layers, rank).transpose(0, 1)
        a_low, b_low = torch.stack(low[::2]), torch.stack(low[1::2])
        mask = None
        if dropout:
            entering, mask = spread_dropout(flat, layers, dropout)
            torch.bmm(entering, a_low.transpose(1, 2), out=inner)
        else:
            torch.mm(flat, a_low.flatten(0, 1).T, out=inner.transpose(0, 1).flatten(1))
        parts = out.view(out.shape[0], layers, -1).transpose(0, 1)
        parts.baddbmm_(inner, b_low.transpose(1, 2), alpha=scaling)
        ctx.save_for_backward(flat, inner, a_low, b_low, weight, mask)
        ctx.dropout, ctx.scaling = dropout, scaling
        ctx.dtypes = [parameter.dtype for parameter in trained]
        return tuple(part.unflatten(0, x.shape[:-1]) for part in parts)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        flat, inner, a_low, b_low, weight, mask = ctx.saved_tensors
        layers, width, rank = b_low.shape
        rows, dtypes = flat.shape[0], ctx.dtypes
        whole = torch.cat([grad.reshape(-1, width) for grad in grads], 1)
        parts = whole.view(rows, layers, width).transpose(0, 1)
        inward = flat.new_empty(rows, layers, rank)
        low = inward.transpose(0, 1)
        torch.baddbmm(low, parts, b_low, beta=0, alpha=ctx.scaling, out=low)
        if flat.is_cuda:
            grad_b = whole_product(parts.transpose(1, 2), inner, dtypes[1], ctx.scaling)
        else:
            grad_b = (parts.transpose(1, 2) @ inner).to(dtypes[1]).mul_(ctx.scaling)
        grad_x = whole @ weight
        if mask is None:
            grad_a = list(tall_product(inward.flatten(1), flat, dtypes[0]).split(rank))
            grad_x.addmm_(inward.flatten(1), a_low.flatten(0, 1))
        else:
            entering = spread_dropped(flat, mask, ctx.dropout)
            grad_a = list(tall_products(low, entering, dtypes[0]))
            add_dropped_products(grad_x, low, a_low, mask, 1 / (1 - ctx.dropout))
        trained = [part for pair in zip(grad_a, grad_b, strict=True) for part in pair]
        return grad_x.view(*grads[0].shape[:-1], -1), *[None] * 5, *trained


def lora_query_key_value(layers: list[Any], x: Tensor) -> tuple[Tensor, ...] | None:
    """Return what LoRA layers of equal shapes give of one input, or None: call them instead."""
    if not torch.is_grad_enabled() or not (joint := _joint(layers, x, 0)):
        return None
    weight, bias, low, trained = joint
    name = layers[0].active_adapters[0]
    rate, scaling = dropout_rate(layers[0], name), layers[0].scaling[name]
    return _QueryKeyValue.apply(x, weight, bias, rate, scaling, low, *trained)


class _KeyValue(torch.autograd.Function):
    """Two LoRA layers over one frozen input as one product; see `lora_key_value`."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        extended: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        dropout: float,
        scaling: float,
        low: tuple[Tensor, ...],
        *trained: Tensor,
    ) -> tuple[Tensor, Tensor]:
        a_key, b_key, a_value, b_value = low
        rank, width, half = a_key.shape[0], x.shape[-1], weight.shape[0] // 2
        flat = x.reshape(-1, width)
        inner = flat.new_empty(flat.shape[0], 2 * rank)
        mask = None
        if dropout:
            entering, mask = spread_dropout(flat, 2, dropout)
            both = inner.view(-1, 2, rank).transpose(0, 1)
            torch.bmm(entering, torch.stack([a_key, a_value]).transpose(1, 2), out=both)
        else:
            torch.mm(flat, torch.cat([a_key, a_value]).T, out=inner)
        extended[:, width : width + 2 * rank] = inner
        torch.mul(b_key, scaling, out=weight[:half, width : width + rank])
        torch.mul(b_value, scaling, out=weight[half:, width + rank : width + 2 * rank])
        out = functional.linear(extended, weight, bias)
        ctx.save_for_backward(flat, inner, b_key, b_value, mask)
        ctx.dropout, ctx.scaling = dropout, scaling
        ctx.dtypes = [parameter.dtype for parameter in trained]
        shape = x.shape[:-1]
        return out[:, :half].unflatten(0, shape), out[:, half:].unflatten(0, shape)

    @staticmethod
    def backward(ctx: Any, grad_key: Tensor, grad_value: Tensor) -> Any:
        flat, inner, b_key, b_value, mask = ctx.saved_tensors
        rank, half = b_key.shape[1], b_key.shape[0]
        grads = [grad_key.reshape(-1, half), grad_value.reshape(-1, half)]
        parts = inner.split(rank, 1)
        scaling, dtypes = ctx.scaling, ctx.dtypes
        grad_b = [
            tall_product(grad, part, dtype, scaling)
            for part, grad, dtype in zip(parts, grads, dtypes[1::2], strict=True)
        ]
        inward = flat.new_empty(2, flat.shape[0], rank)
        for grad, b, out in zip(grads, (b_key, b_value), inward, strict=True):
            torch.mm(grad, b, out=out)
        if mask is None:
            grad_a = tall_product(inward.transpose(0, 1).flatten(1), flat, dtypes[0], scaling)
            grad_a = grad_a.view(2, rank, -1)
        else:
            entering = spread_dropped(flat, mask, ctx.dropout)
            grad_a = tall_products(inward, entering, dtypes[0], scaling)
        return *[None] * 7, grad_a[0], grad_b[0], grad_a[1], grad_b[1]


def lora_key_value(key: Any, value: Any, x: Tensor) -> tuple[Tensor, Tensor] | None:
    """Return what two LoRA layers give of the same frozen input, or None: call them instead.

    The low-rank parts go into further columns of `x.extended` (see `extend`) and of one
    weight, so a single product gives both outputs whole. Layers that share x write these
    columns in turn.
    """
    extended = getattr(x, "extended", None)
    if extended is None or x.requires_grad or not torch.is_grad_enabled():
        return None
    room = extended.shape[1] - x.shape[-1]
    joint = _joint([key, value], x, room)
    if joint is None or room < 2 * joint[2][0].shape[0]:
        return None
    weight, bias, low, trained = joint
    name = key.active_adapters[0]
    rate, scaling = dropout_rate(key, name), key.scaling[name]
    return _KeyValue.apply(x, extended, weight, bias, rate, scaling, low, *trained)


def extend(x: Tensor, rank: int) -> None:
    """Give frozen states [.., width] a copy with room for two adapters of `rank` (`x.extended`)."""
    width, room = x.shape[-1], -(-2 * rank // 8) * 8
    extended = x.new_empty(x.numel() // width, width + room)
    extended[:, :width] = x.reshape(-1, width)
    extended[:, width + 2 * rank :] = 0
    x.extended = extended  # type: ignore[attr-defined]


Joint = tuple[Tensor, Tensor | None, tuple[Tensor, ...], list[Tensor]]


def _joint(layers: list[Any], x: Tensor, room: int) -> Joint | None:
    """Return joined weight and bias, and A and B of each layer, low and as trained; or None."""
    if not all(type(layer) is FastLoraLinear and is_plain(layer) for layer in layers):
        return None
    names = {layer.active_adapters[0] for layer in layers}
    if len(names) > 1:
        return None
    name = names.pop()
    kinds = {
        (
            layer.base_layer.weight.shape,
            layer.base_layer.bias is None,
            layer.lora_A[name].weight.shape,
            layer.lora_A[name].weight.dtype,
            layer.lora_B[name].weight.dtype,
            layer.scaling[name],
            layer.compute_dtype,
        )
        for layer in layers
    }
    if len(kinds) > 1 or layers[0].compute_dtype != x.dtype:
        return None
    weight, bias = _joined(layers, room)
    pairs = [(layer.lora_A[name].weight, layer.lora_B[name].weight) for layer in layers]
    trained = [parameter for pair in pairs for parameter in pair]
    return weight, bias, tuple(lowered(parameter, x.dtype) for parameter in trained), trained


def _joined(layers: list[Any], room: int) -> tuple[Tensor, Tensor | None]:
    """Return all base weights in one matrix with `room` further columns, and all biases."""
    bases = [layer.base_layer for layer in layers]
    state = (bases[0].weight.data_ptr(), bases[0].weight._version, room, len(layers))
    kept = layers[0].__dict__.get("_joined")
    if kept is None or kept[0] != state:
        weight = torch.cat([base.weight.detach() for base in bases])
        bias = None if bases[0].bias is None else torch.cat([base.bias.detach() for base in bases])
        kept = state, functional.pad(weight, (0, room)) if room else weight, bias
        object.__setattr__(layers[0], "_joined", kept)
    return kept[1], kept[2]
