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

from manifold_ocr.models.kernels.ops import add_dropped_products, dequantize_nf4

MOST_SLICES = 128  # about the multiprocessors of the largest GPUs
LEAST_ROWS = 256  # rows of a slice below which splitting gains nothing
SLICED_ROWS = 2048  # below, one product is as fast as slices and their sum


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
        grad_inner = scaled_product(flat, b_low, ctx.scaling)
        grad_b = tall_product(flat, inner, ctx.dtypes[1], ctx.scaling)
        if mask is not None:
            entering = dropped(entering, mask, ctx.dropout)
        grad_a = tall_product(grad_inner, entering, ctx.dtypes[0])
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x = flat @ ctx.base()
            if mask is None:
                grad_x.addmm_(grad_inner, a_low)
            else:
                scale = 1 / (1 - ctx.dropout)
                add_dropped_products(grad_x, grad_inner[None], a_low[None], mask[None], scale)
            grad_x = grad_x.view(*grad.shape[:-1], -1)
        return grad_x, None, None, None, None, None, grad_a, grad_b


def dropped(values: Tensor, mask: Tensor, dropout: float) -> Tensor:
    """Return values * mask / (1 - dropout), as the forward pass scaled what it kept."""
    return torch.ops.aten.native_dropout_backward(values, mask, 1 / (1 - dropout))


def scaled_product(left: Tensor, right: Tensor, scale: float) -> Tensor:
    """Return scale * left @ right: on a GPU the product itself scales, without a kernel more."""
    if not left.is_cuda:
        return (left @ right).mul_(scale)
    unused = left.new_empty((), dtype=left.dtype)
    return torch.addmm(unused, left, right, beta=0, alpha=scale)


def whole_product(left: Tensor, right: Tensor, dtype: torch.dtype, scale: float) -> Tensor:
    """Return scale * left @ right as `dtype`, of matrices or batches of them on a GPU.

    Half-precision products give their float32 sums as they are, without a cast after them.
    """
    product = torch.addmm if left.ndim == 2 else torch.baddbmm
    unused = left.new_empty((), dtype=dtype)
    if dtype == left.dtype:
        return product(unused, left, right, beta=0, alpha=scale)
    return product(unused, left, right, out_dtype=dtype, beta=0, alpha=scale)


def tall_product(left: Tensor, right: Tensor, dtype: torch.dtype, scale: float = 1.0) -> Tensor:
    """Return scale * left.T @ right, as `dtype`, for [n, a] and [n, b]; n is large, a or b tiny."""
    return tall_products(left[None], right[None], dtype, scale)[0]


def tall_products(left: Tensor, right: Tensor, dtype: torch.dtype, scale: float = 1.0) -> Tensor:
    """Return scale * left.mT @ right, as `dtype`, for [m, n, a] and [m, n, b].

    One product with a tiny side keeps a few multiprocessors busy; slices of n, summed,
    keep all of them. (One kernel that adds by atomics was tried and is slower.)
    """
    if not left.is_cuda:
        return (left.mT @ right).to(dtype).mul_(scale)
    count, rows = left.shape[:2]
    slices = 1
    while slices < MOST_SLICES and rows % (2 * slices) == 0 and rows >= 2 * slices * LEAST_ROWS:
        slices *= 2
    if slices == 1 or rows < SLICED_ROWS:
        if count == 1:  # a plain product: cuBLAS has kernels for it that share the rows
            return whole_product(left[0].T, right[0], dtype, scale)[None]
        return whole_product(left.mT, right, dtype, scale)
    parts = [part.unflatten(1, (slices, -1)).flatten(0, 1) for part in (left, right)]
    unused = left.new_empty(())
    found = torch.baddbmm(unused, parts[0].mT, parts[1], beta=0, alpha=scale)
    return found.unflatten(0, (count, slices)).sum(1, dtype=dtype)


def lowered(parameter: Tensor, dtype: torch.dtype) -> Tensor:
    """Return a trained weight in the base's dtype: the copy that the step made, or one of now."""
    made = getattr(parameter, "lowered", None)
    if made is not None and made.dtype == dtype:
        return made
    return parameter.detach().to(dtype)


def dropout_rate(layer: Any, name: str) -> float:
    """Return the share that the adapter `name` of a layer drops in the layer's present mode."""
    dropout = layer.lora_dropout[name]
    return dropout.p if layer.training and isinstance(dropout, nn.Dropout) else 0.0


def _lora_forward(layer: Any, x: Tensor, base: Callable[[], Tensor]) -> Tensor:
    name = layer.active_adapters[0]
    x = x.to(layer.compute_dtype)
    a, b = layer.lora_A[name].weight, layer.lora_B[name].weight
    low = (lowered(a, x.dtype), lowered(b, x.dtype))
    bias, scaling = layer.base_layer.bias, layer.scaling[name]
    return _LoraProduct.apply(x, dropout_rate(layer, name), base, bias, low, scaling, a, b)


def is_plain(layer: Any) -> bool:
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
        if args or kwargs or not is_plain(self):
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
            if args or kwargs or not torch.is_grad_enabled() or not is_plain(self):
                return super().forward(x, *args, **kwargs)
            weight: Any = self.base_layer.weight
            return _lora_forward(self, x, lambda: dequantize_nf4(weight))

    return FastLoraLinear4bit
