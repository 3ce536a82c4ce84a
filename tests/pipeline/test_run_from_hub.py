"""A run whose model and benchmark come from a hub: download, manifest, train, evaluate."""

import importlib
import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import hub_server
import pytest
import yaml
from published import write_published
from tiny_models import text_image

pytestmark = pytest.mark.torch
MODEL = "microsoft/trocr-base-printed"
FOX = "ucaslcl/Fox_benchmark_data"
PAGES = {"en": ["the quick brown fox", "total 12.50"], "cn": ["the lazy dog"]}
ROOT = Path(__file__).resolve().parents[2]
SMALL = {
    "download": {"corpora": ["synthetic", "fox"]},
    "model": {"id": MODEL, "revision": hub_server.COMMIT},
    "augment": {"variants": 0},
    "evaluate": {"generation_max_length": 4, "bootstrap_samples": 20},
    "train": {
        "max_steps": 2, "train_batch_size": 4, "rehearsal": 0.0, "threads": 1,
        "generation_max_length": 4, "max_val_samples": 4,
    },
}  # fmt: skip


def fox_zip() -> bytes:
    """Fox's archive: page pictures, and one annotation file a language."""
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        for language, texts in PAGES.items():
            entries = []
            for number, text in enumerate(texts, 1):
                name = f"{language}_{number}.png"
                page = io.BytesIO()
                text_image(text, (200, 260)).save(page, "PNG")
                where = f"focus_benchmark_test/{language}_pdf_png/{name}"
                archive.writestr(where, page.getvalue())
                turns = [{"from": "human", "value": "OCR"}, {"from": "gpt", "value": text}]
                entries.append({"image": name, "conversations": turns})
            where = f"focus_benchmark_test/{language}_page_ocr.json"
            archive.writestr(where, json.dumps(entries))
    return written.getvalue()


def small_params() -> dict[str, Any]:
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    for section, values in SMALL.items():
        params[section].update(values)
    synthetic = params["corpora"]["synthetic"]
    synthetic |= {"train_lines": 4, "val_lines": 2, "test_lines": 2, "subsets": ["receipts"]}
    return params


def fetch(hub: str, stage: str, *arguments: str) -> None:
    """Run a stage in a process of its own: the hub's client takes its address when imported."""
    command = [sys.executable, "-m", f"manifold_ocr.stages.{stage}", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "HF_ENDPOINT": hub}
    environment["HF_HUB_DISABLE_XET"] = "1"
    done = subprocess.run(command, env=environment, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def run(stage: str, *arguments: str) -> None:
    module = importlib.import_module(f"manifold_ocr.stages.{stage}")
    before, sys.argv = sys.argv, [stage, *arguments]
    try:
        module.main()
    finally:
        sys.argv = before


def test_a_published_trocr_and_fox_from_the_hub_are_trained_and_evaluated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = write_published(tmp_path / "checkpoint", "trocr-base-printed")
    project = tmp_path / "project"
    project.mkdir()
    (project / "params.yaml").write_text(yaml.safe_dump(small_params()))
    monkeypatch.chdir(project)
    for name in ("MANIFOLD_OCR_CACHE", "HF_TOKEN", "RESUME_FROM"):
        monkeypatch.delenv(name, raising=False)
    with hub_server.hub() as (address, state):
        state.repos = {
            f"models/{MODEL}": {p.name: p.read_bytes() for p in checkpoint.iterdir()},
            f"datasets/{FOX}": {"focus_benchmark_test.zip": fox_zip(), "README.md": b"Fox"},
        }
        fetch(address, "download", "fox")
        fetch(address, "download", "--base")
    run("download", "synthetic")
    base = project / "data/base/microsoft--trocr-base-printed"
    assert (base / "merges.txt").is_file() and (base / "model.safetensors").is_file()
    for stage in ("manifest", "augment", "train", "evaluate"):
        run(stage)
    lines = Path("output/predictions/adapter.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    fox = [row for row in rows if "pdf_png" in row["id"]]
    assert len(fox) == sum(len(texts) for texts in PAGES.values())
    report = json.loads(Path("metrics/evaluate.json").read_text())
    assert set(report["adapter"]["by_corpus"]) == {"synthetic", "fox"}
    adapter = json.loads(Path("output/adapter/adapter_config.json").read_text())
    assert adapter["base_model_name_or_path"] == MODEL
    assert adapter["revision"] == hub_server.COMMIT
