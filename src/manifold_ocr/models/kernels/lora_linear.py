"""PEFT's LoRA layers with one fused autograd step: same weights, same files, fewer kernels.

PEFT's own forward casts activations to the adapter's float32, keeps extra copies and, for
4-bit weights, clones the result. Here base product, adapter product and both gradients run
in the base's dtype, added in place. The layers stay PEFT layers (saving, merging and
disabling are untouched): only their class, hence `forward`, changes.
"""

import functools
from collections.abc import Callable
from typing import Any

import torch
from peft.tuners.lora import Linear as PeftLinear
from torch import Tensor, nn
from torch.nn import functional

from manifold_ocr.models.kernels.ops import dequantize_nf4

MOST_SLICES = 128  # about the multiprocessors of the largest GPUs
LEAST_ROWS = 128  # rows of a slice below which splitting gains nothing


class _LoraProduct(torch.autograd.Function):
    """y = x W^T + bias + scaling * (dropout(x) A^T) B^T with W frozen (Hu et al. 2021).

    Of dropout only the mask is kept, one byte per element; the dropped input is made again
    in the backward pass. Layers that share an input then share the one copy of it.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        dropout: float,
        base: Callable[[], Tensor],
        bias: Tensor | None,
        low: tuple[Tensor, Tensor],
        scaling: float,
        a: Tensor,
        b: Tensor,
    ) -> Tensor:
        flat = x.reshape(-1, x.shape[-1])
        entering, mask = torch.native_dropout(flat, dropout, True) if dropout else (flat, None)
        a_low, b_low = low
        inner = entering @ a_low.T
        out = functional.linear(flat, base(), bias)
        out.addmm_(inner, b_low.T, alpha=scaling)
        ctx.save_for_backward(flat, mask, inner, a_low, b_low)
        ctx.base, ctx.scaling, ctx.dropout = base, scaling, dropout
        ctx.dtypes = a.dtype, b.dtype
        return out.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        entering, mask, inner, a_low, b_low = ctx.saved_tensors
        flat = grad.reshape(-1, grad.shape[-1])
        grad_inner = (flat @ b_low).mul_(ctx.scaling)
        grad_b = tall_product(flat, inner).to(ctx.dtypes[1]).mul_(ctx.scaling)
        if mask is not None:
            entering = _dropped(entering, mask, ctx.dropout)
        grad_a = tall_product(grad_inner, entering).to(ctx.dtypes[0])
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x = flat @ ctx.base()
            if mask is None:
                grad_x.addmm_(grad_inner, a_low)
            else:
                grad_x += _dropped(grad_inner @ a_low, mask, ctx.dropout)
            grad_x = grad_x.view(*grad.shape[:-1], -1)
        return grad_x, None, None, None, None, None, grad_a, grad_b


def _dropped(values: Tensor, mask: Tensor, dropout: float) -> Tensor:
    """Return values * mask / (1 - dropout), as the forward pass scaled what it kept."""
    return torch.ops.aten.native_dropout_backward(values, mask, 1 / (1 - dropout))


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
        masks: tuple[Tensor | None, Tensor | None] = (None, None)
        if dropout:
            (key, one), (value, two) = (torch.native_dropout(flat, dropout, True) for _ in range(2))
            inner, masks = torch.cat([key @ a_key.T, value @ a_value.T], 1), (one, two)
        else:
            inner = flat @ torch.cat([a_key, a_value]).T
        extended[:, width : width + 2 * rank] = inner
        torch.mul(b_key, scaling, out=weight[:half, width : width + rank])
        torch.mul(b_value, scaling, out=weight[half:, width + rank : width + 2 * rank])
        out = functional.linear(extended, weight, bias)
        ctx.save_for_backward(flat, inner, b_key, b_value, *masks)
        ctx.dropout, ctx.scaling = dropout, scaling
        ctx.dtypes = [parameter.dtype for parameter in trained]
        shape = x.shape[:-1]
        return out[:, :half].unflatten(0, shape), out[:, half:].unflatten(0, shape)

    @staticmethod
    def backward(ctx: Any, grad_key: Tensor, grad_value: Tensor) -> Any:
        flat, inner, b_key, b_value, *masks = ctx.saved_tensors
        rank, half = b_key.shape[1], b_key.shape[0]
        grads = [grad_key.reshape(-1, half), grad_value.reshape(-1, half)]
        parts = inner.split(rank, 1)
        grad_b = [
            tall_product(grad, part).mul(ctx.scaling)
            for part, grad in zip(parts, grads, strict=True)
        ]
        inward = [grad @ b for grad, b in zip(grads, (b_key, b_value), strict=True)]
        if ctx.dropout:
            grad_a = [
                tall_product(part, _dropped(flat, mask, ctx.dropout)).mul(ctx.scaling)
                for part, mask in zip(inward, masks, strict=True)
            ]
        else:
            both = tall_product(torch.cat(inward, 1), flat).mul(ctx.scaling)
            grad_a = list(both.split(rank))
        trained = (grad_a[0], grad_b[0], grad_a[1], grad_b[1])
        cast = [grad.to(dtype) for grad, dtype in zip(trained, ctx.dtypes, strict=True)]
        return None, None, None, None, None, None, None, *cast


def tall_product(left: Tensor, right: Tensor) -> Tensor:
    """Return left.T @ right for [n, a] and [n, b] with n much larger than a or b.

    One product with a tiny side keeps a few multiprocessors busy; slices of n, summed,
    keep all of them. (One kernel that adds by atomics was tried and is slower.)
    """
    slices = 1
    while (
        slices < MOST_SLICES
        and left.shape[0] % (2 * slices) == 0
        and (left.shape[0] >= 2 * slices * LEAST_ROWS)
    ):
        slices *= 2
    if slices == 1 or not left.is_cuda:
        return left.T @ right
    parts = [part.reshape(slices, -1, part.shape[-1]) for part in (left, right)]
    return torch.bmm(parts[0].transpose(1, 2), parts[1]).sum(0, dtype=torch.float32)


def lora_key_value(key: Any, value: Any, x: Tensor) -> tuple[Tensor, Tensor] | None:
    """Return what two LoRA layers give of the same frozen input, or None: call them instead.

    The low-rank parts go into further columns of `x.extended` (see `extend`) and of one
    weight, so a single product gives both outputs whole. Layers that share x write these
    columns in turn.
    """
    extended = getattr(x, "extended", None)
    layers = (key, value)
    if extended is None or x.requires_grad or not torch.is_grad_enabled():
        return None
    if not all(type(layer) is FastLoraLinear and _is_plain(layer) for layer in layers):
        return None
    names = {layer.active_adapters[0] for layer in layers}
    if len(names) > 1 or key.base_layer.weight.shape != value.base_layer.weight.shape:
        return None
    name = names.pop()
    a = [layer.lora_A[name].weight for layer in layers]
    b = [layer.lora_B[name].weight for layer in layers]
    room = extended.shape[1] - x.shape[-1]
    if a[0].shape != a[1].shape or room < 2 * a[0].shape[0] or x.dtype != key.compute_dtype:
        return None
    if key.scaling[name] != value.scaling[name] or (
        (key.base_layer.bias is None) != (value.base_layer.bias is None)
    ):
        return None
    weight, bias = _joined(key, value, room)
    trained = (a[0], b[0], a[1], b[1])
    low = tuple(_low(parameter, x.dtype) for parameter in trained)
    scaling = key.scaling[name]
    return _KeyValue.apply(x, extended, weight, bias, _rate(key, name), scaling, low, *trained)


def extend(x: Tensor, rank: int) -> None:
    """Give frozen states [.., width] a copy with room for two adapters of `rank` (`x.extended`)."""
    width, room = x.shape[-1], -(-2 * rank // 8) * 8
    extended = x.new_empty(x.numel() // width, width + room)
    extended[:, :width] = x.reshape(-1, width)
    extended[:, width + 2 * rank :] = 0
    x.extended = extended  # type: ignore[attr-defined]


def _joined(key: Any, value: Any, room: int) -> tuple[Tensor, Tensor | None]:
    """Return both base weights in one matrix with `room` further columns, and both biases."""
    bases = [layer.base_layer for layer in (key, value)]
    state = (bases[0].weight.data_ptr(), bases[0].weight._version, room)
    kept = key.__dict__.get("_joined")
    if kept is None or kept[0] != state:
        weight = torch.cat([base.weight.detach() for base in bases])
        bias = None if bases[0].bias is None else torch.cat([base.bias.detach() for base in bases])
        kept = state, functional.pad(weight, (0, room)), bias
        object.__setattr__(key, "_joined", kept)
    return kept[1], kept[2]


def _low(parameter: Tensor, dtype: torch.dtype) -> Tensor:
    """Return a trained weight in the base's dtype: the copy that the step made, or one of now."""
    made = getattr(parameter, "lowered", None)
    if made is not None and made.dtype == dtype:
        return made
    return parameter.detach().to(dtype)


def _rate(layer: Any, name: str) -> float:
    dropout = layer.lora_dropout[name]
    return dropout.p if layer.training and isinstance(dropout, nn.Dropout) else 0.0


def _lora_forward(layer: Any, x: Tensor, base: Callable[[], Tensor]) -> Tensor:
    name = layer.active_adapters[0]
    x = x.to(layer.compute_dtype)
    a, b = layer.lora_A[name].weight, layer.lora_B[name].weight
    low = (_low(a, x.dtype), _low(b, x.dtype))
    bias, scaling = layer.base_layer.bias, layer.scaling[name]
    return _LoraProduct.apply(x, _rate(layer, name), base, bias, low, scaling, a, b)


def _is_plain(layer: Any) -> bool:
    """Return whether one unmerged, ordinary LoRA adapter over a frozen base is active."""
    return (
        not layer.disable_adapters
        and not layer.merged
        and len(layer.active_adapters) == 1
        and layer.active_adapters[0] in layer.lora_A
        and layer.active_adapters[0] not in getattr(layer, "lora_variant", {})
        and layer.lora_B[layer.active_adapters[0]].bias is None
        and not layer.base_layer.weight.requires_grad
        and (layer.base_layer.bias is None or not layer.base_layer.bias.requires_grad)
    )


class FastLoraLinear(PeftLinear):
    """A PEFT LoRA layer over a dense half-precision or float32 weight."""

    @property
    def compute_dtype(self) -> torch.dtype:
        """Return the dtype of the products: that of the frozen weight."""
        base: Any = self.base_layer
        return base.weight.dtype

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Return the layer's output [..., out]; anything but plain LoRA goes to PEFT."""
        if args or kwargs or not _is_plain(self):
            return super().forward(x, *args, **kwargs)
        base: Any = self.base_layer
        return _lora_forward(self, x, lambda: base.weight)


def fuse_lora_layers(model: nn.Module) -> int:
    """Give every plain LoRA layer over a dense or 4-bit linear the fused forward.

    Returns how many layers were changed. Layers over 8-bit weights keep PEFT's forward.
    """
    changed = 0
    four_bit = _four_bit_class()
    for module in model.modules():
        if type(module) is PeftLinear and isinstance(module.base_layer, nn.Linear):
            module.__class__ = FastLoraLinear
            changed += 1
        elif four_bit is not None and type(module) is four_bit.__base__:
            module.__class__ = four_bit
            changed += 1
    return changed


def unfuse_lora_layers(model: nn.Module) -> None:
    """Give every dense layer with the fused forward PEFT's own again."""
    fused: list[Any] = [module for module in model.modules() if type(module) is FastLoraLinear]
    for module in fused:
        module.__class__ = PeftLinear


@functools.cache
def _four_bit_class() -> type[nn.Module] | None:
    """Return the fused class over bitsandbytes' 4-bit layers, or None without bitsandbytes."""
    try:
        from peft.tuners.lora.bnb import Linear4bit
    except ImportError:
        return None

    class FastLoraLinear4bit(Linear4bit):
        """A PEFT LoRA layer over an nf4 or fp4 weight that is made dense only for each product."""

        @property
        def compute_dtype(self) -> torch.dtype:
            """Return the dtype of the products, the quantization's compute dtype."""
            base: Any = self.base_layer
            return base.weight.quant_state.dtype

        def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
            """Return the layer's output [..., out]; anything but plain LoRA goes to PEFT.

            So does reading without a graph: bitsandbytes multiplies one token without making
            the matrix dense.
            """
            if args or kwargs or not torch.is_grad_enabled() or not _is_plain(self):
                return super().forward(x, *args, **kwargs)
            weight: Any = self.base_layer.weight
            return _lora_forward(self, x, lambda: dequantize_nf4(weight))

    return FastLoraLinear4bit
