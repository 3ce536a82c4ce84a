"""The training step of image-text-to-text models: no graph below a frozen vision tower, no
logits for prompt tokens, fused norms and SwiGLU. Weights and results are the library's.
"""

import functools
import types
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.modeling_outputs import CausalLMOutputWithPast

from manifold_ocr.models.fast.autocast import half_precision_as_is
from manifold_ocr.models.fast.kernels import swiglu
from manifold_ocr.models.fast.linear_cross_entropy import IGNORED, answer_loss


def accelerate_chat_model(model: nn.Module) -> dict[str, int]:
    """Give a loaded model the fast step, in place; return how many modules were changed.

    The model is any `AutoModelForImageTextToText` with `model.model` and `lm_head`.
    """
    changed = {"norms": 0, "mlps": 0, "patches": 0}
    for module in model.modules():
        if _is_rms_norm(module):
            module.forward = types.MethodType(_rms_norm, module)
            changed["norms"] += 1
        elif _is_swiglu_mlp(module):
            module.forward = types.MethodType(_swiglu_mlp, module)
            changed["mlps"] += 1
        elif _is_patch_convolution(module):
            module.forward = types.MethodType(_patch_product, module)
            changed["patches"] += 1
    model.forward = _with_training_step(model)
    return changed


def _is_rms_norm(module: nn.Module) -> bool:
    """Return whether a module is an RMSNorm with one weight and the usual epsilon."""
    return type(module).__name__.endswith("RMSNorm") and hasattr(module, "variance_epsilon")


def _rms_norm(self: Any, hidden_states: Tensor) -> Tensor:
    return functional.rms_norm(
        hidden_states, self.weight.shape, self.weight.to(hidden_states.dtype), self.variance_epsilon
    )


def _is_swiglu_mlp(module: nn.Module) -> bool:
    parts = all(hasattr(module, name) for name in ("gate_proj", "up_proj", "down_proj"))
    return parts and type(getattr(module, "act_fn", None)).__name__ in ("SiLU", "SiLUActivation")


def _swiglu_mlp(self: Any, x: Tensor) -> Tensor:
    return self.down_proj(swiglu(self.gate_proj(x), self.up_proj(x)))


def _is_patch_convolution(module: nn.Module) -> bool:
    """Return whether a 3-d convolution sees each patch once, whole: then it is a product."""
    return isinstance(module, nn.Conv3d) and module.kernel_size == module.stride


def _patch_product(self: Any, patches: Tensor) -> Tensor:
    if patches.shape[2:] != self.kernel_size:
        return nn.Conv3d.forward(self, patches)
    out = functional.linear(patches.flatten(1), self.weight.flatten(1), self.bias)
    return out.view(*out.shape, 1, 1, 1)


def _with_training_step(model: Any) -> Callable[..., Any]:
    """Return a forward that gives the loss alone in training, and is the library's elsewhere.

    Its labels (int64 [rows, length], -100 on prompt and padding) are unshifted, the library's
    convention; `answer_index` holds the flat positions of the states that predict a counted
    token (one before it).
    """
    original = model.forward

    @functools.wraps(original)  # generate() and Trainer read the signature
    def forward(
        *args: Any,
        labels: Tensor | None = None,
        answer_index: Tensor | None = None,
        num_items_in_batch: Tensor | int | None = None,
        **inputs: Any,
    ) -> Any:
        if labels is None or not model.training:
            return original(*args, labels=labels, **inputs)
        with half_precision_as_is(model):
            if inputs.get("pixel_values") is not None:
                inputs["pixel_values"] = inputs["pixel_values"].to(model.dtype)
            hidden = model.model(*args, **inputs, use_cache=False).last_hidden_state
            loss = answer_loss(
                hidden,
                model.get_output_embeddings(),
                shift_left(labels),
                answer_index,
                num_items_in_batch,
            )
        return CausalLMOutputWithPast(loss=loss)

    return forward


def shift_left(labels: Tensor) -> Tensor:
    """Return labels aligned with the states that predict them: position t holds label t + 1."""
    return functional.pad(labels[:, 1:], (0, 1), value=IGNORED)


def freeze_graph_below(tower: nn.Module) -> None:
    """Make a tower without trainable weights run without a graph (checkpointing adds one)."""
    if any(parameter.requires_grad for parameter in tower.parameters()):
        return
    original = tower.forward

    def forward(*args: Any, **kwargs: Any) -> Any:
        with torch.no_grad():
            return original(*args, **kwargs)

    tower.forward = forward
