"""Which rows a run trains and validates on: filters, limits, rehearsal (torch-free)."""

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path

from manifold_ocr.errors import UserError
from manifold_ocr.files import cache_root, sha256_json, sha256_text
from manifold_ocr.records import Sample, read_samples, write_rows
from manifold_ocr.training.config import TrainConfig


def select(
    samples: Iterable[Sample], config: TrainConfig, granularities: Sequence[str], limit: int
) -> list[Sample]:
    """Return the rows of the wished languages and subsets that the family reads.

    `limit` > 0 keeps that many, chosen by the hash of seed and id: adding rows elsewhere
    changes little. Order is kept.

    Raises:
        UserError: nothing is left.
    """
    rows = [
        sample
        for sample in samples
        if sample.granularity in granularities
        and sample.task == "transcribe"
        and (not config.include_languages or sample.language in config.include_languages)
        and (not config.include_subsets or sample.subset in config.include_subsets)
    ]
    if not rows:
        raise UserError(
            f"no rows left of granularity {' or '.join(granularities)} after "
            f"train.include_languages={list(config.include_languages)} and "
            f"train.include_subsets={list(config.include_subsets)}; check the manifest's card"
        )
    return chosen_by_hash(rows, config.seed, limit)


def chosen_by_hash(rows: list[Sample], seed: int, limit: int) -> list[Sample]:
    """Return `limit` of the rows (0: all) by the hash of seed and id, in their order."""
    if not limit or len(rows) <= limit:
        return rows
    order = sorted(rows, key=lambda s: sha256_text(f"{seed}:{s.id}"))
    chosen = {sample.id for sample in order[:limit]}
    return [sample for sample in rows if sample.id in chosen]


def rehearsal_rows(config: TrainConfig, rows: int) -> list[Sample]:
    """Return general text lines so that they are the share `train.rehearsal` of all rows.

    They are drawn once below output/cache/rehearsal and kept for runs that want the same.
    """
    count = round(rows * config.rehearsal / (1.0 - config.rehearsal))
    if not count:
        return []
    from manifold_ocr.closure import code_fingerprint
    from manifold_ocr.corpora.synthetic import rehearsal

    wanted = {
        "count": count,
        "seed": config.seed,
        "languages": config.rehearsal_languages,
        "degraded": config.rehearsal_degraded,
        "code": code_fingerprint(["manifold_ocr.corpora.synthetic.rehearsal"]),
    }
    folder = (cache_root() / "rehearsal" / sha256_json(wanted)[:32]).resolve()
    listing = folder / "rows.jsonl"
    if not listing.is_file():
        print(f"train: drawing {count} rehearsal lines")
        drawn = rehearsal.write_rehearsal(
            folder, count, config.seed, config.rehearsal_languages, config.rehearsal_degraded
        )
        write_rows(listing, drawn)
    return [_absolute(sample, folder) for sample in read_samples(listing)]


def _absolute(sample: Sample, folder: Path) -> Sample:
    return dataclasses.replace(sample, image=str(folder / sample.image), corpus="rehearsal")
