"""Lines that look like the user's archive: own texts, own fonts, own paper."""

import hashlib
import json
import os
import random
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import lru_cache
from itertools import islice
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from PIL import Image

from manifold_ocr.augment import ops
from manifold_ocr.augment.ops import Gray, between, chance, generator, to_array, to_image
from manifold_ocr.errors import UserError
from manifold_ocr.files import atomic_write, write_json
from manifold_ocr.images import IMAGE_SUFFIXES, open_image, scaled_size
from manifold_ocr.records import RawRow
from manifold_ocr.resources import progress
from manifold_ocr.settings import Count, Positive, Seed, Share, settings
from manifold_ocr.synthetic import fonts
from manifold_ocr.synthetic.degrade import degrade, quantize
from manifold_ocr.synthetic.fonts import Pen, draw_run
from manifold_ocr.synthetic.generate import ROWS_FILE
from manifold_ocr.synthetic.own_texts import (
    Census,
    Faces,
    Piece,
    census,
    is_shaped,
    own_faces,
    pieces,
    reason_against,
    text_files,
)

SUMMARY = "summary.json"
SHEET = 32  # lines in a row that are on the same paper, so that each sheet is opened once
SHEET_PIXELS = 4_000_000  # a larger sheet is scaled down
TRIES = 4  # of degrading a line so that it can still be read
WINDOW = 2000  # lines in flight


@settings
class OwnLines:
    """How lines are drawn from the user's texts.

    `fonts` and `backgrounds` are folders (empty: the fonts that come along; white paper).
    Texts are cut to `characters` columns (a full-width one takes two). `smallest` and `largest`
    are font sizes in pixels. A share `degraded` looks copied, faxed or stained,
    and can still be read.
    """

    lines: Positive = 10_000
    fonts: str = ""
    backgrounds: str = ""
    seed: Seed = 20240601
    characters: Positive = 70
    smallest: Positive = 16
    largest: Positive = 44
    degraded: Share = 0.3
    workers: Count = 0

    def __post_init__(self) -> None:
        if self.smallest > self.largest:
            raise ValueError(f"smallest ({self.smallest}) must not be over largest")
        if self.smallest < 8:
            raise ValueError(f"smallest ({self.smallest}) must be 8 pixels or more")


@dataclass(frozen=True, slots=True)
class _Job:
    destination: str
    config: OwnLines
    piece: Piece
    number: int
    face: str
    sheet: str  # empty: white paper


def write_own_lines(
    destination: Path, texts: Path, config: OwnLines, language: str, where: str, license: str
) -> list[str]:
    """Draw `config.lines` lines below `destination` (images/, rows.jsonl, summary.json).

    Lines are taken from all over the texts: evenly spaced where there are more than asked
    for, several times each (in other fonts, on other paper) where there are fewer. Line n
    depends on its text, the fonts, the sheets, the seed and n; `workers` changes nothing. Equal
    texts are one document, so that they share a split. `where` is `params.yaml: corpora.NAME`.
    Returns sentences about what was left out.

    Raises:
        UserError: no texts, no line that can be drawn, no usable font, no usable background.
    """
    files = text_files(texts, f"{where}.path")
    faces = own_faces(Path(config.fonts), f"{where}.fonts") if config.fonts else _built_in()
    sheets, bad = _sheets(Path(config.backgrounds), where) if config.backgrounds else ([], [])
    found = census(files, config.characters, faces)
    if not found.usable:
        why = "; ".join(found.told()) or "the texts are empty"
        raise UserError(f"{where}.path: {texts}: no line can be drawn: {why}")
    jobs = _jobs(destination, files, faces, sheets, config, found.usable)
    with atomic_write(destination / ROWS_FILE) as file:
        for job, image in progress(_draw_all(jobs, config.workers), "drawing lines", config.lines):
            row = _row(job, image, language, license)
            values = asdict(row)
            del values["frame"]
            file.write(json.dumps(values, ensure_ascii=False) + "\n")
    write_json(destination / SUMMARY, _summary(found, faces, sheets, bad, config))
    unusable = (("fonts", faces.unreadable), ("backgrounds", bad))
    return found.told() + [
        f"{len(names)} {what} cannot be opened: {', '.join(names[:5])}"
        for what, names in unusable
        if names
    ]


def _built_in() -> Faces:
    return Faces([*fonts.SHARED])


def _summary(
    found: Census, faces: Faces, sheets: list[str], bad: list[str], config: OwnLines
) -> dict[str, object]:
    return {
        "lines": config.lines,
        "text_lines": found.usable,
        "skipped": dict(sorted(found.skipped.items())),
        "lacking": dict(found.lacking.most_common(100)),
        "fonts": len(faces.names),
        "unreadable_fonts": faces.unreadable,
        "backgrounds": len(sheets),
        "unreadable_backgrounds": bad,
    }


def _sheets(folder: Path, where: str) -> tuple[list[str], list[str]]:
    """Return the images of a folder that can be opened, and the names of those that cannot."""
    if not folder.is_dir():
        raise UserError(f"{where}.backgrounds: {folder} does not exist; name a folder of images")
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES)
    usable, bad = [], []
    for path in files:
        try:
            open_image(path)
            usable.append(str(path))
        except UserError:
            bad.append(path.name)
    if not usable:
        problem = f"none of {len(files)} images can be opened" if files else "holds no image"
        raise UserError(f"{where}.backgrounds: {folder}: {problem}; put scans of blank paper there")
    return usable, bad


def _jobs(
    destination: Path, files: list[Path], faces: Faces, sheets: list[str], config: OwnLines,
    usable: int,
) -> Iterator[_Job]:  # fmt: skip
    """Yield a job per line; text k of n is drawn (k + 1) * lines // n - k * lines // n times."""
    place = number = 0
    for piece in pieces(files, config.characters):
        if reason_against(piece.text, faces):
            continue
        times = (place + 1) * config.lines // usable - place * config.lines // usable
        place += 1
        able = faces.able(piece.text)
        usable_faces = [name for k, name in enumerate(faces.names) if able >> k & 1]
        for _ in range(times):
            which = generator("face", config.seed, number, piece.text)
            face = usable_faces[between(which, 0, len(usable_faces) - 1)]
            sheet = _sheet_of(sheets, config.seed, number)
            yield _Job(str(destination), config, piece, number, face, sheet)
            number += 1


def _sheet_of(sheets: list[str], seed: int, number: int) -> str:
    """Return the sheet of a line; lines of the same `SHEET` numbers share it."""
    if not sheets:
        return ""
    return sheets[between(generator("sheet", seed, number // SHEET), 0, len(sheets) - 1)]


def _draw_all(jobs: Iterator[_Job], workers: int) -> Iterator[tuple[_Job, str]]:
    workers = workers or len(os.sched_getaffinity(0))
    window = list(islice(jobs, WINDOW))
    if workers == 1 or len(window) < 200:
        yield from ((job, _draw(job)) for job in window)
        yield from ((job, _draw(job)) for job in jobs)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        while window:
            yield from zip(window, pool.map(_draw, window, chunksize=SHEET), strict=True)
            window = list(islice(jobs, WINDOW))


def _draw(job: _Job) -> str:
    """Draw one line; return its image's path below the destination."""
    config = job.config
    name = f"own:{config.seed}:{job.number}:{job.piece.text}"
    rng = random.Random(int.from_bytes(hashlib.sha256(name.encode()).digest()[:16], "big"))
    size = rng.randint(config.smallest, config.largest)
    text, tracking = job.piece.text, rng.choice((0, 0, 0, -1, 1))
    mask = draw_run(text, Pen(job.face, size, tracking=tracking, shaped=is_shaped(text)), rng)
    x0, y0, x1, y1 = mask.getbbox() or (0, 0, *mask.size)
    room = max(2, size // 8)
    left, top, right, bottom = (rng.randint(2, room + 2) for _ in range(4))
    ink = to_array(mask.crop((x0 - left, y0 - top, x1 + right, y1 + bottom)))
    pixels = generator(name)
    line = to_image(_printed(ink, _paper(job, ink.shape, pixels), pixels))
    if chance(pixels, config.degraded):
        line = _degraded(line, ink, pixels)
    elif chance(pixels, 0.5):
        line = ops.blur(line, between(pixels, 3, 8))
    image = f"images/{job.number // 1000:04d}/{job.number:07d}.png"
    target = Path(job.destination) / image
    target.parent.mkdir(parents=True, exist_ok=True)
    quantize(line).save(target, "PNG", compress_level=6)
    return image


def _degraded(line: Image.Image, ink: Gray, rng: np.random.Generator) -> Image.Image:
    """Return the first degraded copy that can be read, or the clean line after `TRIES`."""
    for _ in range(TRIES):
        degraded = degrade("degraded", line, rng)
        if legible(ink, to_array(degraded)):
            return degraded
    return line


def legible(ink: Gray, values: Gray) -> bool:
    """Say whether print still stands out: `ink` is the mask that was printed, 255 where full.

    The strongest ink (its 95th percentile) must differ from the paper's middle level by 40, two
    thirds of the ink by a quarter of that, and at most a fourth of the bare paper by half of it.
    """
    inked, bare = values[ink > 127].astype(np.int32), values[ink < 16].astype(np.int32)
    if not inked.size or not bare.size:
        return False
    ground = int(np.sort(bare)[bare.size // 2])
    sign = 1 if int(inked.sum()) < ground * inked.size else -1
    step = np.sort((ground - inked) * sign)
    strongest = int(step[step.size * 95 // 100])
    kept = int((step * 4 > strongest).sum())
    dirt = int(((ground - bare) * sign * 2 > strongest).sum())
    return strongest >= 40 and kept * 3 >= 2 * step.size and dirt * 4 <= bare.size


def _paper(job: _Job, shape: tuple[int, ...], rng: np.random.Generator) -> Gray:
    """Return a piece of the job's sheet, or white paper."""
    height, width = shape
    if not job.sheet:
        return np.full((height, width), between(rng, 235, 255), dtype=np.uint8)
    sheet = _sheet(job.sheet)
    if sheet.width < width or sheet.height < height:  # a scrap: as large as the line needs
        scale = max(-(-width * 256 // sheet.width), -(-height * 256 // sheet.height))
        size = (-(-sheet.width * scale // 256), -(-sheet.height * scale // 256))
        sheet = sheet.resize(size, Image.Resampling.BILINEAR)
    x, y = between(rng, 0, sheet.width - width), between(rng, 0, sheet.height - height)
    return to_array(sheet.crop((x, y, x + width, y + height)))


@lru_cache(maxsize=2)
def _sheet(path: str) -> Image.Image:
    image = open_image(path).convert("L")
    return image.resize(scaled_size(image.size, SHEET_PIXELS), Image.Resampling.BOX)


def _printed(ink: Gray, paper: Gray, rng: np.random.Generator) -> Gray:
    """Print on a sheet: dark ink, or light on a dark sheet, at least 100 gray levels apart."""
    ground = int(np.sort(paper, axis=None)[paper.size // 2])
    if ground >= 120:
        level = between(rng, 0, min(90, ground - 100))
    else:
        level = between(rng, max(180, ground + 100), 255)
    mixed = paper.astype(np.int32) * (255 - ink.astype(np.int32)) + level * ink.astype(np.int32)
    return (mixed // 255).astype(np.uint8)


def _row(job: _Job, image: str, language: str, license: str) -> RawRow:
    text = job.piece.text
    return RawRow(
        document=f"text-{hashlib.sha256(text.encode()).hexdigest()[:16]}",
        image=image,
        text=text,
        source=job.piece.source,
        subset=job.piece.subset,
        tags=("drawn",),
        language=language,
        license=license,
    )
