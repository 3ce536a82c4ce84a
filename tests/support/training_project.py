"""A working directory in which a tiny training run is started as often as requested."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from manifold_ocr.config import LoraConfig, ModelConfig, TrainConfig
from manifold_ocr.files import sha256_tree
from manifold_ocr.models.base import RunSpec
from manifold_ocr.records import Sample


@dataclass(frozen=True)
class Project:
    """`rows` is what is trained on, its first `val_rows` what is validated on."""

    root: Path
    base: Path
    image_root: Path
    rows: Sequence[Sample]
    val_rows: int
    rank: int = 4
    alpha: int = 16
    knobs: dict[str, Any] = field(default_factory=dict)

    def settings(self, rank: int | None = None, **knobs: Any) -> RunSpec:
        return RunSpec(
            model=ModelConfig(id="tiny"),
            lora=LoraConfig(rank=self.rank if rank is None else rank, alpha=self.alpha),
            train=TrainConfig(**{"threads": 1, "rehearsal": 0.0, **self.knobs, **knobs}),
            base=self.base,
            image_root=self.image_root,
        )

    def train(self, rank: int | None = None, rows: int = 1 << 30, **knobs: Any) -> dict[str, Any]:
        from manifold_ocr.training import run

        chosen = {"train": self.rows[:rows], "val": self.rows[: min(rows, self.val_rows)]}
        settings = self.settings(rank, **knobs)
        return run.train(settings, chosen, self.root / "adapter", self.root / "metrics")

    def hashes(self) -> tuple[str, str]:
        return sha256_tree(self.root / "adapter"), sha256_tree(self.root / "metrics")

    def runs(self) -> list[Path]:
        return sorted((self.root / "output/training_runs").iterdir())

    def checkpoints(self) -> list[Path]:
        return sorted((self.root / "cache/training").glob("*/checkpoints/checkpoint-*"))


def start_project(
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    base: Path,
    lines: tuple[Path, Sequence[Sample]],
    **fixed: Any,
) -> Project:
    """Make `root` the working directory, with a cache of its own, and return its project."""
    root.mkdir()
    monkeypatch.chdir(root)
    monkeypatch.setenv("MANIFOLD_OCR_CACHE", str(root / "cache"))
    monkeypatch.setenv("MANIFOLD_OCR_RUN_NAME", "tiny")
    monkeypatch.delenv("RESUME_FROM", raising=False)
    return Project(root, base, *lines, **fixed)
