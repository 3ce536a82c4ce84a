"""General lines, so that an adapter trained on one kind of text does not forget the rest.

The vocabulary is that of the train split, so rehearsal shows no word of the test split.
"""

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
from manifold_ocr.synthetic.degrade import degrade, quantize
from manifold_ocr.synthetic.fonts import Pen
from manifold_ocr.synthetic.grammar import TextSource, capital
from manifold_ocr.synthetic.layout import PageStyle, compose
from manifold_ocr.synthetic.texts.base import TRAIN_WORDS, TextLine
from manifold_ocr.synthetic.texts.chinese import ARTICLES, NO_LINE_START
from manifold_ocr.synthetic.texts.prose import REPORTS

ENGLISH = TextSource(
    name="general English",
    words={
        **TRAIN_WORDS,
        "pronoun": ("he", "she", "it", "they", "we", "you", "I", "one"),
        "preposition": ("in", "on", "of", "to", "for", "with", "from", "by", "under", "between"),
        "link": ("however", "therefore", "moreover", "in fact", "for example", "as a result"),
        "modal": ("can", "could", "may", "might", "must", "should", "will", "would"),
        "which": ("which", "that", "whose {noun}", "where the {noun}"),
        "journal": (
            "J. {noun|cap} Res.",
            "Proc. {place} Soc.",
            "Ann. {noun|cap}",
            "{noun|cap} Lett.",
        ),
    },
    templates={
        "sentence": (
            *REPORTS.templates["sentence"],
            "We {verb} the {noun} of each {noun} {preposition} the {noun} and {verb} its {noun}.",
            "In this {noun}, a {adjective} {noun} for {adjective} {noun} {noun} is {verb|past}.",
            "{link|cap}, {pronoun} {modal} not {verb} that the {noun} is {adjective}.",
            "The {noun}, {which} {verb|past} in {year}, {modal} {verb} the {adjective} {noun}.",
            "Although it is {adjective}, this has been {verb|past} at least {small} times.",
            "As shown in Fig. {digit}, the {noun} is about {decimal} to {decimal} cm.",
            "These {noun|plural} were not as {adjective} as those of {surname} [{small}].",
            "There is, {link}, no {noun} that {modal} {verb} all {noun|plural} at once.",
            "What {modal} {pronoun} {verb} if the {noun} isn't {adjective}? It doesn't {verb}.",
            "{surname}, {letter}. {letter}. ({year}), {journal}, {int}, {int}-{int}.",
            "Table {digit}. {adjective|cap} {noun|plural} of the {noun}, {year}-{year} (in %).",
            '"{pronoun|cap} {modal} {verb} the {noun}," said {first}, "but not {adverb}."',
            "First, let x = {decimal} and y = {int}; then {noun} < {int}% of the {noun}.",
            "The {adjective} {noun} (see Sect. {digit}.{digit}) is then {verb|past} to {noun}.",
            "All {noun|plural} should be sent to {first} {surname}, {street}, {place} {zip}.",
            "It was {adjective} of them to {verb}; it was {adjective} of us to {verb} {adverb}.",
            "{noun|cap} {noun|plural} which {verb} {noun|plural} {verb} {preposition} {month}.",
            "Since {date}, more than {big} {noun|plural} have {verb|past} the {noun} in {place}.",
            "He had a {noun}, a {noun} and two {adjective} {noun|plural}; she had none of these.",
            "{verb|cap} the {noun} {adverb}, then {verb} it for {small} minutes at {int} \u00b0C.",
            "The price of {noun} rose by {percent} to ${money} while the {noun} fell to {amount}.",
        ),
        "heading": (
            *REPORTS.templates["heading"],
            "{digit}.{digit} {adjective|cap} {noun|cap} {preposition} {noun|cap}",
            "ABSTRACT",
            "{noun|upper} {preposition|upper} {adjective|upper} {noun|upper}",
            "{first} {letter}. {surname} and {first} {surname}",
            "Volume {int}, Number {small}, {month} {year}",
        ),
    },
)
CHINESE = TextSource(
    name="general Chinese",
    words={
        **ARTICLES.words,
        "n": (*ARTICLES.words["n"], *("{hanzi}",) * (len(ARTICLES.words["n"]) // 2)),
        "abc": (
            "GDP",
            "CPU",
            "App",
            "VIP",
            "5G",
            "PDF",
            "Windows",
            "API",
            "A股",
            "B2B",
            "DNA",
            "Wi-Fi",
        ),
    },
    templates={
        "heading": (
            *ARTICLES.templates["heading"],
            "{int}.{digit} {n}的{n}",
            "（{digit}）{n}与{n}",
        ),
        "sentence": (
            *ARTICLES.templates["sentence"],
            "{abc}{n}的{n}为{decimal}，同比增长{percent}。",
            "他说：“{n}是我们的{n}，不是{hanzi}。”",
            "例{digit}：把{hanzi}和{n}放在一起，会怎么样？",
            "（{digit}）{n}，即{hanzi}，指的是{a}的{n}；",
            "今天的{n}比昨天更{a}，大家都很高兴！",
            "从{year}年到{year}年，{n}由{big}{unit}减少到{int}{unit}。",
            "{surname}先生在{place}见到了{hanzi}、{hanzi}和{n}。",
            "其中，{n}占{percent}，{hanzi}占{percent}，其余为{n}。",
            "那么，什么是{n}呢？这就是{a}的{hanzi}。",
            "没有{n}就没有{n}，也就没有{hanzi}。",
        ),
        "row": (*ARTICLES.templates["row"], "{n} {int} {amount} {percent}"),
    },
)


def english_line(rng: random.Random) -> str:
    """Return a line of 8 to 88 characters cut at words from running English."""
    if rng.random() < 0.08:
        return ENGLISH.write(rng, "heading")
    words = " ".join(capital(ENGLISH.write(rng, "sentence")) for _ in range(3)).split()
    start = rng.randrange(len(words) // 2)
    width = rng.randrange(8, 89)
    line = words[start]
    for word in words[start + 1 :]:
        if len(line) + 1 + len(word) > width:
            break
        line += f" {word}"
    return line + "-" if rng.random() < 0.05 and line[-1].isalpha() else line


def chinese_line(rng: random.Random) -> str:
    """Return a line of 3 to 36 characters of running Chinese."""
    if rng.random() < 0.15:
        return CHINESE.write(rng, rng.choice(("heading", "row")))
    text = "".join(CHINESE.write(rng, "sentence") for _ in range(3))
    start = rng.randrange(len(text) // 2)
    return text[start : start + rng.randrange(3, 37)].lstrip(NO_LINE_START).strip()


WRITERS = {"en": english_line, "zh": chinese_line}
FACES = {
    "en": (*fonts.PARTITION["printed"][0], "dejavu-mono", "roboto-light", "lato-bold"),
    "zh": fonts.PARTITION["chinese"][0],
}
LEAST_SIZE = {"en": (13, 18), "zh": (14, 25)}  # of clean and of degraded lines, in pixels


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
    degraded = rng.random() < job.degraded
    text, pen = _text_and_pen(language, degraded, rng)
    style = PageStyle(body=pen, heading=pen, value=pen, spare=(pen.face,), ink=rng.randint(0, 90))
    page, placed = compose([TextLine((text,))], style, rng)
    x0, y0, x1, y1 = placed[0].box
    left, top, right, bottom = (rng.randint(2, 7) for _ in range(4))
    line = page.crop((x0 - left, y0 - top, x1 + right, y1 + bottom))
    pixels = generator("rehearsal", job.seed, job.number)
    line = _degrade(line, pixels) if degraded else _clean(line, pixels)
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


def _text_and_pen(language: str, degraded: bool, rng: random.Random) -> tuple[str, Pen]:
    """Return a line and a pen whose face has its glyphs; other lines are drawn again.

    Degraded lines are larger at the least, so that a person can still read them.
    """
    smallest = LEAST_SIZE[language][degraded]
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
    return quantize(line)


def _degrade(line: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Half of the degraded lines are black and white, as old scans of journals are."""
    if chance(rng, 0.5):
        return degrade("degraded", line, rng)
    line = ops.blur(line, between(rng, 4, 9))
    if chance(rng, 0.5):
        line = ops.broken(rng, line, between(rng, 5, 30))
    return ops.binarise(line, between(rng, 90, 160))
