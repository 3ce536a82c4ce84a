"""The classes that a training on a CPU computes: those that the model gives any probability.

A step over all 18,710 classes spends three quarters of its time on the last layer. On the
default corpus the 4,096 most probable classes and those of the labels, 4,572 in all, hold all
but 0.012 % of the probability in lines that were not looked at to choose them: what the others
would add to the softmax, and to its gradient, is less than that.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import numpy as np
import torch
from torch import Tensor

from manifold_ocr.models.ctc.loss import Workspace, probabilities
from manifold_ocr.models.ctc.rows import FeatureRows
from manifold_ocr.models.ctc.torch_parts import core, head_hidden

MOST = 4096  # classes beside those of the labels
LOOKED_AT = 512  # lines that decide
FRAMES = 1024  # that pass the layers below together


@torch.inference_mode()
def likely_classes(recognizer: Any, rows: FeatureRows, seed: int) -> np.ndarray:
    """Return the sorted classes (K,) to train `rows` on: blank, labels, and the most probable.

    The lines looked at follow from `seed`.
    """
    layer = core(recognizer).head.head
    total = torch.zeros(len(layer.weight), dtype=torch.float64)
    workspace = Workspace()
    count = min(LOOKED_AT, len(rows))
    lines = np.random.default_rng(seed).choice(len(rows), count, replace=False)
    for hidden in _frames(recognizer, rows, lines.tolist()):
        for block in probabilities(hidden, None, layer.weight, None, layer.bias, workspace):
            total += block.sum(0)[: len(total)]
    most = np.argsort(-total.numpy(), kind="stable")[:MOST]
    return np.unique(np.concatenate([[0], most, *rows.classes]))


def _frames(recognizer: Any, rows: FeatureRows, lines: Sequence[int]) -> Iterator[Tensor]:
    """Yield what the last layer sees of the lines, (frames, H) with about FRAMES frames."""
    order = sorted(lines, key=lambda line: (rows.lengths[line], line))
    for frames, same in groupby(order, key=lambda line: rows.lengths[line]):
        alike, step = list(same), max(1, FRAMES // frames)
        for start in range(0, len(alike), step):
            stacked = np.stack([rows[line][0] for line in alike[start : start + step]])
            tensor = torch.from_numpy(stacked.astype(np.float32))[:, :, None]
            yield head_hidden(recognizer, tensor).flatten(0, 1)
