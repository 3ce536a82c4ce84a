"""What a run would do, said before it; and the self-check that a few samples can be learnt."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch

from manifold_ocr.config import EvaluateConfig
from manifold_ocr.errors import UserError
from manifold_ocr.metrics.score import evaluation, score_rows
from manifold_ocr.models.base import Audit, TrainingSettings
from manifold_ocr.models.device import local_device, make_deterministic, moved
from manifold_ocr.models.family import TrainingFamily, family_for
from manifold_ocr.records import Prediction, Sample
from manifold_ocr.training.batch_plan import chosen_plan, wished_plan
from manifold_ocr.training.preflight import adapted_coverage, estimated_families, run_preflight


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


@dataclass(frozen=True)
class Overfit:
    """What was reached on `rows` rows: error rate before and after `steps` steps, last loss."""

    rows: int

    before: float
    after: float
    steps: int
    loss: float


def overfit(
    family: TrainingFamily,
    samples: Sequence[Sample],
    settings: TrainingSettings,
    max_steps: int,
    tell: Callable[[str], object] = lambda line: None,
) -> Overfit:
    """Train on all `samples` at once until they are read without error, or for `max_steps`.

    `tell` is given a line at each look at what is read.

    Raises:
        UserError: none of the samples can be learnt.
    """
    make_deterministic(settings.train.seed, settings.train.threads)
    audit = family.audit(samples)
    kept = list(audit.kept)
    if len(kept) < len(samples):
        tell(
            f"overfit: {len(samples) - len(kept)} of {len(samples)} rows cannot be learnt: "
            + ", ".join(f"{row.source} ({row.reason})" for row in audit.rejected)
        )
    if not kept:
        raise UserError("overfit: none of these rows can be learnt; look at their labels")
    model = family.build()
    device = torch.device(local_device())
    model.to(device)
    data = family.data(kept)
    batch = family.collate([data[i] for i in range(len(data))])
    placed = {key: moved(value, device) for key, value in batch.items()}
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=settings.train.learning_rate)
    before = after = _error_rate(family, model, kept)
    loss, step = 0.0, 0
    for step in range(1, max_steps + 1):
        model.train()
        value = model(**placed)["loss"]
        value.backward()
        torch.nn.utils.clip_grad_norm_(trained, settings.train.max_grad_norm or 1e9)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        loss = float(value.detach())
        if step % 25 == 0 or step == max_steps:
            after = _error_rate(family, model, kept)
            tell(f"overfit: step {step}/{max_steps}  loss {loss:.4f}  CER {after:.3f}")
            if after == 0.0:
                break
    return Overfit(len(kept), before, after, step, loss)


def _error_rate(family: TrainingFamily, model: torch.nn.Module, samples: list[Sample]) -> float:
    model.eval()
    found = family.read(model, samples)
    predictions = [
        Prediction(id=sample.id, text=result.text)
        for sample, result in zip(samples, found, strict=True)
    ]
    config = EvaluateConfig(bootstrap_samples=2)
    rows = score_rows(samples, predictions, config)
    return float(evaluation(rows, rows, config)["adapter"]["overall"]["cer"])
