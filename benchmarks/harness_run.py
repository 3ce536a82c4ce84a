"""The training stage itself on GPUs: a whole run, killed with -9 and resumed, in each precision.

    python benchmarks/harness_run.py --out harness.json            # one GPU
    python benchmarks/harness_run.py --gpus 2 --out two.json       # torchrun (DDP)
    python benchmarks/harness_run.py --readable --recipes fp16 "fp16 sums" --no-kill

With --readable the pictures show their text, of few lines, so that loss and CER fall: for curves
beside each other.

TrOCR-base shapes with random weights and a tokenizer of its own, LoRA rank 8, lines of text
drawn to PNG files. Each run is a process of its own that calls what `dvc repro train` calls,
bounded to 12 GiB. Printed: rows and tokens a second of the steady part (the second half of
the log), memory, GPU load, and how far the adapter of a killed and resumed run is from that
of an unbroken one.
"""

import argparse
import itertools
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

import shapes
from manifold_ocr.config import LoraConfig, ModelConfig, TrainConfig
from manifold_ocr.models.base import RunSpec
from manifold_ocr.records import Sample

LETTERS = "abcdefghijklmnopqrstuvwxyz"
PLAIN = {"precision": "bf16", "batch": 64, "checkpointing": False}
RECIPES: dict[str, dict[str, Any]] = {
    "bf16": PLAIN,
    "fp16": {**PLAIN, "precision": "fp16"},
    "fp16 sums": {**PLAIN, "precision": "fp16", "fp16_accumulation": True},
    "8bit": {**PLAIN, "precision": "fp16", "quantization": "8bit"},
    "4bit": {**PLAIN, "quantization": "4bit"},
    "card": {"precision": "fp16", "batch": 1, "accumulation": 8, "checkpointing": True},
}


def write_checkpoint(folder: Path, size: str) -> None:
    """A checkpoint of TrOCR shapes whose tokenizer knows pairs of letters."""
    torch.manual_seed(0)
    model = shapes.trocr(size, "cpu", torch.float32)
    model.save_pretrained(folder)
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    pairs = [a + b for a in LETTERS for b in LETTERS]
    vocabulary = {name: i for i, name in enumerate([*special, " ", *LETTERS, *pairs])}
    if size == "tiny":
        vocabulary = {name: i for name, i in vocabulary.items() if i < 500}
    tokenizer = Tokenizer(models.BPE(vocabulary, [(p[0], p[1]) for p in pairs if p in vocabulary]))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "isolated")
    tokenizer.decoder = decoders.Fuse()
    names = dict(zip(("bos_token", "pad_token", "eos_token", "unk_token"), special, strict=True))
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names).save_pretrained(folder)
    side = 64 if size == "tiny" else 384
    settings = {
        "image_processor_type": "ViTImageProcessor",
        "size": {"height": side, "width": side},
        "resample": 2,
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(settings), encoding="utf-8")


def drawn_rows(folder: Path, count: int) -> list[Sample]:
    """Rows of 12 to 90 letters over 256 line images (the pictures are not what is measured)."""
    paths = shapes.image_files(folder, "line", 256)
    chooser = random.Random(5)
    rows = []
    for number in range(count):
        words = ["".join(chooser.choices(LETTERS, k=8)) for _ in range(chooser.randrange(2, 11))]
        rows.append(
            Sample(
                id=str(number),
                document=str(number),
                corpus="bench",
                subset="all",
                image=paths[number % len(paths)].name,
                text=" ".join(words),
            )
        )
    return rows


def readable_rows(folder: Path, count: int, lines: int = 128) -> list[Sample]:
    """Rows over `lines` pictures of three letters and a word, which are their text."""
    folder.mkdir(parents=True, exist_ok=True)
    chooser = random.Random(9)
    drawn = []
    for number in range(lines):
        text = " ".join("".join(chooser.choices(LETTERS, k=k)) for k in (3, 6))
        image = shapes.Image.new("RGB", (400, 64), "white")
        shapes.ImageDraw.Draw(image).text((8, 8), text, fill="black", font_size=40)
        image.save(folder / f"readable{number}.png")
        drawn.append((f"readable{number}.png", text))
    return [
        Sample(id=str(n), document=str(n), corpus="bench", subset="all", image=name, text=text)
        for n, (name, text) in zip(range(count), itertools.cycle(drawn), strict=False)
    ]


def settings_of(args: argparse.Namespace, root: Path) -> RunSpec:
    """The params sections of a recipe."""
    recipe = RECIPES[args.recipe]
    config = TrainConfig(
        max_steps=args.steps,
        seed=args.seed,
        train_batch_size=recipe["batch"],
        gradient_accumulation=recipe.get("accumulation", 1),
        gradient_checkpointing=recipe["checkpointing"],
        learning_rate=1e-3 if args.readable else 1e-4,
        rehearsal=0.0,
        max_target_length=64,
        generation_max_length=16 if args.readable else 8,
        eval_batch_size=64,
        eval_steps=args.steps // (6 if args.readable else 3),
        save_steps=args.steps // (6 if args.readable else 3),
        logging_steps=10,
        dataloader_workers=args.workers,
    )
    lora = LoraConfig(rank=8, alpha=16, dropout=0.05)
    return RunSpec(
        model=ModelConfig(
            id="bench",
            precision=recipe["precision"],
            quantization=recipe.get("quantization", "none"),
            fp16_accumulation=recipe.get("fp16_accumulation", False),
        ),
        lora=LoraConfig(rank=32, alpha=64) if args.readable else lora,
        train=config,
        base=root / "base",
        image_root=root / "images",
    )


def worker(args: argparse.Namespace) -> None:
    """What the stage does, in this process."""
    from manifold_ocr.training import run

    local = int(os.environ.get("LOCAL_RANK", "0"))
    if torch.cuda.is_available():
        total = torch.cuda.get_device_properties(local).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, 12 * shapes.GIB / total), local)
    root = Path(args.root)
    rows = (readable_rows if args.readable else drawn_rows)(root / "images", args.rows)
    chosen = {"train": rows, "val": rows[:64]}
    run.train(settings_of(args, root), chosen, Path("adapter"), Path("metrics"))


def command(args: argparse.Namespace, recipe: str, root: Path) -> list[str]:
    """The command line of one run."""
    start = [sys.executable]
    if args.gpus > 1:
        start += ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={args.gpus}"]
    knobs = ["--steps", str(args.steps), "--rows", str(args.rows), "--workers", str(args.workers)]
    knobs += ["--seed", str(args.seed)]
    knobs += ["--readable"] if args.readable else []
    return [*start, __file__, "--worker", "--recipe", recipe, "--root", str(root), *knobs]


def run(args: argparse.Namespace, recipe: str, root: Path, home: Path, kill: bool) -> None:
    """Run a recipe in `home`; `kill` ends it once with SIGKILL after its first checkpoint."""
    home.mkdir()
    environment = {**os.environ, "MANIFOLD_OCR_CACHE": str(home / "cache")}
    line = command(args, recipe, root)
    if kill:
        process = subprocess.Popen(line, cwd=home, env=environment)
        while process.poll() is None and not list(
            home.glob("cache/training/*/checkpoints/*/complete.json")
        ):
            time.sleep(0.05)
        time.sleep(random.Random(recipe).uniform(0.1, 1.0))
        for member in [*psutil.Process(process.pid).children(recursive=True), process]:
            member.kill()  # torchrun's processes are not of its group
        print(f"{recipe}: killed with -9: status {process.wait()}", flush=True)
    subprocess.run(line, cwd=home, env=environment, check=True)


def steady(home: Path) -> dict[str, float]:
    """Means and medians of the second half of the run's speed log.

    Checkpoints and captures of new shapes fall into single entries: the median is the steady
    rate, the mean includes them.
    """
    folder = next(home.glob("output/training_runs/*/speed/plots/metrics"))
    found = {}
    for path in sorted(folder.glob("*.tsv")):
        lines = path.read_text(encoding="utf-8").splitlines()[1:]
        values = [float(row.split("\t")[1]) for row in lines[len(lines) // 2 :]]
        found[path.stem] = sum(values) / len(values)
        found[f"{path.stem}_median"] = statistics.median(values)
        if path.stem == "rows_per_second":
            print("rows/s of each log entry:", *(f"{value:.0f}" for value in values))
    return found


def curves(home: Path) -> dict[str, list[float]]:
    """The training loss and the validation CER of each entry of the run's log."""
    folder = next(home.glob("output/training_runs/*/dvclive/plots/metrics"))
    found = {}
    for name in ("train/loss", "eval/cer"):
        lines = (folder / f"{name}.tsv").read_text(encoding="utf-8").splitlines()[1:]
        found[name] = [round(float(row.split("\t")[1]), 4) for row in lines]
    return found


def difference(first: Path, second: Path) -> float:
    """Return |a - b| / |a| over all adapter weights."""
    a, b = (load_file(home / "adapter/adapter_model.safetensors") for home in (first, second))
    flat = [torch.cat([w[name].double().flatten() for name in sorted(a)]) for w in (a, b)]
    return float((flat[0] - flat[1]).norm() / flat[0].norm())


def main() -> None:
    """Run every recipe, once unbroken and once killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gpus", type=int, default=1)
    parser.add_argument("--size", default="base", choices=["tiny", "base"])
    parser.add_argument("--recipes", nargs="+", default=list(RECIPES))
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--rows", type=int, default=20000)
    parser.add_argument("--workers", type=int, default=14)
    parser.add_argument("--seed", type=int, default=20240601)
    parser.add_argument("--no-kill", action="store_true")
    parser.add_argument("--readable", action="store_true", help="pictures that show their text")
    parser.add_argument("--out", default="")
    parser.add_argument("--worker", action="store_true")
    parser.add_argument("--recipe", default="")
    parser.add_argument("--root", default="")
    args = parser.parse_args()
    if args.worker:
        worker(args)
        return
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_checkpoint(root / "base", args.size)
        for recipe in args.recipes:
            run(args, recipe, root, root / recipe, kill=False)
            results[recipe] = steady(root / recipe) | curves(root / recipe)
            if not args.no_kill:
                run(args, recipe, root, root / f"{recipe}-killed", kill=True)
                found = difference(root / recipe, root / f"{recipe}-killed")
                results[recipe]["difference_after_kill"] = found
            print(recipe, json.dumps(results[recipe]), flush=True)
    if args.out:
        Path(args.out).write_text(json.dumps(results, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
