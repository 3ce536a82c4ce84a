"""The training step of image-text-to-text models: no graph below a frozen vision tower, no
logits for prompt tokens, fused norms and SwiGLU. Weights and results are the library's.
"""

import functools
import types
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.modeling_outputs import CausalLMOutputWithPast
from transformers.models.qwen2_vl.modeling_qwen2_vl import apply_rotary_pos_emb_vision

from manifold_ocr.models.kernels.cross_entropy import IGNORED, answer_loss, mean_over
from manifold_ocr.models.kernels.cuda_graphs import StepGraphs, padded_length
from manifold_ocr.models.kernels.ops import (
    fp16_accumulation,
    half_precision_as_is,
    kernels_for,
    swiglu,
)


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
        elif _is_quick_gelu_mlp(module):
            module.forward = types.MethodType(_quick_gelu_mlp, module)
            changed["mlps"] += 1
        elif type(module).__name__ == "VisionAttention" and hasattr(module, "qkv"):
            module.forward = functools.partial(_one_image_attention, module)
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
    """Return whether a module is SwiGLU and nothing else (GLM's patch merger has more parts)."""
    parts = {name for name, _ in module.named_children()}
    silu = type(getattr(module, "act_fn", None)).__name__ in ("SiLU", "SiLUActivation")
    return silu and parts == {"gate_proj", "up_proj", "down_proj", "act_fn"}


def _swiglu_mlp(self: Any, x: Tensor) -> Tensor:
    return self.down_proj(swiglu(self.gate_proj(x), self.up_proj(x)))


def _one_image_attention(
    module: Any, hidden_states: Tensor, cu_seqlens: Tensor, *args: Any, **kwargs: Any
) -> Tensor:
    """Run Qwen2-VL's vision attention; one image needs no split, which waits for the GPU."""
    positions = kwargs.get("position_embeddings")
    if cu_seqlens.shape[0] != 2 or positions is None:
        return type(module).forward(module, hidden_states, cu_seqlens, *args, **kwargs)
    length = hidden_states.shape[0]
    shape = (length, 3, module.num_heads, -1)
    qkv, kernels = module.qkv(hidden_states), kernels_for(hidden_states)
    fused = kernels is not None and not torch.is_grad_enabled()
    if kernels is not None and fused:
        kernels.rotate_in_place(qkv, *positions, module.num_heads)
    query, key, value = qkv.view(shape).permute(1, 0, 2, 3).unbind(0)
    if not fused:
        query, key = apply_rotary_pos_emb_vision(query, key, *positions)
    heads = [part.transpose(0, 1).unsqueeze(0) for part in (query, key, value)]
    out = functional.scaled_dot_product_attention(heads[0], heads[1], heads[2])
    return module.proj(out.squeeze(0).transpose(0, 1).reshape(length, -1))


def _is_quick_gelu_mlp(module: nn.Module) -> bool:
    """Return whether a module is two linear layers with a quick GELU between (Qwen2-VL's tower)."""
    parts = {name for name, _ in module.named_children()}
    quick = type(getattr(module, "act", None)).__name__ == "QuickGELUActivation"
    return quick and parts == {"fc1", "fc2", "act"}


def _quick_gelu_mlp(self: Any, x: Tensor) -> Tensor:
    up, kernels = self.fc1(x), kernels_for(x)
    if kernels is None or torch.is_grad_enabled():
        return self.fc2(self.act(up))
    return self.fc2(kernels.quick_gelu_in_place(up))


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
    step = ChatStep(model)
    model.training_step = step

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
        total = step(inputs, shift_left(labels), answer_index)
        return CausalLMOutputWithPast(loss=mean_over(total, labels, num_items_in_batch))

    return forward


class ChatStep:
    """The loss of a chat model: embeddings and frozen tower eagerly, language model graphed.

    `graphs_allowed` (set by the training side) replays captured steps of the language model;
    it needs a frozen tower, rows padded to few lengths and no dropout under checkpointing.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self.graphs_allowed = False
        self.graphs: StepGraphs | None = None

    def __call__(
        self, inputs: dict[str, Any], labels: Tensor, answer_index: Tensor | None
    ) -> Tensor:
        """Return the summed loss; labels are aligned with the states that predict them."""
        model = self.model
        with half_precision_as_is(model):
            if inputs.get("pixel_values") is not None:
                inputs["pixel_values"] = inputs["pixel_values"].to(model.dtype)
            if self.graphs_allowed and labels.is_cuda:
                batch = self._language_batch(inputs, labels, answer_index)
                total = None if batch is None else self._replay(batch)
                if total is not None:
                    return total
            hidden = model.model(**inputs, use_cache=False).last_hidden_state
            return answer_loss(hidden, model.get_output_embeddings(), labels, answer_index)

    def _language_batch(
        self, inputs: dict[str, Any], labels: Tensor, answer_index: Tensor | None
    ) -> dict[str, Tensor] | None:
        """Return what the language model takes, computed without a graph; None if unsupported."""
        inner = self.model.model
        if answer_index is None or "position_ids" not in inputs or "image_grid_thw" not in inputs:
            return None
        if hasattr(self.model.config.vision_config, "deepstack_visual_indexes"):
            return None  # Qwen3-VL: the language model's first layers take image features too
        ids = inputs["input_ids"]
        with torch.no_grad():
            embedded = inner.get_input_embeddings()(ids)
            features = inner.get_image_features(
                inputs["pixel_values"], inputs["image_grid_thw"], return_dict=True
            ).pooler_output
            features = features if torch.is_tensor(features) else torch.cat(tuple(features))
            where = (ids == self.model.config.image_token_id).unsqueeze(-1)
            embedded = embedded.masked_scatter(where, features.to(embedded.dtype))
        count = answer_index.shape[0]
        missing = padded_length(count, 1 << 30) - count
        targets = labels.reshape(-1).index_select(0, answer_index)
        return {
            "embedded": embedded,
            "positions": inputs["position_ids"],
            "index": functional.pad(answer_index, (0, missing)),
            "targets": functional.pad(targets, (0, missing), value=IGNORED),
        }

    def language_loss(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Return the summed loss of embedded rows: every shape is fixed."""
        model = self.model
        with half_precision_as_is(model):
            hidden = model.model.language_model(
                inputs_embeds=batch["embedded"],
                position_ids=batch.get("positions"),
                attention_mask=_no_mask(model.model.language_model),
                use_cache=False,
            ).last_hidden_state
            head = model.get_output_embeddings()
            return answer_loss(hidden, head, batch["targets"], batch["index"], chosen=True)

    def _replay(self, batch: dict[str, Tensor]) -> Tensor | None:
        if self.graphs is not None and not self.graphs.usable():
            self.release_graphs()
        if self.graphs is None:
            self.graphs = StepGraphs(self.language_loss, self.model)
        return self.graphs(batch)

    def release_graphs(self) -> None:
        """Free the captured steps and their memory; the next training step captures anew."""
        if self.graphs is not None:
            self.graphs.release()
        self.graphs = None


def _no_mask(language_model: Any) -> dict[str, None] | None:
    """Return the mask mapping that means causal attention alone.

    Rows are padded on the right, so causality keeps padding out. Without the mapping the
    library builds a mask under CUDA graph capture, which rules the fast kernels out.
    """
    kinds = set(getattr(language_model.config, "layer_types", None) or [])
    return {"full_attention": None} if kinds == {"full_attention"} else None


def shift_left(labels: Tensor) -> Tensor:
    """Return labels aligned with the states that predict them: position t holds label t + 1."""
    return functional.pad(labels[:, 1:], (0, 1), value=IGNORED)


def freeze_graph_below(tower: nn.Module, sum_in_half: bool = False) -> None:
    """Make a tower without trainable weights run without a graph (checkpointing adds one).

    `sum_in_half` is `model.fp16_accumulation`.
    """
    if any(parameter.requires_grad for parameter in tower.parameters()):
        return
    original = tower.forward

    def forward(*args: Any, **kwargs: Any) -> Any:
        with torch.no_grad(), fp16_accumulation(sum_in_half):
            return original(*args, **kwargs)

    tower.forward = forward
