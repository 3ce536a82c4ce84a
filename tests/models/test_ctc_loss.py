"""The fast CTC loss equals torch's own, in value and in every gradient."""

import pytest
import torch

from manifold_ocr.models.ctc.loss import Workspace, ctc_head_loss, plain_ctc_loss
from manifold_ocr.models.ctc.rows import collate_lines, line_labels, targets_of

pytestmark = pytest.mark.torch
CLASSES, HIDDEN, RANK = 300, 12, 3


def layer(seed: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    shapes = {"weight": (CLASSES, HIDDEN), "bias": (CLASSES,), "down": (RANK, HIDDEN)}
    shapes |= {"up": (CLASSES, RANK)}
    return {
        name: torch.randn(shape, dtype=torch.float64, requires_grad=True)
        for name, shape in shapes.items()
    }


@pytest.mark.parametrize("lora", [True, False])
def test_value_and_gradients_equal_torchs(lora: bool) -> None:
    texts = [[5, 5, 7], [1], [299, 2, 2, 2, 9, 1], [4, 3]]
    frames = torch.tensor([6, 3, 14, 2])
    batch = line_labels(texts)
    weights = layer(0)
    hidden = torch.randn(int(frames.sum()), HIDDEN, dtype=torch.float64, requires_grad=True)
    leaves = [hidden, weights["weight"], weights["bias"]]
    leaves += [weights["down"], weights["up"]] if lora else []

    def gradients(loss: torch.Tensor) -> list[torch.Tensor]:
        return list(torch.autograd.grad(loss, leaves))

    def inner() -> torch.Tensor | None:
        return hidden @ weights["down"].t() * 2.0 if lora else None

    targets = targets_of(batch, frames)
    up = weights["up"] if lora else None
    ours = ctc_head_loss(
        hidden, inner(), weights["weight"], up, weights["bias"], targets, Workspace()
    )
    logits = hidden @ weights["weight"].t() + weights["bias"]
    if lora:
        logits = logits + inner() @ weights["up"].t()
    theirs = plain_ctc_loss(logits, targets)
    torch.testing.assert_close(ours, theirs)
    for a, b in zip(gradients(ours), gradients(theirs), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-9)


def test_loss_of_a_line_does_not_depend_on_its_batch() -> None:
    weights, workspace = layer(1), Workspace()
    hidden = [torch.randn(frames, HIDDEN, dtype=torch.float64) for frames in (9, 4)]
    texts = [[3, 8, 8], [17]]

    def loss(which: list[int]) -> float:
        batch = line_labels([texts[i] for i in which])
        targets = targets_of(batch, torch.tensor([len(hidden[i]) for i in which]))
        rows = torch.cat([hidden[i] for i in which])
        value = ctc_head_loss(
            rows, None, weights["weight"], None, weights["bias"], targets, workspace
        )
        return float(value.detach())

    assert loss([0, 1]) == pytest.approx((loss([0]) + loss([1])) / 2, rel=1e-5)


def test_collate_groups_equal_widths_and_pads_nothing() -> None:
    import numpy as np

    rows = [(np.full((2, width), index), [index + 1]) for index, width in enumerate((5, 3, 5))]
    batch = collate_lines(rows)
    assert [tuple(group.shape) for group in batch["groups"]] == [(1, 2, 3), (2, 2, 5)]
    assert batch["classes"][:, 1].tolist() == [2, 1, 3]
    assert batch["groups"][1][1].unique().tolist() == [2.0]
