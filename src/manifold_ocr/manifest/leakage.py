"""The leak gate: training pages that validation, test or a benchmark knows already."""

from dataclasses import dataclass, field
from pathlib import Path

from manifold_ocr.manifest.config import LeakageConfig


@dataclass(frozen=True)
class LeakReport:
    """`near` maps the key of a leaking training image to (verdict code, name of its twin)."""

    near: dict[int, tuple[int, str]] = field(default_factory=dict)
    index_pages: int = 0
    uncovered_pages: int = 0
    train_pages: int = 0


def find_near_duplicates(tables: list[Path], config: LeakageConfig) -> LeakReport:
    """Compare training pages with those of the other splits."""
    return LeakReport()
