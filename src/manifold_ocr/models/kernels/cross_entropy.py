"""Cross-entropy of a linear head without ever holding all logits: chunk by chunk, one pass.

The gradient of each chunk is formed while its logits are at hand, so nothing is recomputed
in the backward pass and the peak is one chunk of logits instead of tokens x vocabulary.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from manifold_ocr.models.kernels.ops import cross_entropy_in_place

IGNORED = -100
ALIGNED = 64  # logits' row stride: tensor cores are slow on rows of odd length (50,265 classes)
CHUNK_BYTES = 256 << 20  # logits of one chunk; larger chunks gain nothing on the GPUs measured


class _LinearCrossEntropy(torch.autograd.Function):
    """`weight` may have rows of zeros after its first `classes`: they count for nothing."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, labels: Tensor, classes: int
    ) -> Any:
        rows = max(16, CHUNK_BYTES // (weight.shape[0] * hidden.element_size()))
        wants_weight, wants_bias = ctx.needs_input_grad[1], ctx.needs_input_grad[2]
        grad_hidden = torch.empty_like(hidden)
        grad_weight = torch.zeros_like(weight, dtype=torch.float32) if wants_weight else None
        grad_bias = (
            torch.zeros_like(bias, dtype=torch.float32) if bias is not None and wants_bias else None
        )
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        width = aligned(weight.shape[0])
        buffer = hidden.new_empty(min(rows, hidden.shape[0]), width)
        for start in range(0, hidden.shape[0], rows):
            part = hidden[start : start + rows]
            whole = buffer[: part.shape[0], : weight.shape[0]]
            logits = whole[:, :classes]
            torch.mm(part, weight.T, out=whole)
            if bias is not None:
                logits += bias
            total += cross_entropy_in_place(logits, labels[start : start + rows]).sum()
            torch.mm(whole, weight, out=grad_hidden[start : start + rows])
            if grad_weight is not None:
                grad_weight += logits.T @ part
            if grad_bias is not None:
                grad_bias += logits.sum(0, dtype=torch.float32)
        ctx.save_for_backward(grad_hidden, grad_weight, grad_bias)
        ctx.dtypes = weight.dtype, None if bias is None else bias.dtype
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        grad_hidden, grad_weight, grad_bias = ctx.saved_tensors
        hidden = (grad_hidden * grad).to(grad_hidden.dtype) if ctx.needs_input_grad[0] else None
        weight = None if grad_weight is None else (grad_weight * grad).to(ctx.dtypes[0])
        bias = None if grad_bias is None else (grad_bias * grad).to(ctx.dtypes[1])
        return hidden, weight, bias, None, None


def aligned(size: int) -> int:
    """Return `size` rounded up to a multiple of 64."""
    return -(-size // ALIGNED) * ALIGNED


def padded_head(head: torch.nn.Linear) -> Tensor:
    """Return a frozen head's weight [aligned vocabulary, width], its last rows zeros.

    The library's products over an odd number of classes (TrOCR's 50,265) run on kernels for
    unaligned rows, several times slower. The copy is kept beside the head until its weight
    changes; a trained, an aligned or a CPU's weight is returned as it is.
    """
    weight = head.weight
    missing = aligned(weight.shape[0]) - weight.shape[0]
    if not missing or weight.requires_grad or weight.device.type == "cpu":
        return weight
    state = (weight.data_ptr(), weight._version, weight.dtype, weight.device)
    kept = head.__dict__.get("_padded")
    if kept is None or kept[0] != state:
        kept = state, functional.pad(weight.detach(), (0, 0, 0, missing))
        object.__setattr__(head, "_padded", kept)
    padded: Tensor = kept[1]
    return padded


def linear_cross_entropy(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    labels: Tensor,
    classes: int | None = None,
) -> Tensor:
    """Return the sum of -log softmax(hidden @ weight.T + bias)[label] over the rows, float32.

    Shapes: hidden [tokens, width], weight [vocabulary, width], bias [vocabulary] or None,
    labels [tokens] of int64; a negative label (-100) counts for nothing. The softmax is in
    float32 whatever the dtype of `hidden`. No token at all gives 0 with a graph. `classes`
    says how many rows of `weight` count, where the others are zeros (see `padded_head`).
    """
    classes = weight.shape[0] if classes is None else classes
    if hidden.shape[0] == 0:
        return hidden.sum(dtype=torch.float32)
    weight = weight.to(hidden.dtype)
    bias = None if bias is None else bias.to(hidden.dtype)
    if torch.is_grad_enabled() and (hidden.requires_grad or weight.requires_grad):
        return _LinearCrossEntropy.apply(hidden, weight, bias, labels, classes)
    rows = max(16, CHUNK_BYTES // (weight.shape[0] * hidden.element_size()))
    total = torch.zeros((), dtype=torch.float32, device=hidden.device)
    for part, targets in zip(hidden.split(rows), labels.split(rows), strict=True):
        logits = functional.linear(part, weight[:classes], bias).float()
        total += functional.cross_entropy(logits, targets, reduction="sum", ignore_index=IGNORED)
    return total


def answer_positions(labels: Tensor) -> Tensor:
    """Return the flat positions (row-major) of the labels that count, as int64.

    Call it where the labels are still on the CPU: on the GPU it would wait for the stream.
    """
    return (labels.reshape(-1) != IGNORED).nonzero().squeeze(1)


def answer_loss(
    hidden: Tensor,
    head: torch.nn.Linear,
    labels: Tensor,
    positions: Tensor | None,
    *,
    chosen: bool = False,
) -> Tensor:
    """Return the summed cross-entropy of the tokens whose label counts.

    Shapes: hidden [rows, length, width], labels [rows, length] aligned with hidden (label t
    is what hidden t must predict), positions as of `answer_positions`. Without positions
    every token goes through the head, the ignored ones too: then all shapes are fixed.
    `chosen` says that `labels` [positions] are those at the positions already.
    """
    states, targets = hidden.reshape(-1, hidden.shape[-1]), labels.reshape(-1)
    if positions is not None:
        states = states.index_select(0, positions)
        targets = targets if chosen else targets.index_select(0, positions)
    weight = padded_head(head)
    return linear_cross_entropy(states, weight, head.bias, targets, head.weight.shape[0])


def mean_over(total: Tensor, labels: Tensor, tokens_in_batch: Tensor | int | None) -> Tensor:
    """Return a summed loss over the number of counted tokens.

    `tokens_in_batch` is their number over all accumulated micro-batches; None: this one's.
    """
    if tokens_in_batch is None:
        return total / (labels != IGNORED).sum().clamp_min(1)
    return (
        total / max(tokens_in_batch, 1)
        if isinstance(tokens_in_batch, int)
        else (total / tokens_in_batch)
    )
