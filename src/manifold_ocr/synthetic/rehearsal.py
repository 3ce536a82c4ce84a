"""General lines, so that an adapter trained on one kind of text does not forget the rest."""

import hashlib
import os
import random
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from PIL import Image

from manifold_ocr.augment import ops
from manifold_ocr.augment.ops import between, chance, generator
from manifold_ocr.files import sha256_file
from manifold_ocr.records import Sample, write_rows
from manifold_ocr.resources import progress
from manifold_ocr.synthetic import fonts
from manifold_ocr.synthetic.degrade import quantise, wear
from manifold_ocr.synthetic.fonts import Pen
from manifold_ocr.synthetic.layout import PageStyle, compose
from manifold_ocr.synthetic.texts.base import TextLine
from manifold_ocr.synthetic.texts.general import chinese_line, english_line

WRITERS = {"en": english_line, "zh": chinese_line}
FACES = {
    "en": (*fonts.PARTITION["printed"][0], "dejavu-mono", "roboto-light", "lato-bold"),
    "zh": fonts.PARTITION["chinese"][0],
}
LEAST_SIZE = {"en": (13, 18), "zh": (14, 25)}  # of clean and of worn lines, in pixels


@dataclass(frozen=True, slots=True)
class _Job:
    destination: str
    seed: int
    languages: tuple[str, ...]
    degraded: float
    number: int


def write_rehearsal(
    destination: Path,
    count: int,
    seed: int,
    languages: tuple[str, ...] = ("en", "zh"),
    degraded: float = 0.5,
    workers: int = 0,
) -> list[Sample]:
    """Draw `count` lines below `destination` (images/, rows.jsonl); return their samples.

    Languages take turns. A share `degraded` of the lines looks copied, faxed, stained or
    hard black and white; the others are clean or slightly blurred. Fonts and words are
    those of the train split. Line n depends on the seed and n alone, so a larger count
    keeps the earlier lines; `workers` (0: every processor) changes nothing.

    Raises:
        ValueError: an unknown language, or a share outside 0 to 1.
    """
    if not set(languages) <= set(WRITERS) or not languages:
        raise ValueError(f"languages must be of {', '.join(WRITERS)}, not {languages}")
    if not 0 <= degraded <= 1:
        raise ValueError(f"degraded must be from 0 to 1, not {degraded}")
    (destination / "images").mkdir(parents=True, exist_ok=True)
    jobs = [_Job(str(destination), seed, languages, degraded, n) for n in range(count)]
    samples = _draw_all(jobs, workers or len(os.sched_getaffinity(0)))
    write_rows(destination / "rows.jsonl", samples)
    return samples


def _draw_all(jobs: list[_Job], workers: int) -> list[Sample]:
    if workers == 1 or len(jobs) < 200:
        return list(progress(map(_draw, jobs), "drawing rehearsal", len(jobs), "line"))
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        results = pool.map(_draw, jobs, chunksize=32)
        return list(progress(results, "drawing rehearsal", len(jobs), "line"))


def _draw(job: _Job) -> Sample:
    digest = hashlib.sha256(f"rehearsal:{job.seed}:{job.number}".encode()).digest()
    rng = random.Random(int.from_bytes(digest[:16], "big"))
    language = job.languages[job.number % len(job.languages)]
    worn = rng.random() < job.degraded
    text, pen = _text_and_pen(language, worn, rng)
    style = PageStyle(body=pen, heading=pen, value=pen, spare=(pen.face,), ink=rng.randint(0, 90))
    page, placed = compose([TextLine((text,))], style, rng)
    x0, y0, x1, y1 = placed[0].box
    left, top, right, bottom = (rng.randint(2, 7) for _ in range(4))
    line = page.crop((x0 - left, y0 - top, x1 + right, y1 + bottom))
    pixels = generator("rehearsal", job.seed, job.number)
    line = _worn(line, pixels) if worn else _clean(line, pixels)
    image = f"images/{job.number:06d}.png"
    line.save(Path(job.destination) / image, "PNG", compress_level=6)
    return Sample(
        id=f"rehearsal/{job.number:06d}",
        document=f"rehearsal/{job.number:06d}",
        corpus="rehearsal",
        subset=f"general-{language}",
        image=image,
        image_sha256=sha256_file(Path(job.destination) / image),
        width=line.width,
        height=line.height,
        text=text,
        language=language,
        split="train",
        license="CC0-1.0",
    )


def _text_and_pen(language: str, worn: bool, rng: random.Random) -> tuple[str, Pen]:
    """Return a line and a pen whose face has its glyphs; other lines are drawn again.

    Worn lines are larger at the least, so that a person can still read them.
    """
    smallest = LEAST_SIZE[language][worn]
    while True:
        face = rng.choice(FACES[language])
        text = WRITERS[language](rng)
        if text and fonts.covers(face, text):
            size = rng.choice((rng.randint(13, 22), rng.randint(20, 32), rng.randint(28, 44)))
            size = max(size, smallest)
            return text, Pen(face, size, tracking=rng.choice((0, 0, 0, 0, -1, 1)))


def _clean(line: Image.Image, rng: np.random.Generator) -> Image.Image:
    if chance(rng, 0.5):
        line = ops.blur(line, between(rng, 3, 8))
    return quantise(line)


def _worn(line: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Half of the worn lines are black and white, as old scans of journals are."""
    if chance(rng, 0.5):
        return wear("degraded", line, rng)
    line = ops.blur(line, between(rng, 4, 9))
    if chance(rng, 0.5):
        line = ops.broken(rng, line, between(rng, 5, 30))
    return ops.binarise(line, between(rng, 90, 160))
