"""The gates of the manifest stage: too much rejected, too much leaked."""

from typing import Any

from manifold_ocr.manifest.build import BuildReport
from manifold_ocr.manifest.config import ManifestConfig


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
