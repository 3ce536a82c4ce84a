"""The loader that gives a step's rows: workers that go on over epochs, copies beside the step."""

import itertools
import os
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.data import DataLoader, Dataset
from torch.utils.data._utils.pin_memory import pin_memory

from manifold_ocr.models.family import TrainingData
from manifold_ocr.models.kernels.cross_entropy import IGNORED
from manifold_ocr.models.prefetch import leave_signals_to_main
from manifold_ocr.training.batches import StepSampler


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


SMALL = 1 << 16  # bytes of a tensor that travels as an array


class _Packed:
    """A batch on its way from a worker, its small tensors as arrays; pinning gives it back.

    Each tensor would open a connection between the processes of its own: several a step, which
    for few rows take longer than the step.
    """

    def __init__(self, batch: dict[str, Any]) -> None:
        self.batch = batch
        self.small = [
            name
            for name, value in batch.items()
            if isinstance(value, torch.Tensor)
            and value.dtype != torch.bfloat16  # unknown to arrays
            and value.numel() * value.element_size() < SMALL
        ]
        for name in self.small:
            batch[name] = batch[name].numpy()

    def pin_memory(self) -> dict[str, Any]:
        """Return the batch in pinned memory; torch's loader calls this in the main process."""
        for name in self.small:
            self.batch[name] = torch.from_numpy(self.batch[name])
        pinned: dict[str, Any] = pin_memory(self.batch)
        return pinned


def train_loader(
    rows: TrainingData,
    collate: Callable[[list[Any]], dict[str, Any]],
    sampler: StepSampler,
    *,
    workers: int,
    pinned: bool,
) -> DataLoader[tuple[int, Any]]:
    """Return the sampler's batches as the family collates them, the same for any `workers`.

    Each has `rows`, the numbers of its rows, and `tokens`, how many its labels hold, too;
    where the loss is a mean over tokens (`answer_index`), `counted` is how many it counts.
    """
    lengths = rows.lengths
    if workers:  # tokenizers would warn at each fork that its threads stay behind
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

    def numbered(items: list[tuple[int, Any]]) -> dict[str, Any] | _Packed:
        numbers = [number for number, _ in items]
        tokens = sum(lengths[number] for number in numbers)
        batch = collate([row for _, row in items])
        if "answer_index" in batch:
            batch["counted"] = int(batch["labels"].ne(IGNORED).sum())
        batch = {**batch, "rows": torch.tensor(numbers), "tokens": tokens}
        return _Packed(batch) if pinned and workers else batch

    return DataLoader(
        NumberedRows(rows),
        batch_sampler=sampler,
        collate_fn=numbered,
        num_workers=workers,
        pin_memory=pinned,
        persistent_workers=workers > 0,
        worker_init_fn=leave_signals_to_main,
    )


class _Epochs:
    """A batch sampler without an end: the epochs of `steps` one after another, as `dealt` out.

    `sizes` has the number of batches of each epoch whose end was reached.
    """

    def __init__(self, dealt: Any, steps: StepSampler) -> None:
        self.dealt, self.steps = dealt, steps
        self.sizes: dict[int, int] = {}

    def __iter__(self) -> Iterator[list[int]]:
        """Yield batches from the sampler's epoch on."""
        for epoch in itertools.count(self.steps.epoch):
            self.steps.set_epoch(epoch)
            size = 0
            for batch in self.dealt:
                yield batch
                size += 1
            self.sizes[epoch] = size

    def __len__(self) -> int:
        """Return the number of batches of an epoch."""
        return len(self.dealt)


class _ContinuousLoader(DataLoader[Any]):
    """A loader whose workers begin an epoch while the one before it still trains.

    torch's own hands out the first rows of an epoch once the last batch was taken: all
    processes then wait until one worker has made one batch.
    """

    epochs: _Epochs
    due: int | None
    beside: "CopyBeside | None"

    @property
    def _index_sampler(self) -> Any:
        return self.epochs

    def __iter__(self) -> Any:
        """Yield the batches of the sampler's epoch, whatever was begun of the next."""
        epoch = self.epochs.steps.epoch
        if self._iterator is None:
            self._iterator = self._get_iterator()
        elif epoch != self.due:
            self._iterator._reset(self)
        self.due = epoch + 1
        given = 0
        while self.epochs.sizes.get(epoch) != given:
            batch = next(self._iterator)
            yield self.beside(batch) if self.beside else batch
            given += 1


def continue_epochs(loader: Any, steps: StepSampler) -> None:
    """Make a loader's workers go on from epoch to epoch, in place; one without workers stays."""
    if loader.num_workers:
        loader.epochs, loader.due = _Epochs(loader.batch_sampler, steps), None
        copies = loader.pin_memory and torch.cuda.is_available()
        loader.beside = CopyBeside() if copies else None
        loader.__class__ = _ContinuousLoader


class CopyBeside:
    """Copies pinned batches to the GPU on a stream of its own, beside the step that it computes."""

    def __init__(self) -> None:
        self.stream = torch.cuda.Stream()

    def __call__(self, batch: Any) -> Any:
        """Return the batch on the GPU; what is computed from now on waits for the copy."""
        with torch.cuda.stream(self.stream):
            placed = tree_map(self._placed, batch)
        current = torch.cuda.current_stream()
        current.wait_stream(self.stream)
        for tensor in tree_leaves(placed):
            if isinstance(tensor, torch.Tensor):
                tensor.record_stream(current)  # its memory is not given away before
        return placed

    def _placed(self, value: Any) -> Any:
        return value.to("cuda", non_blocking=True) if isinstance(value, torch.Tensor) else value


def end_workers(prepared: Any) -> None:
    """End the processes of a loader that accelerate prepared (or of none).

    The interpreter's exit would wait 5 s for each of them.
    """
    iterator = getattr(getattr(prepared, "base_dataloader", None), "_iterator", None)
    if iterator is not None:
        iterator._shutdown_workers()
