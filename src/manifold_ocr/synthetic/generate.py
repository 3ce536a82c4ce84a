"""Draw the corpus: documents in parallel, files and rows in one fixed order."""

import hashlib
import json
import os
import random
import typing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from PIL import Image
from pydantic import Field

from manifold_ocr.augment.ops import generator
from manifold_ocr.files import atomic_write
from manifold_ocr.records import PLANTED, RawRow
from manifold_ocr.resources import progress
from manifold_ocr.settings import Count, Flag, Int, Seed, Share, settings
from manifold_ocr.synthetic.degrade import degrade
from manifold_ocr.synthetic.grammar import TextSource
from manifold_ocr.synthetic.layout import PlacedLine, compose, page_style
from manifold_ocr.synthetic.texts import charts, chinese, code, forms, prose
from manifold_ocr.synthetic.texts.base import TextLine

Subset = Literal[
    "printed", "receipts", "code", "forms", "handwriting", "charts", "degraded", "chinese"
]
SUBSETS: tuple[Subset, ...] = typing.get_args(Subset)
# Raised with any change that alters a byte of the corpus: a test pins the bytes of a small one.
# It is in params.yaml, so that DVC draws anew exactly when the bytes would differ.
VERSION = 1


@settings
class SyntheticConfig:
    """How much is drawn, and from which seed.

    The line counts are lower bounds per subset: documents are drawn whole until a split
    has at least that many lines. `pages` adds one row per document with the whole page.
    `needles` is the share of documents on which a passcode is planted (see `needle.plant`).
    Parts of a line that are more than `apart` times its height apart are rows of their own, as
    the boxes of real receipts are (0: never cut). A page is damaged anew until it keeps the
    share `legible` of its ink (0: whatever is left; see `ink_kept`). With `many_faces` the training
    split draws with more fonts; validation and test stay as they are.
    """

    seed: Seed = 20240601
    train_lines: Count = 320
    val_lines: Count = 70
    test_lines: Count = 320
    subsets: Annotated[tuple[Subset, ...], Field(min_length=1)] = SUBSETS
    pages: Flag = True
    version: Int = VERSION
    needles: Share = 0.0
    apart: Annotated[float, Field(ge=0.0)] = 0.0
    legible: Share = 0.0
    many_faces: Flag = False

    def __post_init__(self) -> None:
        if self.version != VERSION:
            raise ValueError(f"this release draws version {VERSION}, not {self.version}; set that")

    def lines(self, split: str) -> int:
        """Return the number of lines asked for in a split (train, val or test)."""
        return {"train": self.train_lines, "val": self.val_lines, "test": self.test_lines}[split]


Writer = Callable[[random.Random, TextSource, int], list[TextLine]]

# subset -> (writer, source of train and val, source of the test split only)
SOURCES: dict[str, tuple[Writer, TextSource, TextSource]] = {
    "printed": (prose.page, prose.REPORTS, prose.LETTERS),
    "receipts": (forms.receipt_page, forms.GROCERS, forms.CAFES),
    "code": (code.page, code.SCRIPTS, code.PROGRAMS),
    "forms": (forms.page, forms.APPLICATIONS, forms.CLAIMS),
    "handwriting": (prose.note_page, prose.NOTEBOOK, prose.POSTCARDS),
    "charts": (charts.page, charts.ECONOMY, charts.LABORATORY),
    "degraded": (prose.page, prose.REPORTS, prose.LETTERS),
    "chinese": (chinese.page, chinese.ARTICLES, chinese.HANDBOOKS),
}


def write_page(subset: str, split: str, rng: random.Random, count: int) -> list[TextLine]:
    """Return the lines of one document of a subset."""
    writer, shared, test_only = SOURCES[subset]
    return writer(rng, test_only if split == "test" else shared, count)


LINES_PER_PAGE = 16
TRIES = 6  # of damaging a page until it is legible
INK = 128  # gray level below which a pixel of the clean page is ink
ROWS_FILE = "rows.jsonl"
LICENSE = "CC0-1.0"
SPLITS = ("train", "val", "test")


@dataclass(frozen=True, slots=True)
class Document:
    """One page to draw."""

    subset: str
    split: str
    number: int

    @property
    def name(self) -> str:
        """Return the document's name, which is also the stem of its image."""
        return f"{self.subset}-{self.split}-{self.number:04d}"


def documents(config: SyntheticConfig) -> list[Document]:
    """Return the documents of a corpus in the order of its rows."""
    return [
        Document(subset, split, number)
        for subset in config.subsets
        for split in SPLITS
        for number in range(-(-config.lines(split) // LINES_PER_PAGE))
    ]


def generate(destination: Path, config: SyntheticConfig, workers: int = 0) -> int:
    """Write images/*.png and rows.jsonl below `destination`; return the number of rows.

    Every document has a seed of its own, so neither the number of workers nor the other
    documents change a byte of it. `workers` 0 takes every processor the process may use.
    """
    (destination / "images").mkdir(parents=True, exist_ok=True)
    count = 0
    with atomic_write(destination / ROWS_FILE) as file:
        for rows in _draw_all(destination, config, workers):
            for row in rows:
                values = asdict(row)
                del values["frame"]  # a drawn page is a file of its own
                file.write(json.dumps(values, ensure_ascii=False) + "\n")
                count += 1
    return count


def _draw_all(destination: Path, config: SyntheticConfig, workers: int) -> Iterator[list[RawRow]]:
    todo = documents(config)
    jobs = [(str(destination), config, document) for document in todo]
    workers = min(workers or len(os.sched_getaffinity(0)), len(jobs))
    if workers <= 1:
        yield from progress(map(_draw_job, jobs), "drawing pages", len(jobs), "page")
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        results = pool.map(_draw_job, jobs, chunksize=8)
        yield from progress(results, "drawing pages", len(jobs), "page")


def _draw_job(job: tuple[str, SyntheticConfig, Document]) -> list[RawRow]:
    destination, config, document = job
    return draw_document(Path(destination), config, document)


def draw_document(destination: Path, config: SyntheticConfig, document: Document) -> list[RawRow]:
    """Draw one page, write its image, and return its rows: the lines, then the page."""
    seed = hashlib.sha256(f"{config.seed}:{document.name}".encode()).digest()
    rng = random.Random(int.from_bytes(seed[:16], "big"))
    lines = write_page(document.subset, document.split, rng, LINES_PER_PAGE)
    lines, planted = plant(lines, document.name, config.seed, config.needles)
    style = page_style(document.subset, document.split, rng, config.many_faces)
    page, placed = compose(lines, style, rng)
    page = _degraded(page, document, config)
    image = f"images/{document.name}.png"
    page.save(destination / image, "PNG", compress_level=6)
    rows = []
    for number, line in enumerate(placed):
        for part in line.apart(config.apart) if config.apart else (line,):
            row = _line_row(document, image, part, page.size, rng)
            tags = (*row.tags, PLANTED) if number == planted else row.tags
            rows.append(replace(row, tags=tags))
    return [*rows, _page_row(document, image, placed)] if config.pages else rows


def _degraded(page: Image.Image, document: Document, config: SyntheticConfig) -> Image.Image:
    """Return the page as `degrade` leaves it: the first try that is legible, else the best."""
    found: list[tuple[float, Image.Image]] = []
    for attempt in range(TRIES):
        name = f"wear {attempt}" if attempt else "wear"  # a seed: another word, other pages
        tried = degrade(document.subset, page, generator(config.seed, document.name, name))
        if not config.legible or (kept := ink_kept(page, tried)) >= config.legible:
            return tried
        found.append((kept, tried))
    return max(found, key=lambda item: item[0])[1]


def ink_kept(clean: Image.Image, degraded: Image.Image) -> float:
    """Return the share of the clean page's ink that still stands out from the paper.

    Ink are pixels below half. It stands out where it differs from the middle gray level of the
    paper by a quarter of what the strongest ink does, lighter or darker, as pages may be inverted.
    """
    before, after = (np.asarray(image.convert("L")) for image in (clean, degraded))
    if before.shape != after.shape:
        return 1.0  # turned or cut: not comparable pixel by pixel
    ink = before < INK
    step = after[ink] - np.median(after[~ink])
    step = -step if step.mean() < 0 else step
    strongest = np.percentile(step, 95)
    return float((step > strongest / 4).mean()) if strongest > 0 else 0.0


def _line_row(
    document: Document, image: str, line: PlacedLine, size: tuple[int, int], rng: random.Random
) -> RawRow:
    """Return the row of a line; its box keeps two to four pixels around the ink."""
    x0, y0, x1, y1 = line.box
    left, top, right, bottom = (rng.randint(2, 4) for _ in range(4))
    box = (
        float(max(0, x0 - left)),
        float(max(0, y0 - top)),
        float(min(size[0], x1 + right)),
        float(min(size[1], y1 + bottom)),
    )
    return RawRow(
        document=document.name,
        image=image,
        text=line.text,
        source=document.name,
        subset=document.subset,
        tags=(line.style,),
        language="zh" if document.subset == "chinese" else "en",
        split=document.split,
        box=box,
        license=LICENSE,
    )


def _page_row(document: Document, image: str, placed: list[PlacedLine]) -> RawRow:
    return RawRow(
        document=document.name,
        image=image,
        text="\n".join(line.text for line in placed),
        source=document.name,
        subset=document.subset,
        tags=("page",),
        language="zh" if document.subset == "chinese" else "en",
        split=document.split,
        granularity="page",
        license=LICENSE,
    )


LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ"  # without I and O, which look like digits
DIGITS = "23456789"


def plant(lines: list[TextLine], name: str, seed: int, share: float) -> tuple[list[TextLine], int]:
    """Return the lines of document `name` and the place of the planted one (-1: none).

    `share` is the share of documents that get one. The first line, often a heading, stays.
    The passcode has a generator of its own, so that pages without a needle keep every byte.
    """
    digest = hashlib.sha256(f"{seed}:{name}:needle".encode()).digest()
    rng = random.Random(int.from_bytes(digest[:16], "big"))
    if len(lines) < 2 or rng.random() >= share:
        return lines, -1
    place = rng.randrange(1, len(lines))
    letters = "".join(rng.choice(LETTERS) for _ in range(5))
    digits = "".join(rng.choice(DIGITS) for _ in range(4))
    needle = TextLine((f"Passcode {letters}-{digits}",), indent=lines[place].indent)
    return [*lines[:place], needle, *lines[place + 1 :]], place
