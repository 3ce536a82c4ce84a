"""Micro-batches of one process, such that the batch of an optimiser step never changes."""

from collections.abc import Iterator, Sequence

from manifold_ocr.training.buckets import bucket_batches


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
