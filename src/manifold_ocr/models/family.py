"""What the training harness needs of a model family (`training.families` chooses one)."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from torch import nn

from manifold_ocr.models.base import Audit, Recognition, RunSpec
from manifold_ocr.records import Sample


class TrainingData(Protocol):
    """A map-style dataset whose rows are the same for any number of workers.

    `lengths` holds one cost per row (frames, label tokens): rows of similar length share a
    batch. A `window`, where a dataset has one, is how many batches are sorted together. Nothing
    in a row may be drawn at random from a global generator.
    """

    @property
    def lengths(self) -> Sequence[int]:
        """Return the cost of each row."""
        ...

    def __len__(self) -> int:
        """Return the number of rows."""
        ...

    def __getitem__(self, index: int) -> Any:
        """Return a row as `collate` takes it."""
        ...


class TrainingFamily(Protocol):
    """A model family as the harness trains it. One object serves one run.

    The harness calls `audit`, `build`, then `data` for the training rows, and trains; it
    calls `read` at each evaluation, `save` at each checkpoint and for the published result,
    `restore` on resume and to go back to the best checkpoint.
    """

    name: str

    def audit(self, samples: Sequence[Sample]) -> Audit:
        """Look at the rows before training; rows that cannot be learned are rejected."""
        ...

    def build(self, audit: Audit | None = None) -> nn.Module:
        """Return the model to train, on the CPU; torch is seeded before the call.

        `audit` is what another object of the family found of the same rows.

        `forward(**batch)` returns a mapping with the scalar `loss`. Only parameters with
        `requires_grad` are optimized. With lora.rank 0 it is a full fine-tuning.
        """
        ...

    def data(self, samples: Sequence[Sample], labels: Any = None) -> TrainingData:
        """Return the training rows of `samples`, in their order; `labels` are the audit's."""
        ...

    def collate(self, rows: list[Any]) -> dict[str, Any]:
        """Return the batch that `forward` takes."""
        ...

    def read(self, model: nn.Module, samples: Sequence[Sample]) -> Iterator[Recognition]:
        """Yield the text that `model` generates for each sample, in order (no teacher)."""
        ...

    def save(self, model: nn.Module, folder: Path) -> None:
        """Write adapter or checkpoint into the existing `folder`; equal weights, equal bytes."""
        ...

    def restore(self, model: nn.Module, folder: Path) -> None:
        """Load what `save` wrote into `model`, in place and exactly."""
        ...


def family_for(name: str, settings: RunSpec) -> TrainingFamily:
    """Return the training side of the family `name` (see `models.registry.FAMILIES`)."""
    builders: dict[str, Callable[[RunSpec], TrainingFamily]] = {
        "ctc": _ctc,
        "encoder_decoder": _encoder_decoder,
        "chat_vlm": _chat_vlm,
    }
    return builders[name](settings)


def _ctc(settings: RunSpec) -> TrainingFamily:
    from manifold_ocr.models.ctc.train import CtcTraining

    return CtcTraining(settings)


def _encoder_decoder(settings: RunSpec) -> TrainingFamily:
    from manifold_ocr.models.encoder_decoder.train import EncoderDecoderTraining

    return EncoderDecoderTraining(settings)


def _chat_vlm(settings: RunSpec) -> TrainingFamily:
    from manifold_ocr.models.chat_vlm.train import ChatVlmTraining

    return ChatVlmTraining(settings)
