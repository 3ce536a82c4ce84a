"""The train set on disk: clean rows kept as they are, variants of lines beside them."""

import hashlib
import io
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

from PIL import Image

from manifold_ocr.augment.ops import generator
from manifold_ocr.augment.recipe import Applied, augment_line
from manifold_ocr.config import AugmentConfig
from manifold_ocr.errors import UserError
from manifold_ocr.files import atomic_write
from manifold_ocr.images import crop, open_image, scaled_size
from manifold_ocr.records import Sample, iter_manifest, to_json
from manifold_ocr.resources import progress

IMAGE_PREFIX = "../augmented/images"  # relative to data/raw, as every image of a manifest is
PARALLEL_FROM = 256  # lines; below that a pool costs more than it saves
BATCH = 32

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class _Variant:
    """One augmented line: its manifest row and what was done to it."""

    row: Sample
    steps: tuple[Applied, ...]


@dataclass(frozen=True, slots=True)
class _Result:
    """What became of one row; `error` is set where its image cannot be read."""

    row: Sample
    variants: tuple[_Variant, ...] = ()
    error: str = ""


@dataclass(frozen=True, slots=True)
class _Job:
    rows: tuple[Sample, ...]
    variants: tuple[int, ...]
    image_root: str
    folder: str
    config: AugmentConfig


def write_augmented(
    manifest: Path, image_root: Path, folder: Path, config: AugmentConfig, workers: int = 0
) -> dict[str, Any]:
    """Write train.jsonl, images/ and augment.jsonl below `folder`; return the counts.

    Clean rows keep their order, each followed by its variants. Only lines are augmented;
    pages stay clean. augment.jsonl lists each variant with its steps, and each row whose
    image cannot be read with the reason: such a row is left out of train.jsonl and counted.
    `workers` 0 takes every processor; the bytes do not depend on it.

    Raises:
        UserError: the manifest is missing, broken or empty.
    """
    (folder / "images").mkdir(parents=True, exist_ok=True)
    sizes = _subset_sizes(manifest)
    totals: Counter[str] = Counter()
    steps: Counter[str] = Counter()
    by_subset: dict[str, Counter[str]] = {name: Counter() for name in sorted(sizes)}
    jobs = _jobs(manifest, image_root, folder, config, sizes)
    with (
        atomic_write(folder / "train.jsonl") as rows,
        atomic_write(folder / "augment.jsonl") as log,
    ):
        for result in progress(_run(jobs, sum(sizes.values()), workers), "augmenting"):
            counts = _write_result(result, rows, log)
            totals.update(counts)
            by_subset.setdefault(result.row.subset, Counter()).update(counts)
            steps.update(step.name for variant in result.variants for step in variant.steps)
    if not totals["clean"]:
        raise UserError(f"{manifest}: no row is usable for training; see {folder}/augment.jsonl")
    names = ("clean", "augmented", "unreadable")
    return {
        "rows": {name: totals[name] for name in names},
        "by_subset": {
            subset: {name: counts[name] for name in names} for subset, counts in by_subset.items()
        },
        "steps": {name: steps[name] for name in sorted(steps)},
    }


def _batched(items: Iterable[Item], size: int) -> Iterator[tuple[Item, ...]]:
    iterator = iter(items)
    while batch := tuple(islice(iterator, size)):
        yield batch


def _write_result(result: _Result, rows: Any, log: Any) -> dict[str, int]:
    if result.error:
        log.write(_line({"id": result.row.id, "error": result.error}))
        return {"unreadable": 1}
    rows.write(to_json(result.row) + "\n")
    for variant in result.variants:
        rows.write(to_json(variant.row) + "\n")
        taken = {step.name: step.strength for step in variant.steps}
        log.write(_line({"id": variant.row.id, "steps": taken}))
    return {"clean": 1, "augmented": len(result.variants)}


def _line(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False) + "\n"


def _subset_sizes(manifest: Path) -> dict[str, int]:
    """Return the number of lines of each subset (pages are not augmented, so not counted)."""
    sizes: Counter[str] = Counter()
    rows = 0
    for row in iter_manifest(manifest):
        rows += 1
        if row.granularity == "line":
            sizes[row.subset] += 1
    if not rows:
        raise UserError(f"{manifest}: no rows; run the stage manifest with a corpus that trains")
    return dict(sizes)


def _jobs(
    manifest: Path, image_root: Path, folder: Path, config: AugmentConfig, sizes: dict[str, int]
) -> Iterator[_Job]:
    seen: Counter[str] = Counter()
    for batch in _batched(iter_manifest(manifest), BATCH):
        variants = []
        for row in batch:
            variants.append(_variants(row, config, sizes, seen[row.subset]))
            seen[row.subset] += row.granularity == "line"
        yield _Job(batch, tuple(variants), str(image_root), str(folder), config)


def _variants(row: Sample, config: AugmentConfig, sizes: dict[str, int], position: int) -> int:
    """Return how many variants a row gets; `position` counts the lines of its subset.

    To balance, a subset of n lines needs (1 + variants) * largest rows; what that is over
    n is spread evenly, so that neighbors differ by one variant at most.
    """
    if row.granularity != "line":
        return 0
    if config.balance == "none":
        return config.variants
    size = sizes[row.subset]
    wanted = (1 + config.variants) * max(sizes.values()) - size
    return min(config.max_variants, wanted * (position + 1) // size - wanted * position // size)


def _run(jobs: Iterable[_Job], lines: int, workers: int) -> Iterator[_Result]:
    workers = workers or len(os.sched_getaffinity(0))
    if workers == 1 or lines < PARALLEL_FROM:
        for job in jobs:
            yield from _augment_batch(job)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        # A few batches a worker at a time: the manifest may be larger than the memory.
        for some in _batched(jobs, 8 * workers):
            for results in pool.map(_augment_batch, some):
                yield from results


def _augment_batch(job: _Job) -> list[_Result]:
    results = []
    for row, count in zip(job.rows, job.variants, strict=True):
        try:
            variants = tuple(_augment(row, number, job) for number in range(1, count + 1))
            results.append(_Result(row, variants))
        except UserError as error:
            results.append(_Result(row, error=str(error)))
    return results


def _augment(row: Sample, number: int, job: _Job) -> _Variant:
    line = crop(_page(str(Path(job.image_root) / row.image), row.frame, row.max_pixels), row.box)
    name = f"{row.id}~v{number}"
    rng = generator(job.config.seed, row.id, number)
    image, steps = augment_line(line, job.config.recipe, rng)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=4)
    data = buffer.getvalue()
    digest = hashlib.sha256(name.encode("utf-8")).hexdigest()
    file = f"{digest[:2]}/{digest[2:26]}.png"
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
    return _Variant(augmented, steps)


@lru_cache(maxsize=2)
def _page(path: str, frame: int, max_pixels: int) -> Image.Image:
    """Return the image that the lines of one page are cut from (neighbors share it)."""
    image = open_image(path, frame)
    size = scaled_size(image.size, max_pixels)
    return image if size == image.size else image.resize(size, Image.Resampling.BICUBIC)
