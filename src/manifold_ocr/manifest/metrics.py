"""metrics/manifest.json: finite scalars only, no clocks."""

from collections.abc import Sequence
from typing import Any

from manifold_ocr.corpora.registry import SelectedCorpus
from manifold_ocr.manifest.build import BuildReport
from manifold_ocr.manifest.splits import SPLITS, TRAIN, VAL
from manifold_ocr.manifest.verdicts import (
    LEAK_EXACT,
    LEAK_IMAGE,
    LEAK_TEXT,
    LEAKS,
    VAL_EXACT,
    VAL_IMAGE,
    VAL_LEAKS,
    VAL_TEXT,
)


def manifest_metrics(report: BuildReport, corpora: Sequence[SelectedCorpus] = ()) -> dict[str, Any]:
    """Return counts per split, corpus, subset and language; what was dropped, and why."""
    metrics: dict[str, Any] = {
        split: {
            "rows": counts.rows,
            "documents": counts.documents,
            "images": counts.images,
            "characters": counts.characters,
        }
        for split, counts in report.splits.items()
    }
    for attribute in ("corpus", "subset", "language"):
        metrics[f"by_{attribute}"] = {
            value: {split: report.splits[split].by(attribute).get(value, 0) for split in SPLITS}
            for value in sorted({v for c in report.splits.values() for v in c.by(attribute)})
        }
    metrics["rejected"] = {
        "total": report.rejected.total(),
        "fraction": round(report.rejected_fraction, 6),
        "by_reason": dict(sorted(report.rejected.items())),
    }
    metrics["filtered"] = dict(sorted(report.filtered.items()))
    metrics["contaminated_benchmarks"] = sum(corpus.contaminated for corpus in corpora)
    metrics["leakage"] = leakage_metrics(report)
    metrics["truncated"] = truncated(report)
    return metrics


def leakage_metrics(report: BuildReport) -> dict[str, Any]:
    """Return rows removed because another split knows their page, by evidence.

    The top level counts rows of train; `validation` those of validation known to test.
    """
    train, val = report.removed[TRAIN], report.removed[VAL]
    leaked = sum(train.get(code, 0) for code in LEAKS)
    kept = report.splits[TRAIN].rows
    return {
        "exact": train.get(LEAK_EXACT, 0),
        "near_image": train.get(LEAK_IMAGE, 0),
        "near_text": train.get(LEAK_TEXT, 0),
        "rows": leaked,
        "fraction": round(leaked / (leaked + kept), 6) if leaked else 0.0,
        "index_pages": report.leaks.index_pages,
        "uncovered_pages": report.leaks.uncovered_pages,
        "validation": {
            "exact": val.get(VAL_EXACT, 0),
            "near_image": val.get(VAL_IMAGE, 0),
            "near_text": val.get(VAL_TEXT, 0),
            "rows": sum(val.get(code, 0) for code in VAL_LEAKS),
        },
    }


def truncated(report: BuildReport) -> dict[str, Any]:
    """Return how many labels are longer than train.max_target_length, by subset."""
    by_subset: dict[str, int] = {}
    for counts in report.splits.values():
        for group, number in counts.too_long_by_group.items():
            key = f"{group.corpus}.{group.subset}"
            by_subset[key] = by_subset.get(key, 0) + number
    return {"total": sum(by_subset.values()), "by_subset": dict(sorted(by_subset.items()))}
