"""`train.overfit_check`: a run that cannot learn a few rows by heart is not begun."""

from pathlib import Path

import pytest

from manifold_ocr.config import LoraConfig, ModelConfig, TrainConfig
from manifold_ocr.errors import UserError
from manifold_ocr.models.base import RunSpec
from manifold_ocr.training import fit, run

pytestmark = pytest.mark.torch


def test_a_setup_that_learns_nothing_is_refused(
    tmp_path: Path, tiny_ctc: Path, line_samples: tuple, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MANIFOLD_OCR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(fit, "OVERFIT_STEPS", 2)
    image_root, samples = line_samples
    settings = RunSpec(
        model=ModelConfig(id="tiny"),
        lora=LoraConfig(rank=4),
        train=TrainConfig(overfit_check=True, learning_rate=1e-9, threads=1, epochs=1.0),
        base=tiny_ctc,
        image_root=image_root,
    )
    rows = {"train": samples, "val": samples[:2]}
    with pytest.raises(UserError, match="5 rows were not learned by heart"):
        run.train(settings, rows, tmp_path / "adapter", tmp_path / "metrics")
    assert not (tmp_path / "adapter").exists()
