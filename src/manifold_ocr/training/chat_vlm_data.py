"""Training rows of the chat_vlm family: images patchified in worker processes, answers padded."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from manifold_ocr.images import load_sample
from manifold_ocr.models.chat_input import ChatInput, Encoded
from manifold_ocr.models.chat_vlm import join_images, token_types
from manifold_ocr.models.fast.chat_step import shift_left
from manifold_ocr.models.fast.linear_cross_entropy import IGNORED, answer_positions
from manifold_ocr.models.fast.step_graphs import padded_length
from manifold_ocr.records import Sample

Row = tuple[Encoded, list[int]]


@dataclass(frozen=True)
class ChatRows(torch.utils.data.Dataset[Row]):
    """Map-style dataset: (prompt with its image, answer ids with the end token).

    Nothing here is random, so the rows are the same for any number of workers.
    """

    samples: Sequence[Sample]
    targets: Sequence[list[int]]
    lengths: Sequence[int]
    image_root: Path
    chat_input: ChatInput

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.samples)

    def __getitem__(self, index: int) -> Row:
        """Open, crop, resize and patchify one image; put the question before the answer."""
        sample = self.samples[index]
        image = load_sample(sample, self.image_root)
        return self.chat_input.encode(image, sample.question), self.targets[index]


class RopePositions:
    """Computes 3-d rotary positions on the CPU, in the worker that makes the batch.

    The model would compute them on the GPU, waiting for it several times. A weightless twin
    of the model (meta device) does the same arithmetic; None where a model has no such
    positions.
    """

    def __init__(self, model: Any) -> None:
        self.kind = type(model.model)
        self.config = model.config
        self.twin: Any = None

    def __call__(self, ids: Tensor, types: Tensor, grids: Tensor | None) -> Tensor | None:
        """Return positions [3, rows, length] int64."""
        if grids is None or not hasattr(self.kind, "get_rope_index"):
            return None
        if self.twin is None:
            with torch.device("meta"):
                self.twin = self.kind(self.config)
        positions: Tensor
        positions, _ = self.twin.get_rope_index(ids, image_grid_thw=grids, mm_token_type_ids=types)
        return positions


def collate_chat(
    rows: list[Row], pad_id: int, image_token_id: int, positions: RopePositions | None = None
) -> dict[str, Tensor]:
    """Return a batch: prompts and answers padded on the right, loss on the answers only.

    Rows end in their answer, attention is causal: what follows on the right cannot be seen,
    so no attention mask is needed. Lengths are rounded up, so that few shapes occur.
    """
    longest = max(len(prompt.input_ids) + len(answer) for prompt, answer in rows)
    shape = (len(rows), padded_length(longest, 1 << 30))
    ids = torch.full(shape, pad_id, dtype=torch.long)
    labels = torch.full(shape, IGNORED, dtype=torch.long)
    for row, (prompt, answer) in enumerate(rows):
        start, end = len(prompt.input_ids), len(prompt.input_ids) + len(answer)
        ids[row, :end] = torch.tensor([*prompt.input_ids, *answer])
        labels[row, start:end] = torch.tensor(answer)
    images = join_images([prompt for prompt, _ in rows])
    types = token_types(ids, image_token_id)
    batch = {
        "input_ids": ids,
        "labels": labels,
        "mm_token_type_ids": types,
        "answer_index": answer_positions(shift_left(labels)),
        **images,
    }
    placed = positions(ids, types, images.get("image_grid_thw")) if positions else None
    return batch if placed is None else {**batch, "position_ids": placed}
