"""How the rows of an optimiser step are cut into micro-batches, so that each fits the GPU."""

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from manifold_ocr.config import TrainConfig
from manifold_ocr.errors import UserError
from manifold_ocr.files import read_json, write_json
from manifold_ocr.models.base import TrainingSettings
from manifold_ocr.models.family import TrainingFamily, family_for
from manifold_ocr.records import Sample
from manifold_ocr.training.preflight import GIB, estimated_families, step_memory, usable_memory

AUTOMATIC_BATCH = 16  # rows of a step for each unit of gradient_accumulation
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
        """Return the next plan that needs less memory, for the same rows a step."""
        if self.spared:
            return replace(self, spared=False)
        smaller = self.micro // 2 if self.micro % 2 == 0 else 1
        return BatchPlan(smaller, self.accumulation * (self.micro // smaller))


def wished_plan(config: TrainConfig) -> BatchPlan:
    """Return what params ask for; train_batch_size 0 leaves the micro-batch to `chosen_plan`."""
    return BatchPlan(config.train_batch_size or AUTOMATIC_BATCH, config.gradient_accumulation)


def planned(
    family: TrainingFamily, rows: Sequence[Sample], settings: TrainingSettings, record: Path
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


def chosen_plan(
    family: TrainingFamily, rows: Sequence[Sample], settings: TrainingSettings
) -> BatchPlan:
    """Return the largest micro-batch, at the rows a step that params ask for, that fits the GPU.

    The rows of a step are the same for every plan, and the loss is their mean, so the choice
    changes speed and memory, not what is learnt. Without a GPU, and for the ctc family
    (small, and its widths vary too much to foresee), it is what params ask for.

    Raises:
        UserError: one row does not fit.
    """
    wished, available = wished_plan(settings.train), usable_memory()
    if available is None or family.name not in estimated_families():
        return wished
    total = wished.micro * wished.accumulation
    spared = BatchPlan(total, 1, spared=True)
    if settings.train.gradient_checkpointing:
        whole = planned_settings(spared, settings)
        need = step_memory(family_for(family.name, whole), rows, whole)
        if captured_memory(need, total) <= available:
            print(
                f"train: micro-batch {total} x 1 a step without gradient checkpointing, which it "
                f"does not need: {captured_memory(need, total) / GIB:.2f} GiB estimated for its "
                f"longest rows, {available / GIB:.2f} GiB usable"
            )
            return spared
    need = step_memory(family, rows, settings)
    plan = fitting_plan(wished, need, available, graphs=not settings.train.gradient_checkpointing)
    print(
        f"train: micro-batch {plan.micro} x {plan.accumulation} a step"
        + (f" (asked for: {wished.micro} x {wished.accumulation})" if plan != wished else "")
        + f"; {need(plan.micro) / GIB:.2f} GiB estimated for its longest rows, "
        f"{available / GIB:.2f} GiB usable"
    )
    return plan


def planned_settings(plan: BatchPlan, settings: TrainingSettings) -> TrainingSettings:
    """Return the settings to build the model with: those asked for, less what is spared."""
    if not plan.spared:
        return settings
    return replace(settings, train=replace(settings.train, gradient_checkpointing=False))


def captured_memory(need: Callable[[int], float], rows: int) -> float:
    """Return the bytes of a captured step of `rows`, where an eager one takes `need(rows)`."""
    fixed = 2 * need(1) - need(2)  # what does not grow with rows: weights, optimiser
    return fixed + GRAPHED * (need(rows) - fixed)


def keep_plan(plan: BatchPlan, record: Path) -> None:
    """Write the plan down where `planned` finds it; the main process alone writes."""
    if int(os.environ.get("RANK", "0")) == 0:
        write_json(record, asdict(plan))


def fitting_plan(
    wished: BatchPlan, need: Callable[[int], float], available: int, *, graphs: bool
) -> BatchPlan:
    """Return the plan of the largest micro-batch whose step of `need(rows)` bytes fits.

    Micro-batches divide the rows of a step. With `graphs` a captured step must fit too,
    unless not even one row's does: then steps are run eagerly.

    Raises:
        UserError: one row does not fit; names what to lower.
    """
    total = wished.micro * wished.accumulation
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
