"""Batches of the ctc family: cached features (or pixels) grouped by exact width, and labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from manifold_ocr.images import load_sample
from manifold_ocr.models.features import FeatureCache
from manifold_ocr.models.line_image import line_pixels
from manifold_ocr.records import Sample
from manifold_ocr.training.ctc_loss import LineTargets

Row = tuple[np.ndarray, list[int]]


@dataclass(frozen=True)
class FeatureRows:
    """Rows (features (C, T) float16, classes of the text), features read from the cache."""

    keys: Sequence[str]
    classes: Sequence[list[int]]
    lengths: Sequence[int]
    cache: FeatureCache

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.keys)

    def __getitem__(self, index: int) -> Row:
        """Return one row."""
        features = self.cache.get(self.keys[index])
        assert features is not None, f"features of {self.keys[index]} left the cache"
        return features, self.classes[index]


@dataclass(frozen=True)
class PixelRows:
    """Rows (pixels (3, 48, W) float32, classes of the text), for a backbone that is trained."""

    samples: Sequence[Sample]
    classes: Sequence[list[int]]
    lengths: Sequence[int]
    image_root: Path

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.samples)

    def __getitem__(self, index: int) -> Row:
        """Open, crop and scale one line."""
        return line_pixels(load_sample(self.samples[index], self.image_root))[0], self.classes[
            index
        ]


def collate_lines(rows: list[Row]) -> dict[str, Any]:
    """Return `groups`, a list of tensors of equal width, and the targets of all lines.

    Lines are never padded: a line's features see its own pixels only. Lines are ordered by
    width, so that the groups' frames, one after the other, are in the order of the targets.
    """
    ordered = sorted(rows, key=lambda row: row[0].shape[-1])
    groups = [
        torch.from_numpy(np.stack([row[0] for row in group]).astype(np.float32))
        for _, group in groupby(ordered, key=lambda row: row[0].shape[-1])
    ]
    return {"groups": groups, **line_labels([row[1] for row in ordered])}


def line_labels(texts: Sequence[list[int]]) -> dict[str, Tensor]:
    """Return padded `classes`, `labels` and true lengths `characters` (see `LineTargets`)."""
    distinct = [[0, *sorted(set(text))] for text in texts]
    classes = torch.full((len(texts), max(map(len, distinct))), -1, dtype=torch.long)
    labels = torch.zeros((len(texts), max(map(len, texts))), dtype=torch.long)
    for row, (text, known) in enumerate(zip(texts, distinct, strict=True)):
        place = {value: index for index, value in enumerate(known)}
        classes[row, : len(known)] = torch.tensor(known)
        labels[row, : len(text)] = torch.tensor([place[value] for value in text])
    lengths = torch.tensor([len(text) for text in texts])
    return {"classes": classes, "labels": labels, "characters": lengths}


def targets_of(batch: dict[str, Tensor], frames: Tensor) -> LineTargets:
    """Return the targets of a batch whose lines have `frames` (N,) frames.

    A line's loss counts per character and lines count alike, as in torch's `mean`.
    """
    characters = batch["characters"]
    return LineTargets(
        classes=batch["classes"],
        labels=batch["labels"],
        frames=frames,
        characters=characters,
        weights=1.0 / (characters * len(characters)),
    )
