"""Training on a CPU leaves out classes that have no probability, and nothing else."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from manifold_ocr.models.ctc import likely
from manifold_ocr.models.ctc.likely import likely_classes
from manifold_ocr.models.ctc.loss import Workspace, ctc_head_loss, plain_ctc_loss
from manifold_ocr.models.ctc.rows import collate_lines, targets_of
from manifold_ocr.models.ctc.train import CtcTrainee

pytestmark = pytest.mark.torch
CLASSES, CHANNELS = 200, 6


class Recognizer(nn.Module):
    """The parts of a recognizer that choosing classes uses: frames are the features as they are."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.head = nn.Module()
        self.head.head = nn.Linear(CHANNELS, CLASSES)

        def encoder(features: torch.Tensor) -> SimpleNamespace:
            return SimpleNamespace(last_hidden_state=features[:, :, 0].transpose(1, 2))

        self.head.encoder = encoder


class Lines(list[tuple[np.ndarray, list[int]]]):
    """Rows in memory instead of a feature cache."""

    @property
    def lengths(self) -> list[int]:
        return [row.shape[1] for row, _ in self]

    @property
    def classes(self) -> list[list[int]]:
        return [text for _, text in self]


def lines(texts: list[list[int]]) -> Any:
    random = np.random.default_rng(0)
    widths = (3 + i % 4 for i in range(len(texts)))
    rows = (random.normal(size=(CHANNELS, width)).astype(np.float16) for width in widths)
    return Lines(zip(rows, texts, strict=True))


def test_the_most_probable_classes_those_of_labels_and_the_blank_are_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(likely, "MOST", 20)
    recognizer = Recognizer()
    rows = lines([[7, 199], [150], *([[7]] * 28)])
    hidden = CtcTrainee(recognizer, "features").hidden
    kept = likely_classes(hidden, recognizer.head.head, rows, seed=1)

    frames = torch.from_numpy(np.concatenate([row.astype(np.float32).T for row, _ in rows]))
    share = torch.softmax(recognizer.head.head(frames).double(), -1).mean(0)
    expected = {0, 7, 150, 199, *share.topk(20).indices.tolist()}
    assert kept.tolist() == sorted(expected)


def test_a_step_over_kept_classes_is_the_plain_loss_over_them() -> None:
    kept = np.array([0, 3, 9, 40, 41, 120])
    batch = collate_lines(lines([[3, 41], [9]]), kept)
    assert batch["kept"].tolist() == kept.tolist()

    layer = Recognizer().head.head
    hidden = torch.cat([group.transpose(1, 2).flatten(0, 1) for group in batch["groups"]])
    frames = torch.tensor([group.shape[2] for group in batch["groups"] for _ in group])
    targets = targets_of(batch, frames)
    weight, bias = layer.weight[batch["kept"]], layer.bias[batch["kept"]]
    ours = ctc_head_loss(hidden, None, weight, None, bias, targets, Workspace())
    whole = targets_of({**collate_lines(lines([[3, 41], [9]]))}, frames)
    others = torch.ones(CLASSES, dtype=torch.bool)
    others[kept] = False
    theirs = plain_ctc_loss(layer(hidden).masked_fill(others, -torch.inf), whole)
    torch.testing.assert_close(ours, theirs)
