"""A training run as one value: what it trains, from where, and where its work is kept."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from manifold_ocr.records import Sample
from manifold_ocr.training.guard import StopRequest
from manifold_ocr.training.run_folder import RunFolder
from manifold_ocr.training.settings import TrainingSettings


@dataclass(frozen=True)
class RunHome:
    """Where a run's work is kept: output/cache/training/<fingerprint>, for any workspace."""

    path: Path

    @property
    def checkpoints(self) -> Path:
        """Return the folder of checkpoints."""
        return self.path / "checkpoints"

    @property
    def result(self) -> Path:
        """Return the folder of a finished run: adapter/, metrics/ and state.json."""
        return self.path / "result"

    @property
    def finished(self) -> bool:
        """Return whether the run has ended with a result (it appears whole or not at all)."""
        return (self.result / "state.json").is_file()


@dataclass(frozen=True, kw_only=True)
class Run:
    """`rows` are those to train on, to validate on (val) and of rehearsal.

    `parts` decide its fingerprint; `checkpoint` is where it goes on from, or None.
    """

    settings: TrainingSettings
    family: str
    rows: Mapping[str, Sequence[Sample]]
    parts: Mapping[str, Any]
    home: RunHome
    folder: RunFolder
    checkpoint: Path | None
    stop: StopRequest
