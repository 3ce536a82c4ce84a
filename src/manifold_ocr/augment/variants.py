"""What one row becomes: degraded copies of a line's crop, and of the page that it is on."""

import hashlib
import io
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from manifold_ocr.augment.effects import ink_level
from manifold_ocr.augment.ops import Gray, generator, paper_level, to_array
from manifold_ocr.augment.recipe import Applied, augment_line, augment_page, follow
from manifold_ocr.augment_config import AugmentConfig, Recipe
from manifold_ocr.errors import UserError
from manifold_ocr.files import atomic_write
from manifold_ocr.images import crop, open_image, scaled_size
from manifold_ocr.records import Sample

IMAGE_PREFIX = "../augmented/images"  # relative to data/raw, as every image of a manifest is
MOST_PIXELS = 20_000_000  # of a page: A4 at 400 dots per inch; larger ones stay clean
TILES = 12  # along each side of a page, whose print is judged tile by tile
MOST_GROWTH = 1.5  # a bent line's box that grew by more holds its neighbors too


@dataclass(frozen=True, slots=True)
class Variant:
    """One augmented line or page: its manifest row and what was done to it."""

    row: Sample
    steps: tuple[Applied, ...]
    on_page: bool = False


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one row.

    `error` is set where its image cannot be read. `skipped` gives the reason ("too_large",
    "bent", "illegible") of each degraded page that the row is not on.
    """

    row: Sample
    variants: tuple[Variant, ...] = ()
    error: str = ""
    skipped: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Job:
    """Rows with the number of variants of each, and where images come from and go to."""

    rows: tuple[Sample, ...]
    variants: tuple[int, ...]
    image_root: str
    folder: str
    config: AugmentConfig


def augment_batch(job: Job) -> list[Result]:
    """Write the images of a job's variants; return what became of each row, in order."""
    results = []
    for row, count in zip(job.rows, job.variants, strict=True):
        try:
            variants = [_line_variant(row, number, job) for number in range(1, count + 1)]
            skipped = []
            for number in range(1, _page_variants(row, job.config) + 1):
                variant = _page_variant(row, number, job)
                if isinstance(variant, str):
                    skipped.append(variant)
                else:
                    variants.append(variant)
            results.append(Result(row, tuple(variants), skipped=tuple(skipped)))
        except UserError as error:
            results.append(Result(row, error=str(error)))
    return results


def _line_variant(row: Sample, number: int, job: Job) -> Variant:
    line = crop(_page(str(Path(job.image_root) / row.image), row.frame, row.max_pixels), row.box)
    name = f"{row.id}~v{number}"
    rng = generator(job.config.seed, row.id, number)
    image, steps = augment_line(line, job.config.recipe, rng)
    data = _png(image)
    file = _file_of(name)
    target = Path(job.folder) / "images" / file
    target.parent.mkdir(exist_ok=True)
    target.write_bytes(data)
    augmented = replace(
        row,
        id=name,
        image=f"{IMAGE_PREFIX}/{file}",
        image_sha256=hashlib.sha256(data).hexdigest(),
        width=image.width,
        height=image.height,
        max_pixels=0,
        box=None,
        frame=0,
        tags=(*row.tags, "augmented"),
    )
    return Variant(augmented, steps)


def _page_variants(row: Sample, config: AugmentConfig) -> int:
    """Return how many degraded pages a row is on: pages and the lines cut from them have some."""
    on_page = row.granularity == "page" or row.box is not None
    return config.variants if config.pages and on_page else 0


def _page_variant(row: Sample, number: int, job: Job) -> Variant | str:
    """Return the row on the `number`-th degraded copy of its page, or why it is not on it.

    What is done to a page follows from its image and the seed, so all its rows agree,
    whoever draws it; a line's box moves as the page was bent.
    """
    path = str(Path(job.image_root) / row.image)
    clean = _page(path, row.frame, row.max_pixels)
    if clean.width * clean.height > MOST_PIXELS:
        return "too_large"
    name = f"{row.image}#{row.frame}@{row.max_pixels}~p{number}"
    seed = (job.config.seed, name)
    file, recipe = _file_of(name), job.config.recipe
    target = Path(job.folder) / "images" / file
    drawn = _drawn(target, path, row.frame, row.max_pixels, recipe, seed)
    if not target.is_file():  # what was remembered is of a folder that was since removed
        _drawn.cache_clear()
        drawn = _drawn(target, path, row.frame, row.max_pixels, recipe, seed)
    box = row.box and follow(row.box, clean.size, recipe, *seed)
    if row.box and box and _height(box) > MOST_GROWTH * _height(row.box) + 4:
        return "bent"
    if row.box and not still_printed(crop(clean, row.box), crop(drawn.image, box)):
        return "illegible"
    if not row.box and not page_printed(clean, drawn.image, recipe, seed):
        return "illegible"
    augmented = replace(
        row,
        id=f"{row.id}~p{number}",
        image=f"{IMAGE_PREFIX}/{file}",
        image_sha256=drawn.sha256,
        width=drawn.image.width,
        height=drawn.image.height,
        max_pixels=0 if row.box else row.max_pixels,  # boxes are in pixels of the file
        box=box,
        frame=0,
        tags=(*row.tags, "augmented"),
    )
    return Variant(augmented, drawn.steps, on_page=True)


def _height(box: tuple[float, float, float, float]) -> float:
    return box[3] - box[1]


@dataclass(frozen=True, slots=True)
class _Drawn:
    """A degraded page, which is also on disk."""

    sha256: str
    image: Image.Image
    steps: tuple[Applied, ...]


@lru_cache(maxsize=8)
def _drawn(
    target: Path, path: str, frame: int, max_pixels: int, recipe: Recipe, seed: tuple[object, ...]
) -> _Drawn:
    """Draw a degraded page; the rows of a page are neighbors and share what is known of it.

    Two processes that share a page both draw it; the bytes are equal and each write is whole.
    """
    image, steps = augment_page(_page(path, frame, max_pixels), recipe, *seed)
    data = _png(image)
    with atomic_write(target, "wb") as file:
        file.write(data)
    return _Drawn(hashlib.sha256(data).hexdigest(), image, steps)


def still_printed(before: Image.Image, after: Image.Image) -> bool:
    """Say whether a third to the fourfold of the print is left where there was some.

    Print is what is darker than the middle between the paper's level and the ink's.
    """
    was, is_ = print_area(to_array(before)), print_area(to_array(after))
    return not was or was <= 3 * is_ <= 12 * was


def page_printed(
    before: Image.Image, after: Image.Image, recipe: Recipe, seed: tuple[object, ...]
) -> bool:
    """Say whether three in four of the tiles of a page that hold print still do.

    A tile is a twelfth of the page wide and high, so that pale print counts beside dark.
    """
    width, height = before.size
    printed = kept = 0
    for place in range(TILES * TILES):
        row, column = divmod(place, TILES)
        tile = (width * column / TILES, height * row / TILES,
                width * (column + 1) / TILES, height * (row + 1) / TILES)  # fmt: skip
        clean = crop(before, tile)
        if print_area(to_array(clean)):
            printed += 1
            kept += still_printed(clean, crop(after, follow(tile, before.size, recipe, *seed)))
    return 4 * kept >= 3 * printed


def print_area(values: Gray) -> int:
    """Return the number of pixels of print; 0 where ink and paper are under 24 levels apart."""
    paper, ink = paper_level(values), ink_level(values)
    return int((2 * values.astype(np.int32) < paper + ink).sum()) if paper - ink >= 24 else 0


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=4)
    return buffer.getvalue()


def _file_of(name: str) -> str:
    digest = hashlib.sha256(name.encode("utf-8")).hexdigest()
    return f"{digest[:2]}/{digest[2:26]}.png"


@lru_cache(maxsize=2)
def _page(path: str, frame: int, max_pixels: int) -> Image.Image:
    """Return the image that the lines of one page are cut from (neighbors share it)."""
    image = open_image(path, frame)
    size = scaled_size(image.size, max_pixels)
    return image if size == image.size else image.resize(size, Image.Resampling.BICUBIC)
