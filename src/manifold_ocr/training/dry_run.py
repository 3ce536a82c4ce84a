"""What a run would do, said before it: labels, steps, LoRA's reach, memory. Trains nothing."""

import math
from collections.abc import Iterator, Sequence

from manifold_ocr.records import Sample
from manifold_ocr.training.batch_plan import chosen_plan, wished_plan
from manifold_ocr.training.coverage import adapted_coverage
from manifold_ocr.training.families import family_for
from manifold_ocr.training.preflight import estimated_families, run_preflight
from manifold_ocr.training.settings import Audit, TrainingSettings


def dry_run(
    settings: TrainingSettings, family_name: str, rows: Sequence[Sample], total: int
) -> Iterator[str]:
    """Yield the report line by line; `rows` are a sample of the run's `total` training rows.

    Raises:
        UserError: no row fits the GPU.
    """
    yield f"dry run: {len(rows):,} of {total:,} training rows; nothing is trained"
    family = family_for(family_name, settings)
    audit = family.audit(rows)
    yield from label_lines(audit, settings)
    if not audit.kept:
        return
    yield step_line(settings, total)
    if family_name not in estimated_families():
        yield from adapted_coverage(family.build()).lines()
        yield "memory: not estimated for this family, whose models are small"
        return
    plan = chosen_plan(family, audit.kept, settings)
    found = run_preflight(family, audit.kept, settings, plan.micro)
    yield from found.lines()
    found.require_fit()


def label_lines(audit: Audit, settings: TrainingSettings) -> Iterator[str]:
    """Yield how many labels can be learnt, what is lost of the others, and why."""
    counts = dict(audit.counts)
    rows, kept = counts.pop("rows"), counts.pop("kept")
    reasons = [f"{value:,} {name.replace('_', ' ')}" for name, value in counts.items() if value]
    yield f"labels: {kept:,} of {rows:,} rows can be learnt" + "".join(f"; {r}" for r in reasons)
    for name, found in audit.details.items():
        if found:
            values = found.items() if isinstance(found, dict) else [("", found)]
            listed = ", ".join(f"{key} {value}".strip() for key, value in list(values)[:12])
            yield f"  {name.replace('_', ' ')}: {listed}{' ...' if len(found) > 12 else ''}"
    if counts.get("truncated_rows"):
        limit = settings.train.max_target_length
        yield f"  cut at train.max_target_length={limit}: raise it, or leave long rows out"


def step_line(settings: TrainingSettings, rows: int) -> str:
    """Return how long the run is, in steps (rows that cannot be learnt make it shorter)."""
    config = settings.train
    rehearsal = round(rows * config.rehearsal / (1.0 - config.rehearsal))
    plan = wished_plan(config)
    step = plan.micro * plan.accumulation
    epoch = math.ceil((rows + rehearsal) / step)
    steps = config.max_steps or math.ceil(epoch * config.epochs)
    added = f" and {rehearsal:,} of rehearsal" if rehearsal else ""
    return f"steps: {rows:,} rows{added}, {step} a step: {epoch:,} an epoch, {steps:,} in all"
