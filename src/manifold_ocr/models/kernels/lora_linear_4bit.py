"""The fused LoRA layer over a bitsandbytes 4-bit weight (needs bitsandbytes)."""

from typing import Any

import torch
from peft.tuners.lora.bnb import Linear4bit as PeftLinear4bit
from torch import Tensor

from manifold_ocr.models.kernels.lora_linear import _is_plain, lora_forward_4bit


class FastLoraLinear4bit(PeftLinear4bit):
    """A PEFT LoRA layer over an nf4 or fp4 weight that is made dense only for each product."""

    @property
    def compute_dtype(self) -> torch.dtype:
        """Return the dtype of the products, the quantisation's compute dtype."""
        base: Any = self.base_layer
        return base.weight.quant_state.dtype

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Return the layer's output [..., out]; anything but plain LoRA goes to PEFT.

        So does reading without a graph: bitsandbytes multiplies one token without making
        the matrix dense.
        """
        if args or kwargs or not torch.is_grad_enabled() or not _is_plain(self):
            return super().forward(x, *args, **kwargs)
        return lora_forward_4bit(self, x)
