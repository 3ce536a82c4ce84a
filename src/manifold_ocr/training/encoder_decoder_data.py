"""Training rows of the encoder_decoder family: decoded and resized in worker processes."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from manifold_ocr.images import load_sample
from manifold_ocr.models.fast.linear_cross_entropy import IGNORED, answer_positions
from manifold_ocr.models.fast.step_graphs import padded_length
from manifold_ocr.records import Sample

Row = tuple[np.ndarray, list[int]]


@dataclass(frozen=True)
class EncoderDecoderRows(torch.utils.data.Dataset[Row]):
    """Map-style dataset: (prepared pixels uint8 [3, height, width], label ids).

    Nothing here is random, so the rows are the same for any number of workers.
    """

    samples: Sequence[Sample]
    targets: Sequence[list[int]]
    image_root: Path
    image_input: Any

    @cached_property
    def lengths(self) -> list[int]:
        """Return the label tokens of each row."""
        return [len(target) for target in self.targets]

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.samples)

    def __getitem__(self, index: int) -> Row:
        """Open, crop and resize one image."""
        image = load_sample(self.samples[index], self.image_root)
        return self.image_input(image), self.targets[index]


def collate_encoder_decoder(rows: list[Row], limit: int = 1 << 30) -> dict[str, Tensor]:
    """Return a batch: pixel_values, labels padded on the right with -100, answer_index.

    Lengths are rounded up, so that few shapes occur, but never beyond `limit` tokens.
    """
    longest = padded_length(max(len(target) for _, target in rows), limit)
    labels = torch.full((len(rows), longest), IGNORED, dtype=torch.long)
    for row, (_, target) in enumerate(rows):
        labels[row, : len(target)] = torch.tensor(target)
    pixels = torch.from_numpy(np.stack([pixels for pixels, _ in rows]))
    return {
        "pixel_values": pixels,
        "labels": labels,
        "answer_index": answer_positions(labels),
    }
