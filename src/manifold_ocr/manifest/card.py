"""The dataset card: what is in the manifests, under which licence, and what was left out."""

from collections.abc import Sequence
from pathlib import Path

from manifold_ocr.corpora.registry import SelectedCorpus
from manifold_ocr.files import atomic_write
from manifold_ocr.manifest.build import BuildReport
from manifold_ocr.manifest.config import ManifestConfig


def write_card(
    folder: Path,
    report: BuildReport,
    corpora: Sequence[SelectedCorpus],
    config: ManifestConfig,
    raw_root: Path,
) -> None:
    """Write card.md into `folder`."""
    with atomic_write(folder / "card.md") as file:
        file.write("# Dataset card\n")
