"""A step's rows: how many at a time fit the GPU, and which they are."""

import os
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from manifold_ocr.config import TrainConfig
from manifold_ocr.errors import UserError
from manifold_ocr.files import read_json, write_json
from manifold_ocr.models.base import RunSpec
from manifold_ocr.models.family import TrainingFamily, family_for
from manifold_ocr.records import Sample
from manifold_ocr.training.locking import AUTOMATIC_BATCH, rows_per_step, world_size
from manifold_ocr.training.memory import GIB, estimated_families, step_memory, usable_memory

GRAPHED = 1.8  # memory of captured steps over that of eager ones, activations alone (measured)


@dataclass(frozen=True)
class BatchPlan:
    """`micro` rows at a time, `accumulation` times a step; their product is what was asked for.

    `spared` leaves out a gradient checkpointing that was asked for: it saves memory, costs
    time and changes no gradient, so a step that fits without does without.
    """

    micro: int
    accumulation: int
    spared: bool = False

    def halved(self) -> "BatchPlan":
        """Return the next plan that needs less memory, for the same rows per step."""
        if self.spared:
            return replace(self, spared=False)
        smaller = self.micro // 2 if self.micro % 2 == 0 else 1
        return BatchPlan(smaller, self.accumulation * (self.micro // smaller))


def requested_plan(config: TrainConfig, processes: int = 1) -> BatchPlan:
    """Return each process's part of what params request: the rows per step stay the same.

    Raises:
        UserError: the rows of a step cannot be shared equally.
    """
    total, largest = rows_per_step(config), config.train_batch_size or AUTOMATIC_BATCH
    if total % processes:
        raise UserError(
            f"train.train_batch_size x train.gradient_accumulation = {total} rows per step cannot "
            f"be shared by {processes} processes; make them a multiple of {processes}"
        )
    own = total // processes
    micro = next(size for size in range(min(own, largest), 0, -1) if own % size == 0)
    return BatchPlan(micro, own // micro)


def planned(
    family: TrainingFamily, rows: Sequence[Sample], settings: RunSpec, record: Path
) -> BatchPlan:
    """Return the plan that the run was begun with (`record`), or else `chosen_plan`.

    So a resumed run computes exactly what it did, whatever else is on the GPU by now.

    Raises:
        UserError: one row does not fit.
    """
    if record.is_file():
        kept = read_json(record)
        return BatchPlan(kept["micro"], kept["accumulation"], kept.get("spared", False))
    return chosen_plan(family, rows, settings)


def chosen_plan(family: TrainingFamily, rows: Sequence[Sample], settings: RunSpec) -> BatchPlan:
    """Return the largest micro-batch, at the rows per step that params ask for, that fits the GPU.

    The rows of a step are the same for every plan, and the loss is their mean, so the choice
    changes speed and memory, not what is learned. Without a GPU, and for the ctc family
    (small, and its widths vary too much to foresee), it is what params ask for.

    Raises:
        UserError: one row does not fit.
    """
    requested = requested_plan(settings.train, world_size())
    available = usable_memory()
    if available is None or family.name not in estimated_families():
        return requested
    total = requested.micro * requested.accumulation
    spared = BatchPlan(total, 1, spared=True)
    if settings.train.gradient_checkpointing:
        whole = planned_settings(spared, settings)
        need = step_memory(family_for(family.name, whole), rows, whole)
        if captured_memory(need, total) <= available:
            print(
                f"train: micro-batch {total} x 1 per step without gradient checkpointing, which it "
                f"does not need: {captured_memory(need, total) / GIB:.2f} GiB estimated for its "
                f"longest rows, {available / GIB:.2f} GiB usable"
            )
            return spared
    need = step_memory(family, rows, settings)
    plan = fitting_plan(
        requested, need, available, graphs=not settings.train.gradient_checkpointing
    )
    print(
        f"train: micro-batch {plan.micro} x {plan.accumulation} per step"
        + (
            f" (asked for: {requested.micro} x {requested.accumulation})"
            if plan != requested
            else ""
        )
        + f"; {need(plan.micro) / GIB:.2f} GiB estimated for its longest rows, "
        f"{available / GIB:.2f} GiB usable"
    )
    return plan


def planned_settings(plan: BatchPlan, settings: RunSpec) -> RunSpec:
    """Return the settings to build the model with: those asked for, less what is spared."""
    if not plan.spared:
        return settings
    return replace(settings, train=replace(settings.train, gradient_checkpointing=False))


def captured_memory(need: Callable[[int], float], rows: int) -> float:
    """Return the bytes of a captured step of `rows`, where an eager one takes `need(rows)`."""
    fixed = 2 * need(1) - need(2)  # what does not grow with rows: weights, optimizer
    return fixed + GRAPHED * (need(rows) - fixed)


def keep_plan(plan: BatchPlan, record: Path) -> None:
    """Write the plan down where `planned` finds it; the main process alone writes."""
    if int(os.environ.get("RANK", "0")) == 0:
        write_json(record, asdict(plan))


def fitting_plan(
    requested: BatchPlan, need: Callable[[int], float], available: int, *, graphs: bool
) -> BatchPlan:
    """Return the plan of the largest micro-batch whose step of `need(rows)` bytes fits.

    Micro-batches divide the rows of a step. With `graphs` a captured step must fit too,
    unless not even one row's does: then steps are run eagerly.

    Raises:
        UserError: one row does not fit; names what to lower.
    """
    total = requested.micro * requested.accumulation
    sizes = [size for size in range(total, 0, -1) if total % size == 0]
    for captured in (True, False) if graphs else (False,):
        for size in sizes:
            if (captured_memory(need, size) if captured else need(size)) <= available:
                return BatchPlan(size, total // size)
    raise UserError(
        f"train: one row needs {need(1) / GIB:.1f} GiB, {available / GIB:.1f} GiB are usable: set "
        "train.gradient_checkpointing=true, a smaller model.max_pixels or "
        "train.max_target_length, or model.quantization=4bit (chat models)"
    )


WINDOW = 64  # batches sorted together; larger saves little padding and mixes lengths less


def bucket_batches(
    lengths: Sequence[int],
    batch_size: int,
    *,
    seed: int,
    epoch: int,
    drop_last: bool = False,
    window: int = WINDOW,
) -> list[list[int]]:
    """Return index batches that cover every row once, rows of similar length together.

    Rows are shuffled, cut into windows of `window` batches, sorted by length inside a window and
    cut into batches, whose order is shuffled again: length says nothing about when a row is
    seen. In wide windows rows of one length stay shuffled: in the order of the manifest they would
    be of one document, and the same batches in each epoch. The result is a function of the
    arguments alone.
    """
    shuffler = random.Random(f"{seed}:{epoch}")
    order = list(range(len(lengths)))
    shuffler.shuffle(order)
    batches: list[list[int]] = []
    for start in range(0, len(order), window * batch_size):
        rows = order[start : start + window * batch_size]
        rows.sort(key=lambda i: (lengths[i], i if window <= WINDOW else 0))
        batches += [rows[i : i + batch_size] for i in range(0, len(rows), batch_size)]
    if drop_last:
        batches = [batch for batch in batches if len(batch) == batch_size]
    shuffler.shuffle(batches)
    return batches


class StepSampler:
    """A batch sampler: each optimizer step's rows, cut into `accumulation` micro-batches.

    Rows of one step are chosen for micro-batch times accumulation, so halving the one and
    doubling the other (on a smaller card, or when memory ran out) trains on the same rows
    at each step. The step with fewer rows comes last.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        micro_batch: int,
        accumulation: int,
        *,
        seed: int,
        window: int = WINDOW,
    ) -> None:
        self.lengths = lengths
        self.window = window
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
        steps = bucket_batches(
            self.lengths, whole, seed=self.seed, epoch=self.epoch, window=self.window
        )
        for step in sorted(steps, key=lambda rows: len(rows) < whole):
            for start in range(0, len(step), self.batch_size):
                yield step[start : start + self.batch_size]

    def __len__(self) -> int:
        """Return the number of micro-batches of an epoch."""
        return (len(self.lengths) + self.batch_size - 1) // self.batch_size
