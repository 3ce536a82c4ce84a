"""The self-check "overfit a few samples": a set-up that cannot learn five cannot learn any."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from manifold_ocr.errors import UserError
from manifold_ocr.records import Prediction, Sample
from manifold_ocr.scoring import EvaluateConfig, evaluation, score_rows
from manifold_ocr.training.determinism import make_deterministic
from manifold_ocr.training.family import TrainingFamily
from manifold_ocr.training.hardware import local_device, moved
from manifold_ocr.training.settings import TrainingSettings


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
