"""The training step of VisionEncoderDecoderModel, rearranged; weights and results are the same.

What differs from the library's forward: images arrive as bytes and are normalized on the
device, a frozen encoder builds no graph, attention is PyTorch's fused one (the library's
TrOCR attention keeps tokens x 577 probabilities a head), the head and the loss see only
tokens that count, and half-precision weights are used directly instead of under autocast.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers import VisionEncoderDecoderModel
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import Seq2SeqLMOutput
from transformers.models.trocr.modeling_trocr import TrOCRAttention
from transformers.models.vision_encoder_decoder.modeling_vision_encoder_decoder import (
    shift_tokens_right,
)

from manifold_ocr.models.encoder_decoder.frozen_vit import KINDS, FrozenViT, address, supports
from manifold_ocr.models.kernels.cross_entropy import ALIGNED, IGNORED, answer_loss, mean_over
from manifold_ocr.models.kernels.cuda_graphs import StepGraphs
from manifold_ocr.models.kernels.lora_joint import (
    extend,
    lora_key_value,
    lora_query_key_value,
)
from manifold_ocr.models.kernels.lora_linear import FastLoraLinear
from manifold_ocr.models.kernels.ops import HALF, fp16_accumulation, half_precision_as_is


class SdpaTrOCRAttention(TrOCRAttention):
    """TrOCR's attention through torch's scaled_dot_product_attention."""

    def forward(
        self,
        hidden_states: Tensor,
        key_value_states: Tensor | None = None,
        past_key_values: Any = None,
        attention_mask: Tensor | None = None,
        output_attentions: bool | None = False,
        **kwargs: Any,
    ) -> tuple[Tensor, None, None] | Any:
        """Return (output [batch, length, width], None); see the library for the arguments."""
        if output_attentions:
            return super().forward(
                hidden_states,
                key_value_states,
                past_key_values,
                attention_mask,
                output_attentions,
                **kwargs,
            )
        if self.training and past_key_values is None and key_value_states is None:
            # Labels are padded on the right: causality alone keeps padding out. The library
            # would build a mask under CUDA graph capture, which rules the fast kernels out.
            attention_mask = None
        batch, length, width = hidden_states.shape
        joint = None
        if self.training and past_key_values is None and key_value_states is None:
            joint = self._query_key_value(hidden_states)
        if joint is None:
            query = self._heads(self.q_proj(hidden_states))
            key, value = self._key_value(hidden_states, key_value_states, past_key_values)
        else:
            query, key, value = joint
        causal = key_value_states is None and attention_mask is None and length > 1
        out = functional.scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=attention_mask,
            dropout_p=(self.dropout or 0.0) if self.training else 0.0,
            is_causal=causal,
            scale=self.scaling,
        )
        return self.out_proj(out.transpose(1, 2).reshape(batch, length, width)), None

    def _heads(self, states: Tensor) -> Tensor:
        return states.view(states.shape[0], -1, self.num_heads, self.head_dim).transpose(1, 2)

    def _query_key_value(self, states: Tensor) -> tuple[Tensor, ...] | None:
        """Return all three of the same states by one product on a GPU, or None."""
        layers = [self.q_proj, self.k_proj, self.v_proj]
        made = lora_query_key_value(layers, states) if states.is_cuda else None
        return made and tuple(self._heads(part) for part in made)

    def _key_value(
        self, hidden_states: Tensor, key_value_states: Tensor | None, cache: Any
    ) -> tuple[Tensor, Tensor]:
        crossing = key_value_states is not None
        layered = hasattr(cache, "is_updated")
        if layered and crossing and cache.is_updated.get(self.layer_idx):
            kept = cache.cross_attention_cache.layers[self.layer_idx]
            return kept.keys, kept.values
        if key_value_states is not None and cache is None and self.training:
            both = lora_key_value(self.k_proj, self.v_proj, key_value_states)
            if both is not None:
                return self._heads(both[0]), self._heads(both[1])
        states = key_value_states if crossing else hidden_states
        key, value = self._heads(self.k_proj(states)), self._heads(self.v_proj(states))
        if cache is None:
            return key, value
        part = cache
        if layered:
            part = cache.cross_attention_cache if crossing else cache.self_attention_cache
        key, value = part.update(key, value, self.layer_idx)
        if layered and crossing:
            cache.is_updated[self.layer_idx] = True
        return key, value


class FastVisionEncoderDecoder(VisionEncoderDecoderModel):
    """VisionEncoderDecoderModel whose forward with labels returns the loss alone.

    `graphs_allowed` (set by the training side) replays captured steps; it needs labels
    padded to few lengths and no gradient checkpointing.
    """

    graphs_allowed = False
    fast_decoder = True  # False: the decoder's own forward, where this file knows none better
    graphs: StepGraphs | None = None
    fp16_accumulation = False  # of the frozen encoder's products (`model.fp16_accumulation`)
    frozen_vit: FrozenViT | None = None
    pixel_scale: Tensor
    pixel_shift: Tensor

    def forward(
        self,
        pixel_values: Tensor | None = None,
        labels: Tensor | None = None,
        answer_index: Tensor | None = None,
        num_items_in_batch: Tensor | int | None = None,
        asked: Tensor | None = None,
        **kwargs: Any,
    ) -> Any:
        """Return Seq2SeqLMOutput with `loss` when labels are given in training.

        Shapes: pixel_values uint8 or float [batch, 3, height, width], labels int64 [batch,
        length] with -100 where no loss falls, answer_index as of `answer_positions`. `asked`
        [batch, length] holds the tokens of prompts in their places before the labels, else -100.
        """
        if labels is None or not self.training:
            if pixel_values is not None:
                pixel_values = self.normalize(pixel_values)
            return super().forward(pixel_values=pixel_values, labels=labels, **kwargs)
        if pixel_values is None:
            raise ValueError("a training step needs pixel_values")
        batch = {"pixel_values": pixel_values, "labels": labels}
        batch |= {} if asked is None else {"asked": asked}
        total = None
        if self.graphs_allowed and pixel_values.is_cuda:
            total = self._replay(batch)
        if total is None:
            total = self.loss_sum(batch, answer_index)
        return Seq2SeqLMOutput(loss=mean_over(total, labels, num_items_in_batch))

    def loss_sum(self, batch: Mapping[str, Tensor], answer_index: Tensor | None = None) -> Tensor:
        """Return the summed loss of a batch; with no `answer_index` every shape is fixed."""
        with half_precision_as_is(self):
            encoded = self.encode(batch["pixel_values"])
            if not self.fast_decoder:
                return self._plain_loss(encoded, batch)
            self._extend(encoded)
            hidden = self._decoder_states(encoded, batch)
            head = self.decoder.get_output_embeddings()
            return answer_loss(hidden, head, batch["labels"], answer_index)

    def _extend(self, encoded: Tensor) -> None:
        """Let the cross-attention's key and value be one product, where LoRA is on both.

        Not under checkpointing: what a layer computes must not depend on the tensor's object.
        """
        inner = self.decoder.model.decoder
        attention = getattr(inner.layers[0], "encoder_attn", None)
        adapters = getattr(getattr(attention, "k_proj", None), "lora_A", None)
        if not adapters or not isinstance(attention, SdpaTrOCRAttention):
            return
        if encoded.is_cuda and not encoded.requires_grad and not inner.gradient_checkpointing:
            extend(encoded, max(layer.weight.shape[0] for layer in adapters.values()))

    def _plain_loss(self, encoded: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
        """Return the summed loss through the library's own decoder and head (BERT's kind)."""
        logits = self.decoder(
            input_ids=self._decoder_inputs(batch), encoder_hidden_states=encoded, use_cache=False
        ).logits.float()
        return functional.cross_entropy(
            logits.flatten(0, 1), batch["labels"].flatten(), ignore_index=IGNORED, reduction="sum"
        )

    def _replay(self, batch: Mapping[str, Tensor]) -> Tensor | None:
        if self.graphs is not None and not self.graphs.usable():
            self.release_graphs()
        graphs = self.graphs
        if graphs is None:
            graphs = StepGraphs(self.loss_sum, self, _few_rows)
            object.__setattr__(self, "graphs", graphs)
        return graphs(batch)

    def release_graphs(self) -> None:
        """Free the captured steps and their memory; the next training step captures anew."""
        if self.graphs is not None:
            self.graphs.release()
        object.__setattr__(self, "graphs", None)

    def joined_bytes(self) -> int:
        """Return the bytes of the copies of frozen weights that a step on a GPU makes, and keeps.

        The padded head, the joined query, key and value of a frozen ViT and of layers with LoRA.
        """
        head = self.decoder.get_output_embeddings()
        copied = []
        if not head.weight.requires_grad and head.weight.shape[0] % ALIGNED:
            copied.append(head.weight)
        encoder = [p for p in self.encoder.parameters() if p.ndim == 2]
        blocks: Any = getattr(self.encoder, "layers", None)
        known = self.encoder.config.model_type in KINDS and blocks is not None
        if known and encoder[0].dtype in HALF and not any(p.requires_grad for p in encoder):
            parts = [block.attention for block in blocks]
            copied += [getattr(a, f"{name}_proj").weight for a in parts for name in "qkv"]
        for module in self.decoder.modules():
            if isinstance(module, SdpaTrOCRAttention):
                layers: list[Any] = [module.q_proj, module.k_proj, module.v_proj]
                crossing = module.k_proj.in_features != module.q_proj.in_features
                copied += [
                    layer.base_layer.weight
                    for layer in layers[1 if crossing else 0 :]
                    if isinstance(layer, FastLoraLinear)
                ]
        return sum(weight.numel() * weight.element_size() for weight in copied)

    def normalize(self, pixel_values: Tensor) -> Tensor:
        """Return float pixels of the encoder's dtype; uint8 input is scaled and normalized."""
        dtype = next(self.encoder.parameters()).dtype
        if pixel_values.dtype != torch.uint8:
            return pixel_values.to(dtype)
        scaled = pixel_values.to(torch.float32).mul_(self.pixel_scale).add_(self.pixel_shift)
        return scaled.to(dtype)

    def encode(self, pixel_values: Tensor) -> Tensor:
        """Return what the decoder attends to, [rows, tokens, width], of uint8 or float pixels."""
        with fp16_accumulation(self.fp16_accumulation):
            states = self._encoder_states(pixel_values)
        if (
            self.encoder.config.hidden_size != self.decoder.config.hidden_size
            and getattr(self.decoder.config, "cross_attention_hidden_size", None) is None
        ):
            states = self.enc_to_dec_proj(states)
        return states

    def _encoder_states(self, pixel_values: Tensor) -> Tensor:
        """Return the encoder's last hidden states; a frozen one builds no graph."""
        if supports(self.encoder, pixel_values):
            if self.frozen_vit is None or self.frozen_vit.address != address(self.encoder):
                made = FrozenViT(self.encoder, self.pixel_scale, self.pixel_shift)
                object.__setattr__(self, "frozen_vit", made)
            assert self.frozen_vit is not None
            return self.frozen_vit(pixel_values)
        trained = any(p.requires_grad for p in self.encoder.parameters())
        with torch.set_grad_enabled(trained and torch.is_grad_enabled()):
            pixels = self.normalize(pixel_values)
            states: Tensor = self.encoder(pixel_values=pixels).last_hidden_state
        return states

    def _decoder_inputs(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Return the tokens [batch, length] before each label: start, prompt, text."""
        before = batch["labels"]
        if "asked" in batch:
            before = torch.where(before == IGNORED, batch["asked"], before)
        return shift_tokens_right(
            before, self.config.pad_token_id, self.config.decoder_start_token_id
        )

    def _decoder_states(self, encoded: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
        """Return the decoder's last hidden states [batch, length, width].

        Labels are padded on the right and attention is causal, so no padding mask is needed:
        what follows the last counted token cannot reach it.
        """
        inputs = self._decoder_inputs(batch)
        inner = self.decoder.model.decoder
        mask = None
        if not isinstance(inner.layers[0].self_attn, SdpaTrOCRAttention):
            mask = _causal_mask(inputs.shape[1], inputs.device)
        return inner(
            input_ids=inputs, attention_mask=mask, encoder_hidden_states=encoded, use_cache=False
        ).last_hidden_state


def _causal_mask(length: int, device: torch.device) -> Tensor:
    """Return bool [1, 1, length, length], which the library takes as it is.

    MBart would make a mask of ones and look at its values, and so wait for the GPU.
    """
    ones = torch.ones(length, length, dtype=torch.bool, device=device)
    return ones.tril()[None, None]


def _without_mask(layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Drop an encoder layer's mask: pictures have no padding, and a mask (the library builds
    one under CUDA graph capture) rules the fast attention kernels out.
    """
    return args[:1], {name: value for name, value in kwargs.items() if name != "attention_mask"}


def _few_rows(batch: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    return {name: value[:4] for name, value in batch.items()}


def accelerate_encoder_decoder(
    model: VisionEncoderDecoderModel, mean: list[float], std: list[float]
) -> None:
    """Give a loaded model the fast step, in place; `mean` and `std` are of pixels in [0, 1]."""
    scale = torch.tensor([1 / (255 * s) for s in std]).view(1, -1, 1, 1)
    shift = torch.tensor([-m / s for m, s in zip(mean, std, strict=True)]).view(1, -1, 1, 1)
    device = next(model.parameters()).device
    model.register_buffer("pixel_scale", scale.to(device), persistent=False)
    model.register_buffer("pixel_shift", shift.to(device), persistent=False)
    for module in model.modules():
        if type(module) is TrOCRAttention:
            module.__class__ = SdpaTrOCRAttention
    if model.encoder.config.model_type in ("vit", "deit"):
        for module in model.encoder.modules():
            if isinstance(module, GradientCheckpointingLayer):
                module.register_forward_pre_hook(_without_mask, with_kwargs=True)
    model.__class__ = FastVisionEncoderDecoder
    fast = hasattr(getattr(model.decoder, "model", None), "decoder")
    model.fast_decoder = fast  # type: ignore[assignment]
    if not fast:
        return
    inner = model.decoder.model.decoder
    if any(isinstance(module, SdpaTrOCRAttention) for module in inner.modules()):
        inner.config._attn_implementation = "sdpa"  # masks only: None where causal suffices
