"""Micro-batches of one process, such that the batch of an optimiser step never changes."""

import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from manifold_ocr.models.family import TrainingData
from manifold_ocr.models.prefetch import leave_signals_to_main

WINDOW = 64  # batches sorted together; larger saves little padding and mixes lengths less


def bucket_batches(
    lengths: Sequence[int], batch_size: int, *, seed: int, epoch: int, drop_last: bool = False
) -> list[list[int]]:
    """Return index batches that cover every row once, rows of similar length together.

    Rows are shuffled, cut into windows of 64 batches, sorted by length inside a window and
    cut into batches, whose order is shuffled again: length says nothing about when a row is
    seen. The result is a function of the arguments alone.
    """
    shuffler = random.Random(f"{seed}:{epoch}")
    order = list(range(len(lengths)))
    shuffler.shuffle(order)
    batches: list[list[int]] = []
    for start in range(0, len(order), WINDOW * batch_size):
        window = sorted(order[start : start + WINDOW * batch_size], key=lambda i: (lengths[i], i))
        batches += [window[i : i + batch_size] for i in range(0, len(window), batch_size)]
    if drop_last:
        batches = [batch for batch in batches if len(batch) == batch_size]
    shuffler.shuffle(batches)
    return batches


class BucketSampler:
    """A batch sampler over `bucket_batches`; `set_epoch` reshuffles, as torch's samplers do."""

    def __init__(self, lengths: Sequence[int], batch_size: int, *, seed: int) -> None:
        self.lengths = lengths
        self.batch_size = batch_size
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order the next iteration gives."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[list[int]]:
        """Yield the epoch's batches."""
        yield from bucket_batches(self.lengths, self.batch_size, seed=self.seed, epoch=self.epoch)

    def __len__(self) -> int:
        """Return the number of batches of an epoch."""
        return (len(self.lengths) + self.batch_size - 1) // self.batch_size


class StepSampler:
    """A batch sampler: each optimiser step's rows, cut into `accumulation` micro-batches.

    Rows of one step are chosen for micro-batch times accumulation, so halving the one and
    doubling the other (on a smaller card, or when memory ran out) trains on the same rows
    at each step. The step with fewer rows comes last.
    """

    def __init__(
        self, lengths: Sequence[int], micro_batch: int, accumulation: int, *, seed: int
    ) -> None:
        self.lengths = lengths
        self.batch_size = micro_batch
        self.drop_last = False
        self.accumulation = accumulation
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order the next iteration gives."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[list[int]]:
        """Yield the epoch's micro-batches."""
        whole = self.batch_size * self.accumulation
        steps = bucket_batches(self.lengths, whole, seed=self.seed, epoch=self.epoch)
        for step in sorted(steps, key=lambda rows: len(rows) < whole):
            for start in range(0, len(step), self.batch_size):
                yield step[start : start + self.batch_size]

    def __len__(self) -> int:
        """Return the number of micro-batches of an epoch."""
        return (len(self.lengths) + self.batch_size - 1) // self.batch_size


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
