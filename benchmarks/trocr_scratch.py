"""TrOCR-small's widths and depths from random weights: drawn lines first, then real receipts.

    python benchmarks/trocr_scratch.py --real FOLDER --work /tmp/scratch --out scratch.json

FOLDER holds receipts in the layout of ICDAR 2019 SROIE (img/, box/). Both trainings are the train
stage's own (`training.run.train`), the second from the first one's checkpoint; the validation
rows of both are lines of receipts that neither trains on, so both curves are of real lines. The
picture is 48 x 384 pixels in patches of 16 x 8 instead of 384 x 384, narrow lines are padded, and a
token is a character. Prints the curves, lines per second and the test receipts'
scores; weights stay below --work.
"""

import argparse
import json
import os
import random
import string
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from manifold_ocr.augment.ops import generator
from manifold_ocr.config import EvaluateConfig, LoraConfig, ModelConfig, TrainConfig
from manifold_ocr.data.readers.icdar import IcdarSroie
from manifold_ocr.data.rows import Splitter
from manifold_ocr.files import sha256_file, write_json
from manifold_ocr.metrics.score import score_rows, summarize
from manifold_ocr.models.base import RunSpec
from manifold_ocr.records import Prediction, RawRow, Sample
from manifold_ocr.resources import noted
from manifold_ocr.synthetic.degrade import degrade
from manifold_ocr.synthetic.fonts import PARTITION, Pen
from manifold_ocr.synthetic.layout import PageStyle, compose
from manifold_ocr.synthetic.rehearsal import english_line
from manifold_ocr.synthetic.texts.base import TextLine

HEIGHT, WIDTH, PATCH = 48, 384, (16, 8)
SHORT = 10  # characters of the lines of the first steps
LONGEST = 40  # characters of a line that is learned: longer ones are too narrow in the picture
SPECIALS = ("<s>", "<pad>", "</s>", "<unk>")
CHARACTERS = string.printable.strip() + " "
SIZES = {  # encoder and decoder: width, layers, heads
    "small": ((384, 12, 6), (256, 6, 8)),
    "tiny": ((64, 2, 2), (64, 2, 4)),
}


def write_checkpoint(folder: Path, size: str) -> Path:
    """Write random weights with tokenizer and image processor, as TrOCR is published."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import (
        PreTrainedTokenizerFast,
        TrOCRConfig,
        TrOCRForCausalLM,
        VisionEncoderDecoderModel,
        ViTConfig,
        ViTModel,
    )

    torch.manual_seed(0)
    words = {token: i for i, token in enumerate((*SPECIALS, *CHARACTERS))}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.decoder = decoders.Fuse()
    names = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)
    (width, layers, heads), (d_model, depth, several) = SIZES[size]
    encoder = ViTConfig(
        hidden_size=width, num_hidden_layers=layers, num_attention_heads=heads,
        intermediate_size=4 * width, image_size=(HEIGHT, WIDTH), patch_size=PATCH,
    )  # fmt: skip
    decoder = TrOCRConfig(
        vocab_size=len(words), d_model=d_model, decoder_layers=depth,
        decoder_attention_heads=several, decoder_ffn_dim=4 * d_model, activation_function="relu",
        scale_embedding=True, cross_attention_hidden_size=width, max_position_embeddings=128,
        dropout=0.0, pad_token_id=1, bos_token_id=0, eos_token_id=2, decoder_start_token_id=2,
    )  # fmt: skip
    model = VisionEncoderDecoderModel(
        encoder=ViTModel(encoder, add_pooling_layer=False), decoder=TrOCRForCausalLM(decoder)
    )
    model.config.decoder_start_token_id = model.config.eos_token_id = 2
    model.config.pad_token_id = 1
    model.save_pretrained(folder)
    fast.save_pretrained(folder)
    half = [0.5, 0.5, 0.5]
    size_of = {"height": HEIGHT, "width": WIDTH}
    facts: dict[str, Any] = {"image_processor_type": "ViTImageProcessor", "resample": 2}
    facts |= {"size": size_of, "image_mean": half, "image_std": half}
    write_json(folder / "preprocessor_config.json", facts)
    return folder


def drawn_text(rng: random.Random) -> str:
    """Return words or numbers as receipts have them, at most LONGEST characters."""
    kind = rng.random()
    if kind < 0.35:
        parts = [_number(rng) for _ in range(rng.randint(1, 4))]
        if rng.random() < 0.5:
            parts.insert(0, english_line(rng).split()[0])
        text = " ".join(parts)
    else:
        words = english_line(rng).split()
        text = " ".join(words[: rng.randint(1, 6)])
    if rng.random() < 0.7:
        text = text.upper()
    return text[:LONGEST].strip() or "-"


def _number(rng: random.Random) -> str:
    sign = rng.choice(("", "", "", "RM", "$", "-"))
    money = f"{sign}{rng.randrange(1000)}.{rng.randrange(100):02}"
    date = f"{rng.randint(1, 28):02}/{rng.randint(1, 12):02}/{rng.randint(2000, 2026)}"
    clock = f"{rng.randrange(24):02}:{rng.randrange(60):02}:{rng.randrange(60):02}"
    code = "".join(rng.choices(string.digits + string.ascii_uppercase, k=rng.randint(4, 12)))
    tax = f"({rng.randrange(10**9):09}-{rng.choice('ABCDEFGHKX')})"
    count = f"{rng.randint(1, 99)} X"
    percent = f"{rng.randint(0, 99)}%:"
    digits = str(rng.randrange(10 ** rng.randint(1, 10)))
    return rng.choice((money, money, date, clock, code, tax, count, percent, digits))


def draw(folder: Path, number: int) -> Sample:
    """Draw line `number`: thermal paper or a degraded page, in a face of the train split."""
    rng = random.Random(f"scratch:{number}")
    faces = PARTITION["printed"][0] + PARTITION["receipts"][0]
    pen = Pen(rng.choice(faces), rng.randint(16, 40))
    style = PageStyle(body=pen, heading=pen, value=pen, spare=(pen.face,), ink=rng.randint(0, 90))
    text = drawn_text(rng)
    page, placed = compose([TextLine((text,))], style, rng)
    x0, y0, x1, y1 = placed[0].box
    left, top, right, bottom = (rng.randint(0, 7) for _ in range(4))
    line = page.crop((x0 - left, y0 - top, x1 + right, y1 + bottom))
    line = degrade(rng.choice(("receipts", "degraded", "printed")), line, generator(number))
    return _kept(line, folder / "drawn", f"{number:06d}", placed[0].text, "train")


def _kept(line: Image.Image, folder: Path, name: str, text: str, split: str) -> Sample:
    """Write a line's picture at the height that the model sees; return its row."""
    width = max(1, round(line.width * HEIGHT / line.height))
    path = folder / f"{name}.png"
    small = line.convert("L").resize((width, HEIGHT), Image.Resampling.BILINEAR)
    if width < WIDTH:  # characters of one size are learned sooner than stretched ones
        padded = Image.new("L", (WIDTH, HEIGHT), int(np.median(np.asarray(small)[[0, -1]])))
        padded.paste(small)
        small, width = padded, WIDTH
    small.save(path, compress_level=1)
    return Sample(
        id=f"{folder.name}/{name}", document=name, corpus=folder.name, subset=folder.name,
        image=f"{folder.name}/{name}.png", image_sha256=sha256_file(path), width=width,
        height=HEIGHT, text=text, language="en", split=split,
    )  # fmt: skip


def crop(real: Path, folder: Path, lines: Sequence[tuple[int, str, RawRow]]) -> list[Sample]:
    """Cut the lines of one receipt."""
    page = Image.open(real / lines[0][2].image).convert("L")
    rows = []
    for number, split, raw in lines:
        assert raw.box is not None
        kept = _kept(page.crop(raw.box), folder / "real", f"{number:05d}", raw.text, split)
        rows.append(replace(kept, document=raw.document))
    return rows


def receipts(real: Path, folder: Path, pool: ProcessPoolExecutor) -> dict[str, list[Sample]]:
    """Return the lines of receipts by split, split by receipt as the manifest does."""
    splitter = Splitter("sroie", 20240601, 0.08, 0.15)
    by_page: dict[str, list[tuple[int, str, RawRow]]] = {}
    for number, raw in enumerate(IcdarSroie().rows(real, {})):
        if isinstance(raw, RawRow) and raw.granularity == "line" and raw.task == "transcribe":
            split = splitter.split(raw.document, raw.split)
            by_page.setdefault(raw.image, []).append((number, split, raw))
    found: dict[str, list[Sample]] = {"train": [], "val": [], "test": []}
    for rows in pool.map(partial(crop, real, folder), by_page.values()):
        for row in rows:
            found[row.split].append(row)
    found["train"] = [row for row in found["train"] if len(row.text) <= LONGEST]
    return found


def train(work: Path, name: str, rows: dict[str, list[Sample]], knobs: dict[str, Any]) -> Path:
    """Run the train stage's own code on rows; return the checkpoint's folder."""
    from manifold_ocr.training import run

    settings = RunSpec(
        model=ModelConfig(id=str(work / "base"), precision=knobs.pop("precision")),
        lora=LoraConfig(rank=0),
        train=TrainConfig(freeze="none", rehearsal=0.0, conventions="none", **knobs),
        base=work / "base",
        image_root=work,
        metric_tokenizer="whitespace",
    )
    run.train(settings, rows, work / name, work / f"{name}_metrics")
    return work / name


class Stage:
    """One of three trainings: short drawn lines, all of them, then receipts."""

    def __init__(
        self, name: str, arguments: argparse.Namespace, per_second: float, start: Path | None
    ) -> None:
        """`per_second` steps were made by the training before, from whose result it starts."""
        self.number = ("first", "drawn", "receipts").index(name)
        self.arguments = arguments
        self.start = start
        asked = arguments.steps[self.number]
        self.steps = asked or max(1, int(arguments.seconds[self.number - 1] * per_second))

    def knobs(self, workers: int) -> dict[str, Any]:
        """Return what TrainConfig takes, and the precision."""
        given = self.arguments
        return {
            "train_batch_size": given.batch, "eval_batch_size": 256, "precision": given.precision,
            "eval_steps": min(given.evaluate, self.steps), "max_val_samples": given.validate,
            "max_target_length": 64, "generation_max_length": 64, "logging_steps": 100,
            "dataloader_workers": max(0, workers - 2), "save_total_limit": 1,
            "warmup": (0.5, 0.0, 0.1)[self.number], "max_steps": self.steps,
            "scheduler": "cosine" if self.number else "constant_with_warmup",
            "learning_rate": given.rates[self.number == 2], "init_from": str(self.start or ""),
        }  # fmt: skip


def curve(work: Path, name: str) -> list[tuple[int, float]]:
    """Return (step, CER) of the validation receipts as training logged them."""
    table = work / f"{name}_metrics/plots/metrics/eval/cer.tsv"
    rows = [line.split("\t") for line in table.read_text().splitlines()]
    step, cer = rows[0].index("step"), rows[0].index("cer")
    return [(int(row[step]), float(row[cer])) for row in rows[1:]]


def test_scores(work: Path, checkpoint: Path, rows: list[Sample]) -> dict[str, float]:
    """Return the scores of the test receipts' lines, and lines read per second."""
    from manifold_ocr.models.registry import load_model
    from manifold_ocr.reading.predict import read_with

    model: Any = load_model(ModelConfig(id=str(work / "base")), checkpoint, None, 64)
    model.batch_size = 256
    started = time.monotonic()
    read = [
        Prediction(id=row.id, text=found.text)
        for row, found in zip(rows, read_with(model, rows, work), strict=True)
    ]
    seconds = time.monotonic() - started
    config = EvaluateConfig(metric_tokenizer="whitespace")
    overall = summarize(score_rows(rows, read, config), config)["overall"]
    names = ("cer", "cer_low", "cer_high", "cer_without_spaces", "exact_match", "token_f1")
    return {n: overall[n] for n in names if n in overall} | {"lines_per_s": len(rows) / seconds}


def main() -> None:
    """Draw, train twice, score, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--real", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--size", choices=list(SIZES), default="small")
    parser.add_argument("--lines", type=int, default=32_000, help="drawn lines")
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--steps", type=int, nargs=3, default=[1000, 0, 0], metavar="N",
                        help="of the three trainings; 0: as many as --seconds allow")  # fmt: skip
    parser.add_argument("--seconds", type=float, nargs=2, default=[300, 120], metavar="S")
    parser.add_argument("--rates", type=float, nargs=2, default=[5e-4, 2e-4], metavar="RATE")
    parser.add_argument("--evaluate", type=int, default=500, help="steps between validations")
    parser.add_argument("--validate", type=int, default=300, help="lines of each validation")
    parser.add_argument("--precision", choices=["bf16", "fp32"], default="bf16")
    arguments = parser.parse_args()
    work, out, real = (p.resolve() for p in (arguments.work, arguments.out, arguments.real))
    for name in ("drawn", "real"):
        (work / name).mkdir(parents=True, exist_ok=True)
    os.chdir(work)
    os.environ.setdefault("MANIFOLD_OCR_CACHE", str(work / "cache"))
    workers = len(os.sched_getaffinity(0))
    started = time.monotonic()
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        split = receipts(real, work, pool)
        drawn = list(pool.map(partial(draw, work), range(arguments.lines), chunksize=64))
    print({name: len(rows) for name, rows in split.items()}, f"{len(drawn)} lines drawn in",
          f"{time.monotonic() - started:.0f} s", file=sys.stderr)  # fmt: skip
    write_checkpoint(work / "base", arguments.size)
    result: dict[str, Any] = {}
    start, per_second = None, 0.0
    short = [row for row in drawn if len(row.text) <= SHORT]
    for name, rows in (("first", short), ("drawn", drawn), ("receipts", split["train"])):
        stage = Stage(name, arguments, per_second, start)
        began = time.monotonic()
        start = train(work, name, {"train": rows, "val": split["val"]}, stage.knobs(workers))
        result[name] = {
            "rows": len(rows), "steps": stage.steps, "seconds": time.monotonic() - began,
            "perf": noted()["train_loop"],
            "curve": curve(work, name),
        }  # fmt: skip
        if name != "first":
            result[name]["test"] = test_scores(work, start, split["test"])
        per_second = result[name]["perf"]["rows_per_second"] / arguments.batch
        write_json(out, result)
        print(json.dumps({name: result[name]}), flush=True)


if __name__ == "__main__":
    main()
