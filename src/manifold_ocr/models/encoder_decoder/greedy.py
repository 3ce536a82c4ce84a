"""Greedy decoding of TrOCR decoders in fixed buffers, each step one CUDA graph on a GPU.

The library's generate() launches about a thousand kernels a token; for small decoders the
CPU that launches them is the limit (docs/performance.md). Same arithmetic, same tokens
(tests/models/test_other_architectures.py compares them).
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers.models.trocr.modeling_trocr import (
    TrOCRLearnedPositionalEmbedding,
    TrOCRSinusoidalPositionalEmbedding,
)

from manifold_ocr.models.encoder_decoder.fast_step import SdpaTrOCRAttention
from manifold_ocr.models.kernels.cuda_graphs import OTHER_THREADS_MAY_WORK

POSITIONS = (TrOCRLearnedPositionalEmbedding, TrOCRSinusoidalPositionalEmbedding)
FIRST_BUCKET = 64  # tokens the first self-attention buffers hold; each next holds twice as many
ENCODED_TOGETHER = 64  # images: bounds the encoder's transient memory, fills the GPU already
CHECK_EVERY = 16  # steps between looks whether every text has ended (each waits for the GPU)


def supports(model: Any) -> bool:
    """Return whether `model` has a decoder that `GreedyDecoder` can drive."""
    inner: Any = getattr(getattr(model.decoder, "model", None), "decoder", None)
    layers = getattr(inner, "layers", None)
    return (
        layers is not None
        and all(isinstance(getattr(la, "self_attn", None), SdpaTrOCRAttention) for la in layers)
        and isinstance(inner.embed_positions, POSITIONS)
        and not getattr(model, "is_quantized", False)
    )


class _Bucket:
    """Self-attention keys and values for up to `length` tokens, and the captured step."""

    def __init__(self, layers: int, shape: tuple[int, int, int, int], like: Tensor) -> None:
        self.length = shape[2]
        self.keys = [like.new_zeros(shape) for _ in range(layers)]
        self.values = [like.new_zeros(shape) for _ in range(layers)]
        self.graph: torch.cuda.CUDAGraph | None = None


class GreedyDecoder:
    """Decodes up to `rows` images at a time; buffers and graphs live as long as the object."""

    def __init__(self, model: Any, rows: int, max_tokens: int) -> None:
        self.model = model
        self.decoder = model.decoder.model.decoder
        self.head = model.decoder.get_output_embeddings()
        self.rows = rows
        self.max_tokens = max_tokens
        self.end, self.pad = model.config.eos_token_id, model.config.pad_token_id
        device = model.device
        self.token = torch.zeros(rows, dtype=torch.long, device=device)
        self.position = torch.zeros(1, dtype=torch.long, device=device)
        self.finished = torch.zeros(rows, dtype=torch.bool, device=device)
        self.tokens = torch.zeros(rows, max_tokens, dtype=torch.long, device=device)
        self.probabilities = torch.zeros(rows, max_tokens, device=device)
        self.cross: list[tuple[Tensor, Tensor]] = []
        self.buckets: list[_Bucket] = []
        self.pool = torch.cuda.graph_pool_handle() if device.type == "cuda" else None

    @torch.no_grad()
    def __call__(
        self, pixel_values: Tensor, prompts: Sequence[Sequence[int]] = ()
    ) -> tuple[Tensor, list[float]]:
        """Return token ids [images, tokens] and each text's mean token probability.

        `pixel_values` is [images, 3, height, width], images at most `rows`; ids after a
        text's end are padding, and so are those in the place of its prompt.
        """
        count = pixel_values.shape[0]
        if count < self.rows:  # one shape only: graphs are captured for it
            pixel_values = functional.pad(pixel_values, (0, 0, 0, 0, 0, 0, 0, self.rows - count))
        self._encode(pixel_values)
        self.token.fill_(self.model.config.decoder_start_token_id)
        for state in (self.position, self.finished, self.probabilities):
            state.zero_()
        self.tokens.fill_(self.pad)
        self.finished[count:] = True
        asked = self._asked(prompts)
        for step in range(self.max_tokens):
            self._advance(step)
            if step < asked.shape[1]:
                self._force(step, asked[:, step])
            if step % CHECK_EVERY == CHECK_EVERY - 1 and bool(self.finished.all()):
                break
        return self._results(count)

    def _asked(self, prompts: Sequence[Sequence[int]]) -> Tensor:
        """Return the prompts' ids [rows, longest] on the device, -1 where there is none."""
        longest = max(map(len, prompts), default=0)
        asked = torch.full((self.rows, longest), -1, dtype=torch.long)
        for row, prompt in enumerate(prompts):
            asked[row, : len(prompt)] = torch.tensor(prompt, dtype=torch.long)
        return asked.to(self.token.device)

    def _force(self, step: int, asked: Tensor) -> None:
        """Go on from the prompt's token instead of the one just written, which is no answer."""
        given = asked >= 0
        self.token.copy_(torch.where(given, asked, self.token))
        self.finished &= ~given
        self.tokens[:, step].masked_fill_(given, self.pad)
        self.probabilities[:, step].masked_fill_(given, torch.nan)

    def _results(self, count: int) -> tuple[Tensor, list[float]]:
        tokens = self.tokens[:count]
        ended = (tokens == self.end).int().cumsum(1)
        counted = torch.cat([torch.ones_like(ended[:, :1]), (ended[:, :-1] == 0).int()], 1)
        written = int(self.position)
        counted[:, written:] = 0
        counted[self.probabilities[:count].isnan()] = 0  # the places of prompts
        likely = self.probabilities[:count].nan_to_num()
        mean = (likely * counted).sum(1) / counted.sum(1).clamp(min=1)
        return tokens[:, :written], mean.tolist()

    def _encode(self, pixel_values: Tensor) -> None:
        """Run the encoder, a slice of rows at a time, and fill the cross-attention buffers."""
        for start in range(0, self.rows, ENCODED_TOGETHER):
            part = pixel_values[start : start + ENCODED_TOGETHER]
            states = self.model.encode(part)
            if not self.cross:
                self._allocate_cross(states)
            for layer, (keys, values) in zip(self.decoder.layers, self.cross, strict=True):
                attention = layer.encoder_attn
                rows = slice(start, start + part.shape[0])
                keys[rows] = attention._heads(attention.k_proj(states))
                values[rows] = attention._heads(attention.v_proj(states))

    def _allocate_cross(self, states: Tensor) -> None:
        for layer in self.decoder.layers:
            heads, width = layer.encoder_attn.num_heads, layer.encoder_attn.head_dim
            shape = (self.rows, heads, states.shape[1], width)
            self.cross.append((states.new_empty(shape), states.new_empty(shape)))

    def _advance(self, step: int) -> None:
        """Decode one token of every row."""
        bucket = self._bucket_for(step)
        if self.pool is None:
            self._step(bucket)
            return
        if bucket.graph is None:
            self._capture(bucket)
        assert bucket.graph is not None
        bucket.graph.replay()

    def _bucket_for(self, step: int) -> _Bucket:
        """Return the smallest buffers that hold position `step`, filled so far."""
        number, length = 0, FIRST_BUCKET
        while length <= step:
            number, length = number + 1, length * 2
        if number == len(self.buckets):
            attention = self.decoder.layers[0].self_attn
            shape = (self.rows, attention.num_heads, length, attention.head_dim)
            self.buckets.append(_Bucket(len(self.decoder.layers), shape, self.cross[0][0]))
        bucket = self.buckets[number]
        if number and step == length // 2:  # first use of these buffers for this batch
            before = self.buckets[number - 1]
            pairs = [*zip(bucket.keys, before.keys, strict=True)]
            pairs += zip(bucket.values, before.values, strict=True)
            for larger, smaller in pairs:
                larger[:, :, : before.length].copy_(smaller)
        return bucket

    def _capture(self, bucket: _Bucket) -> None:
        kept = [s.clone() for s in (self.token, self.position, self.finished)]
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):  # libraries set themselves up outside the capture
            self._step(bucket)
        torch.cuda.current_stream().wait_stream(stream)
        for state, value in zip((self.token, self.position, self.finished), kept, strict=True):
            state.copy_(value)
        torch.cuda.synchronize()
        bucket.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(
            bucket.graph, pool=self.pool, capture_error_mode=OTHER_THREADS_MAY_WORK
        ):
            self._step(bucket)

    def _step(self, bucket: _Bucket) -> None:
        """Write the token after `self.token` at `self.position`, and move on."""
        decoder = self.decoder
        states = decoder.embed_tokens(self.token[:, None]) + self._place()
        if decoder.layernorm_embedding is not None:
            states = decoder.layernorm_embedding(states)
        reach = torch.arange(bucket.length, device=states.device)[None, None, None] <= self.position
        for number, layer in enumerate(decoder.layers):
            cache = bucket.keys[number], bucket.values[number]
            states = self._layer(layer, states, cache, self.cross[number], reach)
        logits = self.head(states[:, 0]).float()
        best, token = logits.max(dim=-1)
        probability = torch.exp(best - torch.logsumexp(logits, dim=-1))
        token = torch.where(self.finished, self.pad, token)
        self.tokens.index_copy_(1, self.position, token[:, None])
        self.probabilities.index_copy_(1, self.position, probability[:, None])
        self.finished |= token == self.end
        self.token.copy_(token)
        self.position += 1

    def _place(self) -> Tensor:
        """Return the embedding of the present position, [1 or rows, 1, width].

        Sinusoids start after the padding's row, and a padding token takes that row itself.
        """
        table = self.decoder.embed_positions
        if isinstance(table, TrOCRLearnedPositionalEmbedding):
            return functional.embedding(self.position + table.offset, table.weight)
        row = (self.position + table.padding_idx + 1).expand(self.rows)
        row = torch.where(self.token == table.padding_idx, table.padding_idx, row)
        return functional.embedding(row[:, None], table.weights)

    def _layer(
        self,
        layer: Any,
        states: Tensor,
        cache: tuple[Tensor, Tensor],
        cross: tuple[Tensor, Tensor],
        reach: Tensor,
    ) -> Tensor:
        own = layer.self_attn
        key, value = own._heads(own.k_proj(states)), own._heads(own.v_proj(states))
        cache[0].index_copy_(2, self.position, key)
        cache[1].index_copy_(2, self.position, value)
        attended = _attend(own, states, cache, reach)
        states = layer.self_attn_layer_norm(states + attended)
        attended = _attend(layer.encoder_attn, states, cross, None)
        states = layer.encoder_attn_layer_norm(states + attended)
        inner = layer.fc2(layer.activation_fn(layer.fc1(states)))
        return layer.final_layer_norm(states + inner)


def _attend(
    module: Any, states: Tensor, cache: tuple[Tensor, Tensor], mask: Tensor | None
) -> Tensor:
    query = module._heads(module.q_proj(states))
    out = functional.scaled_dot_product_attention(
        query, cache[0], cache[1], attn_mask=mask, scale=module.scaling
    )
    return module.out_proj(out.transpose(1, 2).reshape(states.shape))
