"""What the presets need and give on cards of 8 to 24 GB: peak memory and rows per second.

    python benchmarks/recipes.py --recipes trocr-base,qwen2-vl-2b --cap-gib 8 12 --out DIR

Each recipe is built at its real shapes with random weights (no network), and trained for some
seconds with the values of its preset for the card, bounded to the card's memory. Rows are what
training reads: lines of about 40 tokens, pages as long as the preset's labels. Each recipe runs
in a process of its own with a time limit; what does not fit stays in the table.
"""

import argparse
import gc
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests/support")]
RECIPES = {  # preset -> the checkpoint of tests/support/published_configs, and what it reads
    "pp-ocrv6": ("", "line"),
    "trocr-small": ("trocr-small-printed", "line"),
    "trocr-base": ("trocr-base-printed", "line"),
    "trocr-large": ("trocr-large-printed", "line"),
    "donut": ("donut-base", "page"),
    "paddleocr-vl": ("paddleocr-vl", "page"),
    "glm-ocr": ("glm-ocr", "page"),
    "lighton-ocr-2": ("lighton-ocr-2", "page"),
    "qwen2-vl-2b": ("qwen2-vl-2b", "page"),
    "qwen3-vl-2b": ("qwen3-vl-2b", "page"),
    "qwen2.5-vl-3b": ("qwen2.5-vl-3b", "page"),
}
LINE_TOKENS = (24, 56)
CUDA_CONTEXT_GIB = 0.6  # of a card that the driver keeps: a cap leaves it out
WARM_UP = 10.0  # seconds at most, before steps are timed
COLUMNS = ("recipe", "card", "rows/s", "peak GiB", "micro-batch", "quantization", "note")


def settings_of(recipe: str, card: int, base: Path, images: Path) -> Any:
    """The RunSpec that the preset's values for the card give."""
    from manifold_ocr.cli.pipeline import preset_values, set_value
    from manifold_ocr.config import SECTIONS
    from manifold_ocr.errors import build
    from manifold_ocr.files import read_yaml
    from manifold_ocr.models.base import RunSpec

    params = read_yaml(ROOT / "params.yaml")
    for key, value in preset_values(ROOT / f"presets/{recipe}.yaml", params, card):
        set_value(params, key, value)
    model, lora, train = (build(SECTIONS[n], params[n], n) for n in ("model", "lora", "train"))
    return RunSpec(
        model=replace(model, id=str(base)), lora=lora, train=train, base=base, image_root=images
    )


def write_checkpoint(
    recipe: str, folder: Path, device: str, known: Path | None, *, tiny: bool
) -> Path:
    """Random weights of the real shapes (or tiny ones), or the embedded default's own (`known`)."""
    import torch
    from published import write_published, write_real_shapes, write_weights

    name = RECIPES[recipe][0]
    if not name:
        from manifold_ocr.models.ctc.import_ppocr import import_base

        if known is not None:
            return known
        import_base(folder / "base")
        return folder / "base"
    if tiny:
        return write_published(folder / "base", name)
    base = write_real_shapes(folder / "base", name)
    config = json.loads((base / "config.json").read_text())
    write_weights(base, config, device, torch.bfloat16 if device != "cpu" else torch.float32)
    gc.collect()
    if device != "cpu":
        torch.cuda.empty_cache()
    return base


def rows_of(recipe: str, longest: int, folder: Path, files: int = 48) -> list[Any]:
    """Samples with random labels over pictures of lines or of pages (1024 x 1448)."""
    import shapes
    from manifold_ocr.records import Sample

    kind = RECIPES[recipe][1]
    paths = shapes.image_files(folder, kind, files)
    chooser = random.Random(5)
    least, most = LINE_TOKENS if kind == "line" else (longest // 2, longest - 2)
    rows = []
    for number in range(max(files, 256)):
        path = paths[number % len(paths)]
        text = "".join(chooser.choices("abcdefghij 0123456789", k=chooser.randint(least, most)))
        size = shapes.Image.open(path).size
        rows.append(
            Sample(
                id=str(number), document=str(number), corpus="bench", subset="", language="en",
                text=text.strip() or "a", image=path.name, width=size[0], height=size[1],
            )
        )  # fmt: skip
    return rows


def run_card(recipe: str, card: int, base: Path, images: Path, args: Any) -> dict[str, Any]:
    """Train under the card's cap; halve the micro-batch when memory ends, as a run does."""
    import torch

    from manifold_ocr.models.family import family_for
    from manifold_ocr.models.registry import family_of
    from manifold_ocr.training.batches import chosen_plan, planned_settings

    settings = settings_of(recipe, card, base, images)
    found = {"quantization": settings.model.quantization}
    if torch.cuda.is_available():
        total = torch.cuda.get_device_properties(0).total_memory / 1024**3
        bound = (card * 1e9 / 1024**3 if args.decimal else card) - CUDA_CONTEXT_GIB
        torch.cuda.set_per_process_memory_fraction(min(1.0, bound / total))
    rows = rows_of(recipe, settings.train.max_target_length, images)
    name = family_of(base)
    if args.tiny:
        train = replace(settings.train, train_batch_size=2)
        settings = replace(settings, train=train)
    plan = chosen_plan(family_for(name, settings), rows, settings)
    while True:
        try:
            family = family_for(name, planned_settings(plan, settings))
            kept = family.audit(rows).kept
            return found | measured(family, kept, plan, args.seconds)
        except torch.OutOfMemoryError as error:
            reason = str(error).split(".")[0]
        gc.collect()
        torch.cuda.empty_cache()
        if plan.micro == 1 and not plan.spared:
            return found | {"note": f"does not fit: {reason}"}
        plan = plan.halved()


def measured(family: Any, rows: Any, plan: Any, seconds: float) -> dict[str, Any]:
    """Rows per second and peak memory of whole optimizer steps, data loading included."""
    import torch
    from torch.utils.data import DataLoader

    from manifold_ocr.training.batches import WINDOW, StepSampler

    torch.manual_seed(0)
    cuda = torch.cuda.is_available()
    device = "cuda" if cuda else "cpu"
    model = family.build()
    if not getattr(model, "is_quantized", False):
        model.to(device)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-5, fused=cuda)
    data = family.data(rows)
    workers = min(8, (os.cpu_count() or 2) - 1)
    window = getattr(data, "window", WINDOW)
    sampler = StepSampler(data.lengths, plan.micro, plan.accumulation, seed=0, window=window)
    loader = DataLoader(
        data, batch_sampler=sampler, collate_fn=family.collate, num_workers=workers,
        pin_memory=cuda,
    )  # fmt: skip

    def endless() -> Any:
        while True:
            yield from loader
            sampler.set_epoch(sampler.epoch + 1)

    batches = endless()

    def step() -> None:
        for _ in range(plan.accumulation):
            batch = moved(next(batches), device)
            (model(**batch)["loss"] / plan.accumulation).backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    start, steps, epoch = time.perf_counter(), 0, len(sampler) // plan.accumulation
    # workers start; kernels are planned and graphs captured for each shape of an epoch
    while (
        (spent := time.perf_counter() - start) < seconds / 2
        or steps < 2
        or (steps < epoch and spent < WARM_UP)
    ):
        step()
        steps += 1
    if cuda:
        torch.cuda.synchronize()
    start, steps = time.perf_counter(), 0
    while time.perf_counter() - start < seconds or not steps:
        step()
        steps += 1
    if cuda:
        torch.cuda.synchronize()
    elapsed = time.perf_counter() - start
    result = {
        "rows_per_s": steps * plan.micro * plan.accumulation / elapsed,
        "micro_batch": f"{plan.micro} x {plan.accumulation}",
        "trained_parameters": sum(p.numel() for p in trained),
    }
    if cuda:
        result["peak_gib"] = torch.cuda.max_memory_reserved() / 1024**3
        torch.cuda.reset_peak_memory_stats()
    return result


def moved(value: Any, device: str) -> Any:
    """A batch on the device."""
    import torch

    if isinstance(value, torch.Tensor):
        return value.to(device, non_blocking=True)
    if isinstance(value, dict):
        return {key: moved(part, device) for key, part in value.items()}
    return [moved(part, device) for part in value] if isinstance(value, list | tuple) else value


def child(args: argparse.Namespace) -> None:
    """Run one recipe for each card; print one JSON line a card, prefixed for the parent."""
    import torch
    import transformers

    device = "cuda" if torch.cuda.is_available() else "cpu"
    recipe = args.recipes
    with tempfile.TemporaryDirectory() as name:
        base = write_checkpoint(recipe, Path(name), device, args.base, tiny=args.tiny)
        for card in args.cap_gib:
            gc.collect()
            if device == "cuda":
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats()
            try:
                found = run_card(recipe, card, base, Path(name) / "images", args)
            except Exception as error:
                text = " ".join(f"{type(error).__name__}: {error}".split())
                found = {"note": f"failed: {text[:160]}"}
            found |= {"recipe": recipe, "card": card, "transformers": transformers.__version__}
            if device == "cuda":
                found["gpu"] = torch.cuda.get_device_name()
            print("ROW " + json.dumps(found), flush=True)


def table(results: list[dict[str, Any]]) -> str:
    """The rows so far as a Markdown table."""
    lines = [f"| {' | '.join(COLUMNS)} |", f"|{'---|' * len(COLUMNS)}"]
    for row in results:
        values = (
            row["recipe"], f"{row['card']} GB",
            f"{row['rows_per_s']:.1f}" if "rows_per_s" in row else "-",
            f"{row['peak_gib']:.2f}" if "peak_gib" in row else "-",
            row.get("micro_batch", "-"), row.get("quantization", "-"), row.get("note", ""),
        )  # fmt: skip
        lines.append(f"| {' | '.join(map(str, values))} |")
    return "\n".join(lines)


def keep(results: list[dict[str, Any]], out: Path | None) -> None:
    """Write what there is so far: recipes.json and recipes.md."""
    if out is None:
        return
    out.mkdir(parents=True, exist_ok=True)
    (out / "recipes.json").write_text(json.dumps(results, indent=2), encoding="utf-8")
    (out / "recipes.md").write_text(table(results) + "\n", encoding="utf-8")


def run_recipe(recipe: str, args: argparse.Namespace) -> list[dict[str, Any]]:
    """Run a recipe in its own process; cards that it did not reach are rows too."""
    cards = [str(card) for card in args.cap_gib]
    command = [sys.executable, __file__, "--child", "--recipes", recipe, "--cap-gib", *cards]
    command += ["--seconds", str(args.seconds), *(["--decimal"] if args.decimal else [])]
    command += ["--tiny"] if args.tiny else []
    command += ["--base", str(args.base)] if args.base else []
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    environment.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")
    note = ""
    with tempfile.TemporaryFile("w+") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env=environment)
        try:
            code = process.wait(args.limit)
            note = f"failed: exit status {code}" if code else ""
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            note = f"not reached within {args.limit:.0f} s"
        file.seek(0)
        printed = file.read()
    rows = [json.loads(line[4:]) for line in printed.splitlines() if line.startswith("ROW ")]
    if note:
        print(printed[-1500:], file=sys.stderr)
    reached = {row["card"] for row in rows}
    missing = [card for card in args.cap_gib if card not in reached]
    return [*rows, *({"recipe": recipe, "card": card, "note": note} for card in missing)]


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipes", default=",".join(RECIPES), help="presets, by commas")
    parser.add_argument("--cap-gib", type=int, nargs="+", default=[8, 12, 16, 24])
    parser.add_argument("--decimal", action="store_true", help="count a card in 10^9 bytes")
    parser.add_argument("--seconds", type=float, default=6.0, help="of steps, for each card")
    parser.add_argument("--limit", type=float, default=300.0, help="seconds for each recipe")
    parser.add_argument("--base", type=Path, help="of pp-ocrv6, where its wheel is not installed")
    parser.add_argument("--out", type=Path, help="folder for recipes.json and recipes.md")
    parser.add_argument("--tiny", action="store_true", help="tiny shapes, to try the script")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Run the recipes one after another; print the table as it grows."""
    args = arguments()
    if args.child:
        child(args)
        return
    results: list[dict[str, Any]] = []
    for recipe in args.recipes.split(","):
        if recipe not in RECIPES:
            raise SystemExit(f"--recipes: no recipe {recipe!r}; known: {', '.join(RECIPES)}")
        started = time.monotonic()
        results += run_recipe(recipe, args)
        keep(results, args.out)
        print(table(results[-len(args.cap_gib) :]), f"({time.monotonic() - started:.0f} s)")
        sys.stdout.flush()
    print("\n" + table(results))


if __name__ == "__main__":
    main()
