"""The classes that a training on a CPU computes: those that the model gives any probability.

A step of the head over all 18,710 classes spends three quarters of its time on the last layer,
one of the whole recognizer a sixth. On the default corpus the 4,096 most probable classes and
those of the labels, 4,572 in all, hold all but 0.012 % of the probability in lines that were
not looked at to choose them: what the others would add to the softmax, and to its gradient, is
less than that.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import Any

import numpy as np
import torch
from torch import Tensor

from manifold_ocr.models.ctc.loss import Workspace, probabilities
from manifold_ocr.models.ctc.rows import FeatureRows, PixelRows, collate_lines

MOST = 4096  # classes beside those of the labels
LOOKED_AT = 512  # lines that decide
FRAMES = 1024  # that pass the layers below together


@torch.inference_mode()
def likely_classes(
    hidden: Callable[[Sequence[Tensor]], tuple[Tensor, Tensor]],
    layer: Any,
    rows: FeatureRows | PixelRows,
    seed: int,
) -> np.ndarray:
    """Return the sorted classes (K,) to train `rows` on: blank, labels, and the most probable.

    `hidden` returns what the last linear `layer` sees of groups of lines, and their frames. The
    lines looked at follow from `seed`.
    """
    total = torch.zeros(len(layer.weight), dtype=torch.float64)
    workspace = Workspace()
    count = min(LOOKED_AT, len(rows))
    lines = np.random.default_rng(seed).choice(len(rows), count, replace=False)
    for groups in _groups(rows, lines.tolist()):
        frames, _ = hidden(groups)
        for block in probabilities(frames, None, layer.weight, None, layer.bias, workspace):
            total += block.sum(0)[: len(total)]
    most = np.argsort(-total.numpy(), kind="stable")[:MOST]
    return np.unique(np.concatenate([[0], most, *rows.classes]))


def _groups(rows: FeatureRows | PixelRows, lines: Sequence[int]) -> Iterator[Sequence[Tensor]]:
    """Yield the lines, some of one length together, about FRAMES frames in all."""
    order = sorted(lines, key=lambda line: (rows.lengths[line], line))
    for frames, same in groupby(order, key=lambda line: rows.lengths[line]):
        alike, step = list(same), max(1, FRAMES // frames)
        for start in range(0, len(alike), step):
            part = [rows[line] for line in alike[start : start + step]]
            yield collate_lines(part)["groups"]
