"""An engine's scores in the form that the leaderboard reads (metrics/engines/NAME.json)."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from manifold_ocr.engines.paired import paired
from manifold_ocr.files import sha256_file, sha256_text
from manifold_ocr.records import Sample, read_predictions
from manifold_ocr.reports.reading import Reading
from manifold_ocr.reports.rows import EvalManifest
from manifold_ocr.scoring import EvaluateConfig, score_rows, summarise


def slug(name: str) -> str:
    """Return a file name for an engine's name."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.").lower() or "engine"


def some_documents(samples: Sequence[Sample], count: int, seed: int) -> tuple[Sample, ...]:
    """Return all samples of `count` documents (0: of all), chosen by hash within each subset.

    Subsets take turns, so that a small sample holds a document of each.
    """
    if not count:
        return tuple(samples)
    by_subset: dict[tuple[str, str], set[str]] = {}
    for sample in samples:
        by_subset.setdefault((sample.corpus, sample.subset), set()).add(sample.document)
    queues = [
        [(corpus, d) for d in sorted(documents, key=lambda d: sha256_text(f"{seed}:{d}"))]
        for (corpus, _), documents in sorted(by_subset.items())
    ]
    longest = max(map(len, queues))
    turns = [queue[turn] for turn in range(longest) for queue in queues if turn < len(queue)]
    chosen = set(list(dict.fromkeys(turns))[:count])
    return tuple(s for s in samples if (s.corpus, s.document) in chosen)


def scores_of(
    name: str,
    manifest: EvalManifest,
    samples: Sequence[Sample],
    reading: Reading,
    config: EvaluateConfig,
    ours: Sequence[Path] = (),
) -> dict[str, Any]:
    """Return the metrics file of an engine that read `samples`, which `manifest` holds.

    `manifest_sha256` tells whether two files are comparable. `ours` are prediction files of
    our systems: each is compared in pairs, and its hash tells later whether it is still the
    current one.
    """
    rows = score_rows(samples, reading.predictions, config)
    known = {sample.id: sample for sample in samples}
    others = {}
    for path in ours:
        common = [p for p in read_predictions(path) if p.id in known]
        if common:
            others[path.stem] = score_rows([known[p.id] for p in common], common, config)
    return {
        "name": name,
        "manifest_sha256": manifest.sha256,
        "import": reading.counts or {},
        "unreadable_images": len(reading.failures),
        "predictions_sha256": {path.stem: sha256_file(path) for path in ours},
        "paired": paired(rows, others, config),
        **summarise(rows, config),
    }
