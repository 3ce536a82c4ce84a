"""The files of a compression check."""

from collections.abc import Mapping
from pathlib import Path

from manifold_ocr.compression.check import Check
from manifold_ocr.compression.efficiency import Cost, compare
from manifold_ocr.compression.plots import write_plots
from manifold_ocr.compression.report import markdown
from manifold_ocr.files import atomic_directory, atomic_write


def write_check(
    check: Check,
    folder: Path,
    costs: Mapping[str, Cost] | None = None,
    baseline: str = "",
) -> None:
    """Write report.md, plot data and plots below `folder`, replacing it as a whole.

    `costs` are clocks: they have no place in a declared out of the pipeline.
    """
    with atomic_directory(folder) as temporary:
        with atomic_write(temporary / "report.md") as file:
            file.write(markdown(check, costs, baseline))
        write_plots(check, compare(check, costs or {}, baseline), temporary)
