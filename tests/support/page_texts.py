"""Rows of drawn words, and readings of them with errors, for the compression check."""

import random

from manifold_ocr.compression.fidelity import perturb
from manifold_ocr.records import Prediction, Sample

WORDS = ["total", "amount", "invoice", "delivery", "paper", "street", "item", "paid", "date", "tax"]


def page_text(seed, words=160):
    rng = random.Random(seed)
    return " ".join(rng.choice(WORDS) + str(rng.randrange(100)) for _ in range(words))


def page_lines(document, corpus="forms", words=160, split="test"):
    chunks = page_text(f"{corpus}{document}", words).split(" ")
    lines = [" ".join(chunks[i : i + 8]) for i in range(0, len(chunks), 8)]
    return [
        Sample(
            id=f"{corpus}/{document}/{i}", document=document, corpus=corpus, subset="s",
            image=f"{corpus}/{document}.png", text=line, split=split,
            box=(0, 10 * i, 90, 10 * i + 9),
        )
        for i, line in enumerate(lines)
    ]  # fmt: skip


def corpus_rows():
    rows = [row for name in ("a", "b", "c") for row in page_lines(name)]
    return rows + page_lines("tiny", "labels", words=3)


def read_with_noise(rows, rate):
    return [
        Prediction(id=r.id, text=perturb(r.text, rate, 1, r.id), vision_tokens=12) for r in rows
    ]
