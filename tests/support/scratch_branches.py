"""A scratch repository with the files that a pull request's report reads, and no data."""

import contextlib
import os
import shutil
import subprocess
from pathlib import Path

import yaml

from manifold_ocr.config import EvaluateConfig
from manifold_ocr.files import write_json
from manifold_ocr.metrics import score
from manifold_ocr.metrics.paired import document_sums
from manifold_ocr.records import Prediction, Sample, manifest_sha256, write_rows

PROJECT = Path(__file__).resolve().parents[2]
CONFIG = EvaluateConfig(metric_tokenizer="whitespace", bootstrap_samples=50)
SAMPLES = [
    Sample(id=f"{subset}/{n}", document=f"{subset}{n}", corpus="synthetic", subset=subset,
           language="en", image=f"{n}.png", text=f"{subset} line number {n} of this small test")
    for subset in ("receipts", "printed") for n in range(8)
]  # fmt: skip
PIPELINE = """\
stages:
  prepare:
    cmd: mkdir -p data && cp source.txt data/rows.txt
    deps: [source.txt]
    outs: [data]
  train:
    cmd: mkdir -p output && cp data/rows.txt output/adapter
    params: [lora]
    deps: [data, code.py]
    outs: [output/adapter]
  evaluate:
    cmd: cp evaluate.source metrics/evaluate.json
    deps: [output/adapter, evaluate.source]
    metrics: [metrics/evaluate.json: {cache: false}]
"""
GIT = {
    "GIT_AUTHOR_NAME": "t", "GIT_AUTHOR_EMAIL": "t@example.org",
    "GIT_COMMITTER_NAME": "t", "GIT_COMMITTER_EMAIL": "t@example.org",
}  # fmt: skip


def git(root, *arguments):
    done = subprocess.run(["git", *arguments], cwd=root, env={**os.environ, **GIT}, check=True,
                          capture_output=True, text=True)  # fmt: skip
    return done.stdout.strip()


def commit(root, message):
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", message)


def read(errors):
    """Predictions whose first characters are wrong: `errors` by subset."""
    wrong = [(sample, errors.get(sample.subset, 0)) for sample in SAMPLES]
    return [Prediction(id=s.id, text="#" * count + s.text[count:]) for s, count in wrong]


def evaluation(adapter, base, test_sha256):
    """metrics/evaluate.json of two systems with so many errors per line and subset."""
    rows = {
        name: score.score_rows(SAMPLES, read(errors), CONFIG)
        for name, errors in (("adapter", adapter), ("base", base))
    }
    documents = {name: document_sums(found) for name, found in rows.items()}
    found = score.evaluation(rows["adapter"], rows["base"], CONFIG)
    return {**found, "documents": documents, "test_sha256": test_sha256}


def write_evaluation(root, adapter, base=None):
    value = evaluation(adapter, base or {"receipts": 4, "printed": 4}, manifest_sha256(root / TEST))
    for name in ("evaluate.source", "metrics/evaluate.json"):
        write_json(root / name, value)


TEST = "test.jsonl"  # beside the repository's own files, for scoring submissions again


def scratch(root):
    """A repository with one commit on `main`: the pipeline has run, its data is not here."""
    from dvc.repo import Repo

    (root / "metrics").mkdir(parents=True)
    git(root, "init", "-q", "-b", "main")
    params = yaml.safe_load((PROJECT / "params.yaml").read_text())
    params["evaluate"]["metric_tokenizer"] = "whitespace"
    params["evaluate"]["bootstrap_samples"] = 50
    (root / "params.yaml").write_text(yaml.safe_dump(params))
    (root / "dvc.yaml").write_text(PIPELINE)
    (root / "source.txt").write_text("rows\n")
    (root / "code.py").write_text("first\n")
    write_rows(root / TEST, SAMPLES)
    write_evaluation(root, {"receipts": 2, "printed": 3})
    curve = root / "metrics/train/plots/metrics/eval/cer.tsv"
    curve.parent.mkdir(parents=True)
    curve.write_text("step\tcer\n0\t0.2\n10\t0.1\n")
    with contextlib.chdir(root), Repo.init(".") as repo:
        repo.reproduce()
    (root / ".gitignore").write_text("/output\n/data\n")
    commit(root, "Run the pipeline")
    for name in ("data", "output", ".dvc/cache", ".dvc/tmp"):
        shutil.rmtree(root / name)
    return root


def rows_by_dvc(root):
    """Add a stage `manifest` that makes the test rows, as the project's does."""
    text = (root / "dvc.yaml").read_text()
    stage = "  manifest:\n    cmd: mkdir -p data/manifest && cp test.jsonl data/manifest/\n"
    (root / "dvc.yaml").write_text(text + stage)
