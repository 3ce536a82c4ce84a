"""Before a long run: what LoRA reaches, what labels lose, and whether the longest batch fits."""

import os
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from manifold_ocr.errors import UserError
from manifold_ocr.models.base import TrainingSettings
from manifold_ocr.models.device import local_device, moved
from manifold_ocr.models.family import TrainingData, TrainingFamily, family_for
from manifold_ocr.models.lora import base_model
from manifold_ocr.records import Sample
from manifold_ocr.training.memory import estimate_step, language_batch, quantised_savings


@dataclass(frozen=True)
class Coverage:
    """Linear layers and convolutions by part and name ending: adapted, or left as they are.

    `trained` parameters of `total` are optimised.
    """

    hit: dict[str, int]
    missed: dict[str, int]
    trained: int = 0
    total: int = 0

    def lines(self) -> list[str]:
        """Return the report, one line a kind of layer."""
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
    name = name.rpartition("base_model.model.")[2].removeprefix("recogniser.")
    return ".".join("*" if part.isdigit() else part for part in name.split("."))


GIB = 1024**3
KEPT_FREE = 0.08  # share of the card left to the driver, the context and fragmentation


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


def estimated_families() -> tuple[str, ...]:
    """Return the families whose step the estimate can follow."""
    return ("encoder_decoder", "chat_vlm")


def usable_memory() -> int | None:
    """Return the bytes a run may use on its GPU, or None without one.

    Of several processes each takes its card's whole memory for granted, so that all of them
    come to the same answer; a share set for the process bounds it either way.
    """
    local = int(os.environ.get("LOCAL_RANK", "0"))
    if not torch.cuda.is_available():
        return None
    free, total = torch.cuda.mem_get_info(local)
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1
    bound = int(total * torch.cuda.get_per_process_memory_fraction(local))
    return int(min(total if several else free, bound) * (1 - KEPT_FREE))


def longest_batch(family: TrainingFamily, samples: Sequence[Sample], rows: int) -> dict[str, Any]:
    """Return the batch of the `rows` longest training rows (repeated where there are fewer)."""
    return longest_of(family, family.data(samples), rows)


def longest_of(family: TrainingFamily, data: TrainingData, rows: int) -> dict[str, Any]:
    """Return the batch of the `rows` longest rows of `data` (repeated where there are fewer)."""
    lengths = data.lengths
    order = sorted(range(len(data)), key=lambda i: -lengths[i])[:rows]
    order = (order * rows)[:rows]
    return family.collate([data[i] for i in order])


def run_preflight(
    family: TrainingFamily, samples: Sequence[Sample], settings: TrainingSettings, micro_batch: int
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


def unpacked_on_meta(family: TrainingFamily, settings: TrainingSettings) -> nn.Module:
    """Return the model to train without storage and without quantisation."""
    plain = replace(settings.model, quantization="none")
    return on_meta(family_for(family.name, replace(settings, model=plain)).build())


def step_memory(
    family: TrainingFamily, samples: Sequence[Sample], settings: TrainingSettings
) -> Callable[[int], float]:
    """Return a function: rows of a micro-batch -> estimated peak bytes of its step.

    Two estimates on the longest rows give it; a step's memory grows by the same for each row.
    """
    model = unpacked_on_meta(family, settings)
    one, two = (
        estimate_rows(model, longest_batch(family, samples, rows), settings) for rows in (1, 2)
    )
    return lambda rows: one + (rows - 1) * (two - one)


def estimate_rows(model: nn.Module, batch: dict[str, Any], settings: TrainingSettings) -> int:
    """Return the estimated peak bytes of a step on `batch`; `model` must be on the meta device."""
    meta = {k: v.to("meta") for k, v in batch.items() if isinstance(v, Tensor)}
    base = base_model(model)
    step = getattr(base, "training_step", None)
    if step is None:
        return estimate_step(model, meta).total
    total = estimate_step(model, language_batch(model, meta), step.language_loss).total
    bits = {"4bit": 4, "8bit": 8}.get(settings.model.quantization)
    return total - quantised_savings(base.model.language_model, bits) if bits else total


def on_meta(model: nn.Module) -> nn.Module:
    """Return the model without storage, in place; tied weights stay tied."""
    model.to("meta")
    base = base_model(model)
    if hasattr(base, "tie_weights"):
        base.tie_weights()
    return model


def probe(
    model: nn.Module,
    batch: dict[str, Any],
    context: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> int:
    """Return the peak of two training steps on the GPU, in bytes; the gradients are dropped.

    The model is moved there and stays. Steps that can be captured are: the longest batch's
    graph comes first, and those of shorter batches find room in its memory. `context` is
    what a step's forward runs in, such as autocast.
    """
    device = torch.device(local_device())
    model.to(device)
    placed = {name: moved(value, device) for name, value in batch.items()}
    torch.cuda.reset_peak_memory_stats()
    generator = torch.cuda.get_rng_state()
    model.train()
    for _ in range(2):
        with context():
            loss = model(**placed)["loss"]
        loss.backward()
        model.zero_grad(set_to_none=True)
    torch.cuda.synchronize()
    torch.cuda.set_rng_state(generator)  # dropout in the probe must not shift the run's
    return torch.cuda.max_memory_reserved()
