"""`manifold-ocr train --dry-run` and `--overfit`: on the rows of the run, leaving no output."""

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from tiny_models import write_trocr
from typer.testing import CliRunner

from manifold_ocr.cli.main import build_app
from manifold_ocr.records import write_rows

pytestmark = pytest.mark.torch
ROOT = Path(__file__).parents[2]
Command = Callable[..., list[str]]


@pytest.fixture(params=["ctc", "encoder_decoder"])
def command(
    request: pytest.FixtureRequest,
    tiny_ctc: Path,
    line_samples: tuple,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Command:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MANIFOLD_OCR_CACHE", str(tmp_path / "cache"))
    base = tiny_ctc if request.param == "ctc" else write_trocr(tmp_path / "base")
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["model"]["id"] = str(base)
    params["train"] |= {"max_target_length": 8, "generation_max_length": 8, "threads": 1}
    params["train"] |= {"include_languages": ["en"], "train_batch_size": 4, "epochs": 3.0}
    Path("params.yaml").write_text(yaml.safe_dump(params))
    images, rows = line_samples
    shutil.copytree(images, "data/raw")
    chinese = dataclasses.replace(rows[0], id="zh", language="zh")
    tables = [dataclasses.replace(rows[0], id="table", task="table")]
    others = tables if request.param == "ctc" else []  # the one of the two that learns text alone
    Path("data/augmented").mkdir()
    write_rows(Path("data/augmented/train.jsonl"), [chinese, *others, *rows])

    def run(*arguments: str) -> list[str]:
        done = CliRunner().invoke(build_app(), ["train", *arguments], catch_exceptions=False)
        assert not Path("output").exists()
        lines = done.stdout.splitlines()
        if others:
            told = "train: training rows of tasks that family ctc cannot learn: table 1"
            assert lines.pop(0) == told
        return [*lines, f"exit {done.exit_code}"]

    return run


def test_a_dry_run_reports_the_rows_of_the_run(command: Command) -> None:
    lines = command("--dry-run", "--samples", "5")
    assert lines[0] == "dry run: 5 of 8 training rows; nothing is trained"
    assert lines[1].startswith("labels: 5 of 5 rows can be learned")
    # 8 rows and a fifth of all of rehearsal: 10 rows, 4 a step
    assert "steps: 8 rows and 2 of rehearsal, 4 per step: 3 per epoch, 9 in all" in lines
    assert any(line.startswith("  adapted ") for line in lines)
    assert any(line.startswith("  missed ") for line in lines)
    assert any("parameters are trained" in line for line in lines)
    assert lines[-1] == "exit 0"


def test_what_is_not_learned_by_heart_ends_with_an_error(command: Command) -> None:
    lines = command("--overfit", "2", "--steps", "1")
    assert lines[0].startswith("overfit: step 1/1  loss ")
    assert lines[1].startswith("overfit: 2 rows, CER ")
    assert "raise train.learning_rate" in lines[2]
    assert lines[-1] == "exit 1"
