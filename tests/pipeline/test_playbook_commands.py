"""Every command and variable of docs/playbook.md, run with real DVC on tiny data.

One copy of the finished clone serves all tests, in their order.
"""

import json
import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest
import yaml
from drawn_lines import draw_line

pytestmark = [pytest.mark.pipeline, pytest.mark.xdist_group("pipeline"), pytest.mark.timeout(540)]

COMMAND = [sys.executable, "-m", "manifold_ocr.cli.main", "pipeline"]
SCRIPT = [sys.executable, "scripts/training/run_pipeline.py"]
VARIABLES = {
    "RUN_NAME": "first", "TRAIN_DATASETS": "synthetic mine=mine.jsonl:scans",
    "VAL_DATASETS": "held=held.jsonl:scans", "INCLUDE_LANGUAGES": "english,zh",
    "INCLUDE_SUBSETS": "receipts chinese letters", "PRECISION": "bf16",
    "METRIC_TOKENIZER": "whitespace", "OUTPUT_DIR": "copy", "HF_TOKEN": "hf_private",
}  # fmt: skip
FLAGS = (
    "--val-split 0.1 --epochs 4 --train-batch-size 8 --eval-batch-size 8 --gradient-accumulation 1 "
    "--learning-rate 1e-3 --weight-decay 0 --warmup-ratio 0.1 --gradient-checkpointing "
    "--lora-rank 2 --lora-alpha 4 --lora-dropout 0.1 --lora-target-modules auto "
    "--max-target-length 64 --generation-max-length 64 --logging-steps 1 --save-steps 2 "
    "--eval-steps 2 --seed 7 --max-train-samples 8 --max-val-samples 4 "
    "--metric-for-best-model wer --model-id pp-ocrv6-small"
)
SET = {
    "manifest.val_split": 0.1, "train.epochs": 4, "train.train_batch_size": 8,
    "train.eval_batch_size": 8, "train.gradient_accumulation": 1, "train.learning_rate": 0.001,
    "train.weight_decay": 0, "train.warmup": 0.1, "train.gradient_checkpointing": True,
    "lora.rank": 2, "lora.alpha": 4, "lora.dropout": 0.1, "lora.target_modules": "auto",
    "train.max_target_length": 64, "train.generation_max_length": 64, "train.logging_steps": 1,
    "train.save_steps": 2, "train.eval_steps": 2, "train.seed": 7, "train.max_train_samples": 8,
    "train.max_val_samples": 4, "train.metric_for_best_model": "wer",
    "model.id": "pp-ocrv6-small", "model.precision": "bf16",
    "train.include_languages": ["english", "zh"],
    "train.include_subsets": ["receipts", "chinese", "letters"],
    "manifest.train_corpora": ["synthetic", "mine"], "manifest.validation_corpora": ["held"],
    "evaluate.metric_tokenizer": "whitespace", "compress.metric_tokenizer": "whitespace",
}  # fmt: skip


@pytest.fixture(scope="module")
def clone(repro, tmp_path_factory):
    """A copy of the finished clone, with scans and manifests in places of their own."""
    finished, _ = repro
    root = tmp_path_factory.mktemp("playbook") / "clone"
    shutil.copytree(finished.root, root, symlinks=True)
    copy = type(finished)(root, {**finished.env, "PYTHONPATH": "src"})
    copy.run("git", "checkout", "-q", ".")
    (root / "scans").mkdir()
    for number in range(9):
        draw_line(f"line {number}").save(root / f"scans/{number}.png")
    for name, numbers in (("mine", range(6)), ("held", range(6, 9))):
        rows = [
            {"doc_id": f"{name}{n}", "text": f"line {n}", "image_path": f"{n}.png",
             "subset": "letters", "language": "en"} for n in numbers
        ]  # fmt: skip
        (root / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name in ("fox", "omnidocbench"):
        mounted = root / "data/benchmark_corpus" / name
        (mounted / "metadata").mkdir(parents=True)
        shutil.copytree(root / "scans", mounted / "raw")
        shutil.copy(root / "held.jsonl", mounted / "metadata/text_manifest.jsonl")
    yield copy
    shutil.rmtree(root.parent, ignore_errors=True)


def ran(printed):
    return re.findall(r"Running stage '([^']+)'", printed)


def equals(printed):
    """The `-S` options of the line that the command prints."""
    (line,) = [row for row in printed.splitlines() if row.startswith("pipeline: this equals")]
    words = shlex.split(line.split("dvc exp run ")[1])
    return [word for word in words if word != "-S"]


def test_all_runs_the_whole_pipeline_where_something_changed(clone):
    assert ran(clone.run(*COMMAND, "all").stdout) == []


def test_download_fetches_corpora_and_writes_manifests(clone):
    printed = clone.run(*COMMAND, "download", "--datasets", "fox", "omnidoc").stdout
    corpora = 'download.corpora=["synthetic", "fox", "omnidocbench"]'
    assert equals(printed) == [corpora, "+corpora.fox={}", "+corpora.omnidocbench={}"]
    stages = ["check_params", "download@fox", "download@omnidocbench", "manifest"]
    assert sorted(ran(printed)) == sorted(stages)
    test = (clone.root / "data/manifest/test.jsonl").read_text()
    assert '"corpus":"fox"' in test and '"corpus":"omnidocbench"' in test


def test_train_takes_every_flag_and_variable(clone):
    printed = clone.run(*SCRIPT, "train", *FLAGS.split(), env=VARIABLES).stdout
    assert {"download@mine", "download@held", "manifest", "augment", "train"} <= set(ran(printed))
    params = yaml.safe_load((clone.root / "params.yaml").read_text())
    for key, value in SET.items():
        section, name = key.split(".")
        assert params[section][name] == value, key
    written = {option.split("=")[0].lstrip("+") for option in equals(printed)}
    assert written >= {*SET, "download.corpora", "corpora.mine", "corpora.held"}
    (folder,) = (clone.root / "output/training_runs").glob("*_first")
    record = yaml.safe_load((folder / "run.yaml").read_text())
    kept = {line.split("=")[0] for line in record["overrides"]}
    assert {"train.epochs", "lora.rank", "train.seed", "manifest.val_split"} <= kept
    assert record["environment"]["HF_TOKEN"] == "(set)"
    adapter = "adapter_model.safetensors"
    copied, made = clone.root / "copy" / adapter, clone.root / "output/adapter" / adapter
    assert copied.read_bytes() == made.read_bytes()


def test_two_manifests_share_images_without_copies_and_the_token_is_written_nowhere(clone):
    mounted = clone.root / "data/benchmark_corpus"
    for name, numbers in (("mine", range(6)), ("held", range(6, 9))):
        images = sorted((mounted / name / "raw").iterdir())
        assert [path.name for path in images] == [f"{n}.png" for n in numbers]
        assert all(path.samefile(clone.root / "scans" / path.name) for path in images)
    for folder in ("output/training_runs", "metrics", "output/adapter"):
        for path in (clone.root / folder).rglob("*"):
            assert not path.is_file() or b"hf_private" not in path.read_bytes(), path


def test_resume_from_goes_on_from_that_checkpoint(clone):
    (folder,) = (clone.root / "output/training_runs").glob("*_first")
    before = (clone.root / "output/adapter/adapter_model.safetensors").read_bytes()
    names = sorted(p.name for p in (folder / "checkpoints").glob("checkpoint-*"))
    start = Path("output/training_runs") / folder.name / "checkpoints" / names[0]
    printed = clone.run(*COMMAND, "train", env={"RESUME_FROM": str(start)}).stdout
    assert ran(printed) == ["train"]
    assert re.search(rf"from {names[0]}\b", printed), printed
    assert (clone.root / "output/adapter/adapter_model.safetensors").read_bytes() == before


def test_prepare_notices_an_edited_manifest(clone):
    text = (clone.root / "mine.jsonl").read_text().replace("line 0", "line zero")
    (clone.root / "mine.jsonl").write_text(text)
    words = ["prepare", "--train-dataset", "synthetic", "mine=mine.jsonl:scans"]
    printed = clone.run(*COMMAND, *words).stdout
    assert {"download@mine", "manifest", "augment"} <= set(ran(printed))
    found = [(clone.root / f"data/manifest/{s}.jsonl").read_text() for s in ("train", "test")]
    assert "line zero" in "".join(found)


def test_an_unknown_flag_is_one_line_with_the_nearest_name(clone):
    done = clone.run(*COMMAND, "train", "--epoch", "3", check=False)
    assert done.returncode == 2
    assert done.stdout.strip() == "error: --epoch: unknown flag; did you mean '--epochs'?"
