"""An engine's scores in the form that the leaderboard reads (metrics/engines/NAME.json)."""

import re
from typing import Any

from manifold_ocr.reports.reading import Reading
from manifold_ocr.reports.rows import EvalManifest
from manifold_ocr.scoring import EvaluateConfig, score, summarise


def slug(name: str) -> str:
    """Return a file name for an engine's name."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.").lower() or "engine"


def scores_of(
    name: str, manifest: EvalManifest, reading: Reading, config: EvaluateConfig
) -> dict[str, Any]:
    """Return the metrics file: `manifest_sha256` tells whether two files are comparable."""
    scores = score(manifest.samples, reading.predictions, config)
    return {
        "name": name,
        "manifest_sha256": manifest.sha256,
        "import": reading.counts or {},
        "unreadable_images": len(reading.failures),
        **summarise(scores.rows, config),
    }
