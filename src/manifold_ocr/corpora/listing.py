"""List the files of a raw folder in one order on every file system."""

import os
from collections.abc import Iterator
from pathlib import Path

IMAGE_SUFFIXES = frozenset(
    (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".gif", ".pbm", ".pgm", ".ppm")
)


def walk_files(root: Path) -> Iterator[str]:
    """Yield the paths of all files below `root`, relative, `/`-separated, hidden ones skipped.

    The order is by name within each folder (code points), independent of the file system.
    """
    yield from _walk(str(root), "")


def _walk(folder: str, prefix: str) -> Iterator[str]:
    with os.scandir(folder) as entries:
        listed = sorted(entries, key=lambda entry: entry.name)
    for entry in listed:
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            yield from _walk(entry.path, f"{prefix}{entry.name}/")
        elif entry.is_file():
            yield prefix + entry.name


def is_image(name: str) -> bool:
    """Say whether a file name has the suffix of an image format."""
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES  # noqa: PTH122 (hot: 1e6 names)
