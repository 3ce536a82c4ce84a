"""A script that the base model cannot write, learned from drawn lines: CER before and after.

    PYTHONPATH=src python benchmarks/new_script.py --base data/base/pp-ocrv6-small --work FOLDER

English sentences of the synthetic grammar are spelled in Cyrillic letters (a fixed table), drawn
in a few faces, and trained on with `model.vocabulary: union`. Tested are other sentences in a
face that training never saw, and English lines, which must not get worse.
"""

import argparse
import os
import random
from dataclasses import replace
from pathlib import Path

from PIL import Image, ImageDraw

from manifold_ocr.config import EvaluateConfig, LoraConfig, ModelConfig, TrainConfig
from manifold_ocr.metrics.score import score_rows, summarize
from manifold_ocr.models.base import RunSpec
from manifold_ocr.records import Prediction, Sample
from manifold_ocr.synthetic import fonts
from manifold_ocr.synthetic.rehearsal import english_line

LATIN = "abcdefghijklmnopqrstuvwxyz"
CYRILLIC = "абцдефгхийклмнопярстувшжыз"
DIGRAPHS = {"sh": "ш", "ch": "ч", "th": "щ", "ee": "э", "oo": "ю", "ck": "ъ", "ea": "ё", "ll": "ль"}
TRAIN_FACES = (
    "dejavu-sans",
    "dejavu-serif",
    "dejavu-mono",
    "roboto",
    "source-serif",
    "source-sans",
)
TEST_FACES = ("pt-serif", "pt-sans")


def spell(text: str) -> str:
    """Return an English text in Cyrillic letters."""
    for pair, letter in DIGRAPHS.items():
        text = text.replace(pair, letter).replace(pair.capitalize(), letter.capitalize())
    table = str.maketrans(LATIN + LATIN.upper(), CYRILLIC + CYRILLIC.upper())
    return text.translate(table)


def draw(text: str, face: str, rng: random.Random, path: Path) -> None:
    """Write a line of dark text on light paper."""
    size = rng.randint(22, 44)
    font = fonts.load(face, size)
    margin = size // 4
    width = int(font.getlength(text)) + 2 * margin
    image = Image.new("L", (width, size + 2 * margin), rng.randint(225, 255))
    ImageDraw.Draw(image).text((margin, margin), text, rng.randint(0, 70), font)
    image.save(path)


def lines(
    root: Path, name: str, count: int, faces: tuple[str, ...], *, cyrillic: bool, seed: int
) -> list[Sample]:
    """Draw `count` lines below `root` and return their rows."""
    rng = random.Random(f"{name}-{seed}")
    rows: list[Sample] = []
    while len(rows) < count:
        text = english_line(rng)[:60].strip()
        text = spell(text) if cyrillic else text
        face = rng.choice(faces)
        if len(text) < 8 or not fonts.covers(face, text):
            continue
        image = f"{name}-{len(rows):05d}.png"
        draw(text, face, rng, root / image)
        rows.append(
            Sample(
                id=f"{name}-{len(rows):05d}", document=f"{name}-{len(rows):05d}", corpus=name,
                subset=name, image=image, text=text, language="ru" if cyrillic else "en",
            )
        )  # fmt: skip
    return rows


def error_rate(rows: list[Sample], base: Path, adapter: Path | None, root: Path) -> float:
    """Return the CER in percent of `rows` as a model reads them."""
    from manifold_ocr.models.ctc import model as ctc

    model = ctc.load(ModelConfig(id="base"), base, adapter, "cpu")
    read = model.recognize_samples(rows, root)
    texts = [Prediction(id=row.id, text=r.text) for row, r in zip(rows, read, strict=True)]
    config = EvaluateConfig(bootstrap_samples=200)
    return 100 * float(summarize(score_rows(rows, texts, config), config)["overall"]["cer"])


def main() -> None:
    """Train once per seed and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--lines", type=int, default=2000)
    parser.add_argument("--test-lines", type=int, default=300)
    parser.add_argument("--epochs", type=float, default=6.0)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=1)
    options = parser.parse_args()
    base, root = options.base.resolve(), options.work.resolve() / "lines"
    root.mkdir(parents=True, exist_ok=True)
    os.chdir(options.work)

    from manifold_ocr.training import run

    kinds = {"cyrillic": True, "english": False}
    train = lines(root, "train", options.lines, TRAIN_FACES, cyrillic=True, seed=0)
    val = lines(root, "val", 150, TRAIN_FACES, cyrillic=True, seed=0)
    tests = {
        name: lines(root, name, options.test_lines, TEST_FACES, cyrillic=kind, seed=0)
        for name, kind in kinds.items()
    }
    before = {name: error_rate(rows, base, None, root) for name, rows in tests.items()}
    print("| | " + " | ".join(tests) + " |\n|:--|" + "--:|" * len(tests))
    print("| base model | " + " | ".join(f"{value:.2f}" for value in before.values()) + " |")
    spec = RunSpec(
        model=ModelConfig(id="base"),
        lora=LoraConfig(rank=options.rank, alpha=2 * options.rank),
        train=TrainConfig(epochs=options.epochs, learning_rate=options.learning_rate),
        base=base,
        image_root=root,
    )
    for seed in range(options.seeds):
        adapter = Path(f"adapter-{seed}")
        settings = replace(spec, train=replace(spec.train, seed=seed))
        run.train(settings, {"train": train, "val": val}, adapter, Path(f"metrics-{seed}"))
        after = {name: error_rate(rows, base, adapter, root) for name, rows in tests.items()}
        found = " | ".join(f"{value:.2f}" for value in after.values())
        print(f"| adapter, seed {seed} | {found} |", flush=True)


if __name__ == "__main__":
    main()
