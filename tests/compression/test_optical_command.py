"""`manifold-ocr optical`: a checkpoint reads a manifest; accuracy, F1 and compression in one go."""

import json
import re
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from manifold_ocr.cli.main import build_app
from manifold_ocr.errors import UserError
from manifold_ocr.records import write_rows

pytestmark = pytest.mark.torch


def test_a_tiny_model_reads_a_manifest_outside_any_project(
    tiny_ctc, line_samples, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    images, rows = line_samples
    shutil.copytree(images, "scans")
    write_rows(Path("rows.jsonl"), rows)
    words = ["optical", "--model", str(tiny_ctc), "--manifest", "rows.jsonl"]
    words += ["--image-root", "scans", "--out", "read"]
    done = CliRunner().invoke(build_app(), words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    line = done.stdout.splitlines()[-1]
    assert re.match(r"optical: 8 pages, token accuracy [\d.]+%, token F1 [\d.]+%", line), line
    assert "text tokens per vision token" in line and "-," not in line
    read = [json.loads(row) for row in Path("read/predictions.jsonl").read_text().splitlines()]
    assert sorted(row["id"] for row in read) == sorted(row.id for row in rows)
    values = json.loads(Path("read/report/metrics.json").read_text())["predictions"]["overall"]
    assert {"token_accuracy", "token_f1", "optical_ratio", "ned"} <= set(values)
    assert "# Compression check" in Path("read/report/report.md").read_text()
    assert not Path("params.yaml").exists()


def test_a_missing_image_or_manifest_is_named(tiny_ctc, line_samples, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["optical", "--model", str(tiny_ctc), "--manifest", "none.jsonl"]
    with pytest.raises(UserError, match=r"none\.jsonl"):
        CliRunner().invoke(build_app(), words, catch_exceptions=False)
