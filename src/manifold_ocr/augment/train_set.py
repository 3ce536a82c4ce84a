"""The train set on disk: clean rows kept as they are, variants of lines and pages beside them."""

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

from manifold_ocr.augment.shares import Cell, Plan, plan
from manifold_ocr.augment.variants import Job, Result, augment_batch
from manifold_ocr.augment_config import AugmentConfig
from manifold_ocr.errors import UserError
from manifold_ocr.files import atomic_write
from manifold_ocr.records import iter_manifest, to_json
from manifold_ocr.resources import progress

PARALLEL_FROM = 256  # lines; below that a pool costs more than it saves
BATCH = 32
NAMES = ("clean", "augmented", "unreadable")
PAGE_NAMES = (
    "pages",
    "page_lines",
    "bent",
    "illegible",
    "too_large",
)  # counted where pages are asked for

Item = TypeVar("Item")


def write_augmented(
    manifest: Path, image_root: Path, folder: Path, config: AugmentConfig, workers: int = 0
) -> dict[str, Any]:
    """Write train.jsonl, images/ and augment.jsonl below `folder`; return the counts.

    Clean rows keep their order, each followed by its variants. With `config.pages` a page
    has as many degraded copies as `variants` says, and each of its lines a row on every one:
    `pages` and `page_lines` count these, `too_large` the copies that a page was too large for,
    `bent` the lines whose box grew too much to hold one line, `illegible` what lost its print
    (or drowned in dirt). augment.jsonl lists each variant
    with its steps, and each row whose image cannot be read with the reason: such a row is left
    out of train.jsonl and counted. `workers` 0 takes every processor; the bytes do not depend
    on it.

    Raises:
        UserError: the manifest is missing, broken or empty, or a share of lines that no row has.
    """
    (folder / "images").mkdir(parents=True, exist_ok=True)
    cells, rows_in = _cells(manifest)
    planned = plan(cells, config)
    totals: Counter[str] = Counter()
    steps: Counter[str] = Counter()
    by_subset = {subset: Counter[str]() for subset in sorted({subset for subset, _ in cells})}
    jobs = _jobs(manifest, image_root, folder, config, planned)
    size = rows_in if config.pages else sum(cells.values())
    with (
        atomic_write(folder / "train.jsonl") as rows,
        atomic_write(folder / "augment.jsonl") as log,
    ):
        for result in progress(_run(jobs, size, workers), "augmenting"):
            counts = _write_result(result, rows, log)
            totals.update(counts)
            by_subset.setdefault(result.row.subset, Counter()).update(counts)
            steps.update(step.name for variant in result.variants for step in variant.steps)
    if not totals["clean"]:
        raise UserError(f"{manifest}: no row is usable for training; see {folder}/augment.jsonl")
    names = (*NAMES, *PAGE_NAMES) if config.pages else NAMES
    metrics: dict[str, Any] = {
        "rows": {name: totals[name] for name in names},
        "by_subset": {
            subset: {name: counts[name] for name in names} for subset, counts in by_subset.items()
        },
        "steps": {name: steps[name] for name in sorted(steps)},
    }
    if shares := planned.shares(config):
        metrics["shares"] = {
            f"{share.kind} {share.name}": {"wanted": share.wanted, "reached": share.reached}
            for share in shares
        }
    return metrics


def _batched(items: Iterable[Item], size: int) -> Iterator[tuple[Item, ...]]:
    iterator = iter(items)
    while batch := tuple(islice(iterator, size)):
        yield batch


def _write_result(result: Result, rows: Any, log: Any) -> Counter[str]:
    if result.error:
        log.write(_line({"id": result.row.id, "error": result.error}))
        return Counter(unreadable=1)
    rows.write(to_json(result.row) + "\n")
    counts = Counter(clean=1, augmented=0)
    for variant in result.variants:
        rows.write(to_json(variant.row) + "\n")
        taken = {step.name: step.strength for step in variant.steps}
        log.write(_line({"id": variant.row.id, "steps": taken}))
        page = "pages" if variant.row.granularity == "page" else "page_lines"
        counts[page if variant.on_page else "augmented"] += 1
    for reason in result.skipped:
        log.write(_line({"id": result.row.id, "skipped": reason}))
        counts[reason] += 1
    return counts


def _line(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False) + "\n"


def _cells(manifest: Path) -> tuple[dict[Cell, int], int]:
    """Return the number of lines of each subset and language, and that of all rows."""
    cells: Counter[Cell] = Counter()
    rows = 0
    for row in iter_manifest(manifest):
        rows += 1
        if row.granularity == "line":
            cells[row.subset, row.language] += 1
    if not rows:
        raise UserError(f"{manifest}: no rows; run the stage manifest with a corpus that trains")
    return dict(cells), rows


def _jobs(
    manifest: Path, image_root: Path, folder: Path, config: AugmentConfig, planned: Plan
) -> Iterator[Job]:
    seen: Counter[Cell] = Counter()
    for batch in _batched(iter_manifest(manifest), BATCH):
        variants = []
        for row in batch:
            if row.granularity != "line":
                variants.append(0)
                continue
            variants.append(planned.variants(row, seen[planned.cell(row)]))
            seen[planned.cell(row)] += 1
        yield Job(batch, tuple(variants), str(image_root), str(folder), config)


def _run(jobs: Iterable[Job], size: int, workers: int) -> Iterator[Result]:
    workers = workers or len(os.sched_getaffinity(0))
    if workers == 1 or size < PARALLEL_FROM:
        for job in jobs:
            yield from augment_batch(job)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        # A few batches a worker at a time: the manifest may be larger than the memory.
        for some in _batched(jobs, 8 * workers):
            for results in pool.map(augment_batch, some):
                yield from results
