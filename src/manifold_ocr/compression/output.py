"""The files of a compression check."""

from pathlib import Path

from manifold_ocr.compression.check import Check
from manifold_ocr.compression.plots import write_plots
from manifold_ocr.compression.report import markdown
from manifold_ocr.files import atomic_directory, atomic_write


def write_check(check: Check, folder: Path) -> None:
    """Write report.md, plot data and plots below `folder`, replacing it as a whole."""
    with atomic_directory(folder) as temporary:
        with atomic_write(temporary / "report.md") as file:
            file.write(markdown(check))
        write_plots(check, temporary)
