"""Before a long run: what LoRA reaches, what labels lose, whether it fits, a self-check."""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from manifold_ocr.config import EvaluateConfig
from manifold_ocr.errors import UserError
from manifold_ocr.metrics.score import evaluation, score_rows
from manifold_ocr.models.base import Audit, RunSpec
from manifold_ocr.models.device import local_device, make_deterministic, moved
from manifold_ocr.models.family import TrainingFamily, family_for
from manifold_ocr.records import Prediction, Sample
from manifold_ocr.training.batches import chosen_plan
from manifold_ocr.training.locking import rows_per_step
from manifold_ocr.training.memory import (
    GIB,
    estimate_rows,
    estimated_families,
    longest_batch,
    probe,
    unpacked_on_meta,
    usable_memory,
)


@dataclass(frozen=True)
class Coverage:
    """Linear layers and convolutions by part and name ending: adapted, or left as they are.

    `trained` parameters of `total` are optimized.
    """

    hit: dict[str, int]
    missed: dict[str, int]
    trained: int = 0
    total: int = 0

    def lines(self) -> list[str]:
        """Return the report, one line per kind of layer."""
        share = 100 * self.trained / max(1, self.total)
        what = f"LoRA reaches {sum(self.hit.values())} layers" if self.hit else "full fine-tuning"
        rows = [
            f"{what}: {self.trained:,} of {self.total:,} parameters are trained ({share:.2f} %)"
        ]
        if not self.hit:
            return rows
        rows += [f"  adapted  {count:4d}  {name}" for name, count in self.hit.items()]
        return rows + [f"  missed   {count:4d}  {name}" for name, count in self.missed.items()]


def adapted_coverage(model: nn.Module) -> Coverage:
    """Return what LoRA reaches in a model that PEFT has wrapped, and what is trained.

    The model may live on the meta device: no weights are needed.
    """
    matched = {n for n, module in model.named_modules() if hasattr(module, "lora_A")}
    return _count(model, matched)


def _count(model: nn.Module, matched: set[str]) -> Coverage:
    hit: Counter[str] = Counter()
    missed: Counter[str] = Counter()
    for name, module in model.named_modules():
        if name in matched:
            hit[_kind(name)] += 1
        elif _is_layer(module) and ".lora_" not in name and not name.endswith(".base_layer"):
            missed[_kind(name)] += 1
    sizes = [(p.numel(), p.requires_grad) for p in model.parameters()]
    trained = sum(size for size, free in sizes if free)
    return Coverage(
        dict(sorted(hit.items())),
        dict(sorted(missed.items())),
        trained,
        sum(size for size, _ in sizes),
    )


def _is_layer(module: Any) -> bool:
    linear = hasattr(module, "in_features") and hasattr(module, "weight")
    return linear or (isinstance(module, nn.Conv2d) and module.groups == 1)


def _kind(name: str) -> str:
    """Return a module name without its layer numbers: model.layers.*.self_attn.q_proj."""
    name = name.rpartition("base_model.model.")[2].removeprefix("recognizer.")
    return ".".join("*" if part.isdigit() else part for part in name.split("."))


@dataclass(frozen=True)
class Preflight:
    """What was found: bytes needed for a step of `micro_batch` rows, and bytes there are.

    `available` is None without a GPU. `fitting` is the largest micro-batch that the estimate
    says fits (0: not even one row). `measured` is the peak of two probe steps on the GPU.
    """

    coverage: Coverage
    micro_batch: int
    estimate: int
    available: int | None
    fitting: int | None
    measured: int | None = None

    def lines(self) -> list[str]:
        """Return the report."""
        rows = self.coverage.lines()
        rows.append(
            f"memory: {self.estimate / GIB:.2f} GiB estimated for a micro-batch of "
            f"{self.micro_batch} (the longest rows)"
        )
        if self.measured is not None:
            rows.append(f"memory: {self.measured / GIB:.2f} GiB measured over two probe steps")
        if self.available is None:
            return [*rows, "memory: no GPU answers, so nothing to compare the estimate with"]
        headroom = self.available - max(self.estimate, self.measured or 0)
        rows.append(
            f"memory: {self.available / GIB:.2f} GiB usable, headroom {headroom / GIB:.2f} GiB; "
            f"the largest micro-batch that fits is about {self.fitting}"
        )
        return rows

    def require_fit(self) -> None:
        """Refuse a run that would end for want of memory.

        Raises:
            UserError: the step needs more than there is; names settings that fit.
        """
        if self.available is None or max(self.estimate, self.measured or 0) <= self.available:
            return
        if self.fitting:
            remedy = (
                f"set train.train_batch_size={self.fitting} (and raise "
                "train.gradient_accumulation to keep the batch of a step)"
            )
        else:
            remedy = (
                "set train.gradient_checkpointing=true, a smaller model.max_pixels or "
                "train.max_target_length, or model.quantization=4bit (chat models)"
            )
        raise UserError(
            f"train: a micro-batch of {self.micro_batch} needs {self.estimate / GIB:.1f} GiB, "
            f"{self.available / GIB:.1f} GiB are usable: {remedy}"
        )


def run_preflight(
    family: TrainingFamily, samples: Sequence[Sample], settings: RunSpec, micro_batch: int
) -> Preflight:
    """Build the model, look at its LoRA layers, estimate the longest batch's memory.

    Raises:
        UserError: LoRA targets that match nothing, or labels that cannot be collated.
    """
    model = unpacked_on_meta(family, settings)
    coverage = adapted_coverage(model)
    needs = [
        estimate_rows(model, longest_batch(family, samples, rows), settings)
        for rows in sorted({1, micro_batch})
    ]
    del model
    estimate, available = needs[-1], usable_memory()
    fitting = None
    if available is not None:
        growth = (needs[-1] - needs[0]) / max(micro_batch - 1, 1) or needs[0]
        fitting = max(0, int((available - needs[0]) // growth) + 1) if needs[0] <= available else 0
    measured = None
    if available is not None and estimate <= available:
        measured = probe(family.build(), longest_batch(family, samples, micro_batch))
    return Preflight(coverage, micro_batch, estimate, available, fitting, measured)


def dry_run(
    settings: RunSpec, family_name: str, rows: Sequence[Sample], total: int
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


def label_lines(audit: Audit, settings: RunSpec) -> Iterator[str]:
    """Yield how many labels can be learned, what is lost of the others, and why."""
    counts = dict(audit.counts)
    rows, kept = counts.pop("rows"), counts.pop("kept")
    reasons = [f"{value:,} {name.replace('_', ' ')}" for name, value in counts.items() if value]
    yield f"labels: {kept:,} of {rows:,} rows can be learned" + "".join(f"; {r}" for r in reasons)
    for name, found in audit.details.items():
        if found:
            values = found.items() if isinstance(found, dict) else [("", found)]
            listed = ", ".join(f"{key} {value}".strip() for key, value in list(values)[:12])
            yield f"  {name.replace('_', ' ')}: {listed}{' ...' if len(found) > 12 else ''}"
    if counts.get("truncated_rows"):
        limit = settings.train.max_target_length
        yield f"  cut at train.max_target_length={limit}: raise it, or leave long rows out"


def step_line(settings: RunSpec, rows: int) -> str:
    """Return how long the run is, in steps (rows that cannot be learned make it shorter)."""
    config = settings.train
    rehearsal = round(rows * config.rehearsal / (1.0 - config.rehearsal))
    step = rows_per_step(config)
    epoch = math.ceil((rows + rehearsal) / step)
    steps = config.max_steps or math.ceil(epoch * config.epochs)
    added = f" and {rehearsal:,} of rehearsal" if rehearsal else ""
    return f"steps: {rows:,} rows{added}, {step} per step: {epoch:,} per epoch, {steps:,} in all"


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
    settings: RunSpec,
    max_steps: int,
    tell: Callable[[str], object] = lambda line: None,
) -> Overfit:
    """Train on all `samples` at once until they are read without error, or for `max_steps`.

    `tell` is given a line at each look at what is read.

    Raises:
        UserError: none of the samples can be learned.
    """
    make_deterministic(settings.train.seed, settings.train.threads)
    audit = family.audit(samples)
    kept = list(audit.kept)
    if len(kept) < len(samples):
        tell(
            f"overfit: {len(samples) - len(kept)} of {len(samples)} rows cannot be learned: "
            + ", ".join(f"{row.source} ({row.reason})" for row in audit.rejected)
        )
    if not kept:
        raise UserError("overfit: none of these rows can be learned; look at their labels")
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
