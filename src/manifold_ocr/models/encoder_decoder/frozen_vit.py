"""A frozen ViT or DeiT as few kernels: no graph, products with what follows them in one.

Query, key and value are one product; residuals are added by the products themselves, which
leaves their biases to the next layer norm; the first MLP product ends in its GELU; pictures
become normalized patches in one pass, and patches tokens by a product. GELU is cuBLASLt's,
by tanh: the sum of a bfloat16 encoder's other roundings is larger than the difference
(docs/performance.md has the distance from float32 of both).
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from manifold_ocr.models.kernels.ops import HALF, kernels_for

KINDS = ("vit", "deit")


@dataclass(frozen=True)
class _Layer:
    """One layer's weights; the shifts are the biases that the residual lacks so far."""

    norm1: nn.LayerNorm
    norm2: nn.LayerNorm
    shift1: Tensor
    shift2: Tensor
    qkv: Tensor
    qkv_bias: Tensor
    out: Tensor
    up: nn.Linear
    down: Tensor


class FrozenViT:
    """The last hidden states of a frozen encoder, from uint8 pixels."""

    def __init__(self, encoder: Any, scale: Tensor, shift: Tensor) -> None:
        """`scale` and `shift` normalize pixels, by channel."""
        self.encoder = encoder
        self.scale, self.shift = scale.float().flatten(), shift.float().flatten()
        self.address = address(encoder)
        embeddings = encoder.embeddings
        projection = embeddings.patch_embeddings.projection
        self.patch = projection.kernel_size[0]
        self.projection = projection.weight.detach().flatten(1)
        names = ("cls_token", "distillation_token")
        special = [getattr(embeddings, name)[0] for name in names if hasattr(embeddings, name)]
        places = embeddings.position_embeddings[0].detach()
        self.special = torch.cat(special).detach() + places[: len(special)]
        self.places = places[len(special) :]
        if projection.bias is not None:
            self.places = self.places + projection.bias.detach()
        self.heads = encoder.config.num_attention_heads
        behind = torch.zeros(places.shape[1], device=places.device)
        self.layers = []
        for layer in encoder.layers:
            made = _fused(layer, behind)
            behind = made.shift2 + _bias(layer.mlp.fc2)
            self.layers.append(made)
        self.behind = behind

    @torch.no_grad()
    def __call__(self, pixels: Tensor) -> Tensor:
        """Return float [images, tokens, width] of uint8 [images, channels, height, width]."""
        kernels: Any = kernels_for(pixels)
        dtype, width = self.projection.dtype, self.projection.shape[0]
        rows = kernels.patches(pixels, self.patch, self.scale, self.shift, dtype)
        images, special = pixels.shape[0], self.special.shape[0]
        tokens = special + self.places.shape[0]
        states = torch.empty(images, tokens, width, dtype=dtype, device=pixels.device)
        states[:, :special] = self.special
        product = functional.linear(rows, self.projection).view(images, -1, width)
        torch.add(product, self.places, out=states[:, special:])
        residual = states.view(-1, width)
        for layer in self.layers:
            normed = kernels.shifted_norm(residual, layer.shift1, layer.norm1)
            qkv = torch.addmm(layer.qkv_bias, normed, layer.qkv.T)
            heads = qkv.view(images, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
            seen = functional.scaled_dot_product_attention(heads[0], heads[1], heads[2])
            residual.addmm_(seen.transpose(1, 2).reshape(-1, layer.out.shape[1]), layer.out.T)
            normed = kernels.shifted_norm(residual, layer.shift2, layer.norm2)
            up = torch._addmm_activation(layer.up.bias, normed, layer.up.weight.T, use_gelu=True)
            residual.addmm_(up, layer.down.T)
        out: Tensor = kernels.shifted_norm(residual, self.behind, self.encoder.layernorm)
        return out.view(images, tokens, width)


def _bias(linear: nn.Linear) -> Tensor:
    if linear.bias is None:
        return linear.weight.new_zeros(linear.weight.shape[0])
    return linear.bias.detach()


def _fused(layer: Any, behind: Tensor) -> _Layer:
    attention, mlp = layer.attention, layer.mlp
    parts = (attention.q_proj, attention.k_proj, attention.v_proj)
    return _Layer(
        norm1=layer.layernorm_before,
        norm2=layer.layernorm_after,
        shift1=behind,
        shift2=behind + _bias(attention.o_proj),
        qkv=torch.cat([part.weight.detach() for part in parts]),
        qkv_bias=torch.cat([_bias(part) for part in parts]),
        out=attention.o_proj.weight.detach(),
        up=mlp.fc1,
        down=mlp.fc2.weight.detach(),
    )


def address(encoder: Any) -> int:
    """Return where the weights are: a model that was moved needs a new FrozenViT."""
    return int(encoder.embeddings.position_embeddings.data_ptr())


def supports(encoder: Any, pixels: Tensor) -> bool:
    """Return whether an encoder is what FrozenViT computes, frozen, in half precision, on a GPU."""
    config = encoder.config
    if config.model_type not in KINDS or not hasattr(encoder, "layers"):
        return False
    if pixels.dtype != torch.uint8 or kernels_for(pixels) is None:
        return False
    if config.hidden_act != "gelu" or config.hidden_dropout_prob:
        return False
    if config.attention_probs_dropout_prob or any(p.requires_grad for p in encoder.parameters()):
        return False
    projection = encoder.embeddings.patch_embeddings.projection
    known = tuple(pixels.shape[2:]) == tuple(encoder.embeddings.image_size)
    square = projection.kernel_size[0] == projection.kernel_size[1]
    dense = all(
        type(module) is nn.Linear
        for module in encoder.layers.modules()
        if isinstance(module, nn.Linear)
    )
    return known and square and dense and projection.weight.dtype in HALF
