"""CTC loss over a large character set, with the last linear layer and its LoRA inside.

The plain way (linear layer, log_softmax, ctc_loss, and the same backwards) walks over a
frames x classes matrix a dozen times; for 18,710 classes that is most of a training step.
The gradient of CTC with respect to the logits is `softmax - occupancy`, and occupancy is
zero outside the blank and the line's own characters (Graves et al. 2006, equation 16). So
the recursion runs on those few classes only and the large matrix is walked over four times.
The value and the gradients are exact, not an approximation.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the name everyone uses

ABSENT = -1e30  # log-probability of padding classes; -inf would give NaN in ctc_loss's gradient
BLOCK = 256  # frames that are read together: more do not stay in a processor's cache
ALIGNED = 16  # rows of logits that start on 64 bytes are multiplied in 0.6 of the time on a CPU


@dataclass(frozen=True)
class LineTargets:
    """Labels of N lines whose frames lie one after the other in one matrix of M frames.

    `classes` (N, K): blank and the line's distinct characters, padded with -1. `labels`
    (N, L): the text as positions in `classes`, padded with 0. `frames` and `characters`
    (N,): true lengths. `weights` (N,): factor of each line's loss in the batch loss. These
    three are on the CPU, wherever the others are.
    """

    classes: Tensor
    labels: Tensor
    frames: Tensor
    characters: Tensor
    weights: Tensor


class Workspace:
    """Two matrices that every step reuses: fresh ones of this size cost as much as the algebra."""

    def __init__(self) -> None:
        self._flat: list[Tensor] = []

    def matrices(self, like: Tensor, rows: int, columns: int) -> tuple[Tensor, Tensor]:
        """Return two (rows, columns) matrices, uninitialised, of the type and place of `like`."""
        size = rows * columns
        if not self._flat or self._flat[0].numel() < size or self._flat[0].device != like.device:
            self._flat = [like.new_empty(size) for _ in range(2)]
        first, second = (flat[:size].view(rows, columns) for flat in self._flat)
        return first, second


def ctc_head_loss(
    hidden: Tensor,
    inner: Tensor | None,
    weight: Tensor,
    up: Tensor | None,
    bias: Tensor,
    targets: LineTargets,
    workspace: Workspace,
) -> Tensor:
    """Return the weighted sum of the lines' CTC losses (scalar).

    The logits are `hidden` (M, H) `weight`^T (C, H) + `inner` (M, r) `up`^T (C, r) + `bias`
    (C,): `inner` is the low-rank half of a LoRA layer, scaled. Gradients go to whatever
    requires them. One call's backward must run before the next call with the workspace. Under
    autocast, which hands in half-precision activations, all is computed in the weights' type.
    """
    with torch.autocast(hidden.device.type, enabled=False):
        hidden = hidden.to(weight.dtype)
        inner = None if inner is None else inner.to(weight.dtype)
        loss: Tensor = _HeadCtc.apply(hidden, inner, weight, up, bias, targets, workspace)
    return loss


@torch.no_grad()
def best_classes(
    hidden: Tensor,
    inner: Tensor | None,
    weight: Tensor,
    up: Tensor | None,
    bias: Tensor,
    workspace: Workspace,
) -> tuple[Tensor, Tensor]:
    """Return the most probable class of each frame and its probability, (M,) both.

    The arguments are those of `ctc_head_loss`.
    """
    found = [block.max(-1) for block in probabilities(hidden, inner, weight, up, bias, workspace)]
    return torch.cat([best.indices for best in found]), torch.cat([best.values for best in found])


@torch.no_grad()
def probabilities(
    hidden: Tensor,
    inner: Tensor | None,
    weight: Tensor,
    up: Tensor | None,
    bias: Tensor,
    workspace: Workspace,
) -> Iterator[Tensor]:
    """Yield the softmax (frames, classes), block by block; the next block overwrites the last.

    The arguments are those of `ctc_head_loss`. Classes of probability 0 may follow the last.
    """
    left, right, bias = _one_product(hidden, inner, weight, up, bias)
    for part in left.split(BLOCK if left.device.type == "cpu" else len(left)):
        logits, _ = workspace.matrices(part, len(part), len(right))
        torch.addmm(bias, part, right.t(), out=logits)
        yield torch.softmax(logits, -1, out=logits)


def _one_product(
    hidden: Tensor, inner: Tensor | None, weight: Tensor, up: Tensor | None, bias: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return `left`, `right`, `bias` of logits = left right^T + bias, with classes to ALIGNED."""
    left = hidden if inner is None else torch.cat([hidden, inner], 1)
    right = weight if up is None else torch.cat([weight, up], 1)
    missing = -len(right) % ALIGNED
    return left, F.pad(right, (0, 0, 0, missing)), F.pad(bias, (0, missing), value=ABSENT)


class _HeadCtc(torch.autograd.Function):
    """Loss of logits = [hidden, inner] [weight, up]^T + bias, the two products in one."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        inner: Tensor | None,
        weight: Tensor,
        up: Tensor | None,
        bias: Tensor,
        targets: LineTargets,
        workspace: Workspace,
    ) -> Tensor:
        left, right, bias = _one_product(hidden, inner, weight, up, bias)
        logits, slope = workspace.matrices(left, len(left), len(right))
        torch.addmm(bias, left, right.t(), out=logits)
        torch.softmax(logits, -1, out=slope)
        log_total = logits.amax(-1) - slope.amax(-1).log()
        few = _Few.of(targets)
        chosen = logits[few.rows, few.columns] - log_total[few.rows]
        losses, gradient = _few_class_ctc(chosen, few, targets)
        share = torch.repeat_interleave(targets.weights, targets.frames)
        slope.mul_(share.to(slope.device, non_blocking=True)[:, None])
        _put(slope, few, gradient)
        ctx.save_for_backward(slope, left, right)
        ctx.hidden_size, ctx.classes = hidden.shape[1], len(weight)
        return (losses * targets.weights.to(losses.device, non_blocking=True)).sum()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        slope, left, right = ctx.saved_tensors
        needs, size, classes = ctx.needs_input_grad, ctx.hidden_size, ctx.classes
        d_left = (slope @ right) * grads[0] if needs[0] or needs[1] else None
        d_hidden = d_left[:, :size] if d_left is not None and needs[0] else None
        d_inner = d_left[:, size:] if d_left is not None and needs[1] else None
        # (x^T slope)^T is twice as fast as slope^T x for a tall slope and a narrow x
        d_weight = (left[:, :size].t() @ slope).t()[:classes] * grads[0] if needs[2] else None
        d_up = (left[:, size:].t() @ slope).t()[:classes] * grads[0] if needs[3] else None
        d_bias = slope.sum(0)[:classes] * grads[0] if needs[4] else None
        return d_hidden, d_inner, d_weight, d_up, d_bias, None, None


@dataclass(frozen=True)
class _Few:
    """Index of the few classes of every frame, (N, T, K), and which entries are real."""

    rows: Tensor
    columns: Tensor
    valid: Tensor

    @classmethod
    def of(cls, targets: LineTargets) -> "_Few":
        frames, place = targets.frames, targets.classes.device
        longest = int(frames.max())
        starts = frames.cumsum(0) - frames
        time = torch.arange(longest)
        rows = (starts[:, None] + time.clamp(max=longest)).minimum((starts + frames - 1)[:, None])
        rows = rows.to(place, non_blocking=True)
        real_time = (time[None] < frames[:, None])[:, :, None].to(place, non_blocking=True)
        real_class = (targets.classes >= 0)[:, None, :]
        shape = (len(frames), longest, targets.classes.shape[1])
        return cls(
            rows[:, :, None].expand(shape),
            targets.classes.clamp(min=0)[:, None, :].expand(shape),
            (real_time & real_class).expand(shape),
        )


def _few_class_ctc(
    log_probabilities: Tensor, few: _Few, targets: LineTargets
) -> tuple[Tensor, Tensor]:
    """Return each line's loss (N,) and the gradient of the weighted sum, (N, T, K)."""
    absent = torch.full_like(log_probabilities, ABSENT)
    inputs = torch.where(few.valid, log_probabilities, absent).transpose(0, 1).contiguous()
    with torch.enable_grad():
        inputs.requires_grad_(True)
        losses = F.ctc_loss(
            inputs, targets.labels, targets.frames, targets.characters, reduction="none"
        )
        weights = targets.weights.to(losses.device, non_blocking=True)
        (gradient,) = torch.autograd.grad((losses * weights).sum(), inputs)
    return losses.detach(), gradient.transpose(0, 1)


def _put(slope: Tensor, few: _Few, gradient: Tensor) -> None:
    """Write the gradient of the few classes into the whole one, (M, C), in place."""
    if slope.device.type == "cpu":
        slope[few.rows[few.valid], few.columns[few.valid]] = gradient[few.valid]
    else:  # an index of what is valid would make the CPU wait; padding adds zero to the blank
        change = torch.where(few.valid, gradient - slope[few.rows, few.columns], 0.0)
        slope.index_put_((few.rows, few.columns), change, accumulate=True)


def plain_ctc_loss(logits: Tensor, targets: LineTargets) -> Tensor:
    """Return the same loss through torch's own functions: the reference for tests and speed.

    `logits` (M, C) are the frames of all lines.
    """
    rows = torch.split(torch.log_softmax(logits, -1), targets.frames.tolist())
    padded = torch.nn.utils.rnn.pad_sequence(list(rows))
    labels = targets.classes.clamp(min=0).gather(1, targets.labels)
    losses = F.ctc_loss(padded, labels, targets.frames, targets.characters, reduction="none")
    return (losses * targets.weights.to(losses.device)).sum()
