"""Training rows of the `ctc` family, and the batches that they make: groups of one width."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from manifold_ocr.models.ctc.decode import STRIDE, frames_needed
from manifold_ocr.models.ctc.features import FeatureCache
from manifold_ocr.models.ctc.loss import LineTargets
from manifold_ocr.models.ctc.pixels import LinePixels, byte_pixels
from manifold_ocr.records import Sample

Row = tuple[np.ndarray, list[int]]
STRETCH = 1.12  # largest width over smallest of the lines that are trained at one width
STEP = 1.08  # from a width of the grid to the next: few shapes, for which a GPU finds kernels once


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
    """Rows (pixels (48, W, 3) uint8, classes of the text), for a backbone that is trained.

    Convolutions are planned or compiled for each number and width of lines: sorted in windows
    of 1,024 batches, most batches are one group, and half as many shapes occur.
    """

    window: ClassVar[int] = 1024
    samples: Sequence[Sample]
    classes: Sequence[list[int]]
    lengths: Sequence[int]
    pixels: LinePixels

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.samples)

    def __getitem__(self, index: int) -> Row:
        """Return one row."""
        return self.pixels[self.samples[index]], self.classes[index]


def collate_lines(rows: list[Row], kept: np.ndarray | None = None) -> dict[str, Any]:
    """Return `groups`, a list of tensors of equal width, and the targets of all lines.

    Lines are never padded: a line's features see its own pixels only. Lines are ordered by
    width, so that the groups' frames, one after the other, are in the order of the targets.
    Cached features keep their width; pixels of similar lines are scaled to one (see
    `one_width`), so that a batch is a group or two: many small ones would leave a GPU idle.
    Where training is on the classes `kept` (K,), sorted, labels are positions in it.
    """
    place = 1 if rows[0][0].dtype == np.uint8 else -1
    ordered = sorted(rows, key=lambda row: row[0].shape[place])
    if place == 1:
        groups = [torch.from_numpy(one_width(group)) for group in similar(ordered)]
    else:
        groups = [
            torch.from_numpy(np.stack([row[0] for row in group]).astype(np.float32))
            for group in similar(ordered, place, 1.0)
        ]
    texts = [row[1] for row in ordered]
    if kept is None:
        return {"groups": groups, **line_labels(texts)}
    places = [np.searchsorted(kept, text).tolist() for text in texts]
    return {"groups": groups, "kept": torch.from_numpy(kept), **line_labels(places)}


def similar(ordered: list[Row], place: int = 1, ratio: float = STRETCH) -> Iterator[list[Row]]:
    """Yield rows whose widths (dimension `place`) differ by at most `ratio`, from sorted ones."""
    group: list[Row] = []
    for row in ordered:
        if group and row[0].shape[place] > ratio * group[0][0].shape[place]:
            yield group
            group = []
        group.append(row)
    yield group


def one_width(rows: list[Row]) -> np.ndarray:
    """Return the pixels of similar lines (N, 48, W, 3) scaled to about their mean width.

    W is of a grid (see `grid_frames`) and leaves every line the frames that its text needs. It
    depends on the neighbors of a line, which change with each epoch: a mild change of aspect.
    """
    mean = sum(pixels.shape[1] for pixels, _ in rows) / len(rows)
    needed = max(frames_needed(classes) for _, classes in rows)
    width = STRIDE * grid_frames(mean / STRIDE, needed)
    return np.stack(
        [
            pixels if pixels.shape[1] == width else byte_pixels(Image.fromarray(pixels), width)
            for pixels, _ in rows
        ]
    )


def grid_frames(mean: float, needed: int) -> int:
    """Return the number of the grid 1, 2, ..., then by steps of 8 %, nearest to `mean`.

    It is at least `needed`.
    """
    low, high = 1, 1
    while high < max(mean, needed):
        low, high = high, max(high + 1, round(high * STEP))
    return low if low >= needed and mean - low < high - mean else high


def line_labels(texts: Sequence[list[int]]) -> dict[str, Any]:
    """Return padded `classes`, `labels` and true lengths `characters` (see `LineTargets`)."""
    distinct = [[0, *sorted(set(text))] for text in texts]
    classes = torch.full((len(texts), max(map(len, distinct))), -1, dtype=torch.long)
    labels = torch.zeros((len(texts), max(map(len, texts))), dtype=torch.long)
    for row, (text, known) in enumerate(zip(texts, distinct, strict=True)):
        place = {value: index for index, value in enumerate(known)}
        classes[row, : len(known)] = torch.tensor(known)
        labels[row, : len(text)] = torch.tensor([place[value] for value in text])
    return {"classes": classes, "labels": labels, "characters": [len(text) for text in texts]}


def targets_of(batch: dict[str, Any], frames: Tensor) -> LineTargets:
    """Return the targets of a batch whose lines have `frames` (N,) frames, a tensor of the CPU.

    A line's loss counts per character and lines count alike, as in torch's `mean`. Lengths
    stay on the CPU, so that a GPU is not waited for.
    """
    characters = torch.tensor(batch["characters"])
    return LineTargets(
        classes=batch["classes"],
        labels=batch["labels"],
        frames=frames,
        characters=characters,
        weights=1.0 / (characters * len(characters)),
    )
