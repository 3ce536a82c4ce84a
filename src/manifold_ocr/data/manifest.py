"""Build the manifests: parts in parallel, verdicts over all rows, one sorted merge."""

import os
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson

from manifold_ocr.config import ManifestConfig
from manifold_ocr.data.dedup import (
    KEEP,
    LEAKING,
    OVER_LIMIT,
    REASONS,
    Run,
    SplitCounts,
    Verdicts,
    count_splits,
    judge,
    merge,
)
from manifold_ocr.data.image_index import CacheReport, prepare_images
from manifold_ocr.data.leakage import LeakReport, find_leaks
from manifold_ocr.data.parts import PARTS, PartResult, PartTask, work
from manifold_ocr.data.registry import SelectedCorpus
from manifold_ocr.data.rows import SPLITS, TEST, TRAIN, VAL, Splitter
from manifold_ocr.errors import UserError
from manifold_ocr.files import cache_root
from manifold_ocr.records import Rejection, write_lines, write_rows
from manifold_ocr.resources import progress


@dataclass
class BuildReport:
    """What the build found; `seconds` are clocks and belong in metrics/perf.json only."""

    splits: dict[str, SplitCounts]
    rejected: Counter[str]
    filtered: Counter[str]
    images: CacheReport
    leaks: LeakReport
    removed: dict[str, dict[int, int]]
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def rejected_fraction(self) -> float:
        """Return rejected rows as a share of the rejected and the kept (leaks count apart)."""
        kept = sum(split.rows for split in self.splits.values())
        total = sum(n for reason, n in self.rejected.items() if not reason.startswith("leak_"))
        return total / (total + kept) if total else 0.0


def build_rows(
    corpora: Sequence[SelectedCorpus],
    config: ManifestConfig,
    raw_root: Path,
    destination: Path,
    max_target_length: int = 0,
) -> BuildReport:
    """Write train, val, test and rejected .jsonl below `destination` (an existing folder).

    Rows are sorted by id and hold no clock or path of this machine; equal inputs give equal
    bytes with any number of workers. Memory is bounded by the rows of one run and about 100
    bytes per row for the verdicts.

    Raises:
        UserError: a corpus was not downloaded, or no row is left.
    """
    _check_downloaded(corpora, raw_root)
    workers = config.workers or os.cpu_count() or 1
    clock = _Clock()
    caches = cache_root() / "manifest"
    started_ns = time.time_ns()
    names = [corpus.name for corpus in corpora]
    images = prepare_images(raw_root, names, caches / "images.sqlite", started_ns, workers)
    clock.lap("images")
    with tempfile.TemporaryDirectory(prefix="manifest-", dir=caches) as scratch:
        shared = PartTask(
            corpus=corpora[0],
            splitter=_splitter(corpora[0], config),
            config=config,
            max_target_length=max_target_length,
            raw_root=raw_root,
            cache_folder=caches,
            started_ns=started_ns,
            scratch=Path(scratch),
            part=0,
        )
        results = _run(_tasks(shared, corpora), workers)
        clock.lap("rows")
        units = [table for result in results for table in result.units]
        leaks = find_leaks(units, config.leakage, workers)
        clock.lap("leakage")
        report = _write(results, leaks, images, config, destination)
        clock.lap("write")
    report.seconds = clock.laps
    return report


def _tasks(shared: PartTask, corpora: Sequence[SelectedCorpus]) -> list[PartTask]:
    return [
        replace(shared, corpus=corpus, splitter=_splitter(corpus, shared.config), part=part)
        for corpus in corpora
        for part in range(PARTS)
    ]


def _write(
    results: list[PartResult],
    leaks: LeakReport,
    images: CacheReport,
    config: ManifestConfig,
    destination: Path,
) -> BuildReport:
    """Judge all rows, write the manifests and the rejections, count what was kept."""
    runs = [run for result in results for run in result.runs]
    verdicts = judge(runs, config, leaks.found)
    rejections = [r for result in results for r in result.rejections]
    for split in SPLITS:
        rejections += _write_split(split, runs, verdicts, destination, config)
    rejections.sort(key=lambda r: (r.corpus, r.source, r.reason, r.detail))
    write_rows(destination / "rejected.jsonl", rejections)
    splits = count_splits(runs, verdicts)
    if not any(counts.rows for counts in splits.values()):
        _refuse_empty(rejections, results)
    return BuildReport(
        splits=splits,
        rejected=Counter(rejection.reason for rejection in rejections),
        filtered=_filtered(results, runs, verdicts),
        images=images,
        leaks=leaks,
        removed={split: verdicts.counts(runs, split) for split in SPLITS},
    )


class _Clock:
    def __init__(self) -> None:
        self._last = time.perf_counter()
        self.laps: dict[str, float] = {}

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.laps[name] = now - self._last
        self._last = now


def _check_downloaded(corpora: Sequence[SelectedCorpus], raw_root: Path) -> None:
    for corpus in corpora:
        if not (raw_root / corpus.name).is_dir():
            raise UserError(
                f"{raw_root / corpus.name}: corpus {corpus.name} is not downloaded; "
                f"run: dvc repro download@{corpus.name}"
            )


def _splitter(corpus: SelectedCorpus, config: ManifestConfig) -> Splitter:
    name, whole, val_share = corpus.name, "", config.val_split
    if corpus.role == "eval_only" or name in config.test_corpora:
        whole = TEST
    elif name in config.validation_corpora:
        whole = VAL
    elif config.train_corpora and name not in config.train_corpora:
        whole = TEST
    elif config.validation_corpora:
        val_share = 0.0
    return Splitter(name, config.seed, val_share, config.test_split, whole)


def _run(tasks: list[PartTask], workers: int) -> list[PartResult]:
    if workers == 1:
        return [work(task) for task in progress(tasks, "rows", len(tasks), unit="part")]
    with ProcessPoolExecutor(workers) as pool:
        return list(progress(pool.map(work, tasks), "rows", len(tasks), unit="part"))


def _write_split(
    split: str, runs: list[Run], verdicts: Verdicts, destination: Path, config: ManifestConfig
) -> list[Rejection]:
    """Write one split; return the rejections of its rows that were judged unfit."""
    numbers = [i for i, run in enumerate(runs) if run.split == split]
    codes = [verdicts.codes[i] for i in numbers]
    total = sum(int((part == KEEP).sum()) for part in codes)
    rejections: list[Rejection] = []

    def kept() -> Iterator[bytes]:
        for line, run, index in merge([runs[i] for i in numbers]):
            code = codes[run][index]
            if code == KEEP:
                yield line
            elif code != OVER_LIMIT:
                rejections.append(_rejection(line, int(code), verdicts))

    write_lines(destination / f"{split}.jsonl", kept(), total, config.shard_rows)
    return rejections


def _rejection(line: bytes, code: int, verdicts: Verdicts) -> Rejection:
    row = orjson.loads(line)
    reason, detail = REASONS[code]
    image = int(row["image_sha256"][:16], 16)
    found = verdicts.found_in.get((row["split"], image), "") if code in LEAKING else ""
    return Rejection(
        corpus=row["corpus"],
        source=row["id"],
        reason=reason,
        detail=f"{detail}: {found}" if found else detail,
    )


def _filtered(results: list[PartResult], runs: list[Run], verdicts: Verdicts) -> Counter[str]:
    totals: Counter[str] = Counter()
    for result in results:
        totals.update(result.filtered)
    for split, name in (
        (TRAIN, "max_train_samples"),
        (VAL, "max_val_samples"),
        (TEST, "max_test_samples"),
    ):
        if over := verdicts.counts(runs, split).get(OVER_LIMIT, 0):
            totals[name] = over
    return totals


def _refuse_empty(rejections: list[Rejection], results: list[PartResult]) -> None:
    filtered = sum(result.filtered.total() for result in results)
    example = f" (first: {rejections[0].source}: {rejections[0].detail})" if rejections else ""
    raise UserError(
        f"no row is left: {len(rejections)} rejected{example}, {filtered} filtered out; check "
        "the corpora's folders and manifest.include_languages / include_subsets / "
        "include_tasks / include_granularities in params.yaml"
    )


def check_gates(report: BuildReport, metrics: dict[str, Any], config: ManifestConfig) -> str:
    """Return why the manifest must not be used, or an empty string."""
    where = "see data/manifest/rejected.jsonl"
    fraction = report.rejected_fraction
    if fraction > config.max_rejected_fraction:
        reasons = ", ".join(f"{name} {count}" for name, count in report.rejected.most_common(3))
        return (
            f"manifest: {fraction:.2%} of the rows are rejected ({reasons}), over "
            f"manifest.max_rejected_fraction {config.max_rejected_fraction:.2%}; {where}"
        )
    leaked = metrics["leakage"]["fraction"]
    if config.leakage.enabled and leaked > config.leakage.max_fraction:
        return (
            f"manifest: {leaked:.2%} of the training rows are pages of validation, test or a "
            f"benchmark, over manifest.leakage.max_fraction {config.leakage.max_fraction:.2%}; "
            f"{where}"
        )
    return ""
