"""Batches of training rows, prepared in worker processes: named, in order, ended with the run."""

from collections.abc import Callable
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from manifold_ocr.models.prefetch import leave_signals_to_main
from manifold_ocr.training.batches import StepSampler
from manifold_ocr.training.family import TrainingData


class NumberedRows(Dataset[tuple[int, Any]]):
    """Training rows with their number, so that a batch can be named."""

    def __init__(self, rows: TrainingData) -> None:
        self.rows = rows

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[int, Any]:
        """Return (number, row)."""
        return index, self.rows[index]


def train_loader(
    rows: TrainingData,
    collate: Callable[[list[Any]], dict[str, Any]],
    sampler: StepSampler,
    *,
    workers: int,
    pin_memory: bool,
) -> DataLoader[tuple[int, Any]]:
    """Return the sampler's batches as the family collates them, the same for any `workers`.

    Each has `rows`, the numbers of its rows, and `tokens`, how many its labels hold, too.
    """
    lengths = rows.lengths

    def numbered(items: list[tuple[int, Any]]) -> dict[str, Any]:
        numbers = [number for number, _ in items]
        tokens = sum(lengths[number] for number in numbers)
        batch = collate([row for _, row in items])
        return {**batch, "rows": torch.tensor(numbers), "tokens": tokens}

    return DataLoader(
        NumberedRows(rows),
        batch_sampler=sampler,
        collate_fn=numbered,
        num_workers=workers,
        pin_memory=pin_memory,
        persistent_workers=workers > 0,
        worker_init_fn=leave_signals_to_main,
    )


def end_workers(prepared: Any) -> None:
    """End the processes of a loader that accelerate prepared (or of none).

    The interpreter's exit would wait 5 s for each of them.
    """
    iterator = getattr(getattr(prepared, "base_dataloader", None), "_iterator", None)
    if iterator is not None:
        iterator._shutdown_workers()
