"""Batches of similar length: less padding, the same batches for the same seed and epoch."""

import random
from collections.abc import Iterator, Sequence

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
