"""placeholder"""

from pathlib import Path


def is_archive(path: Path) -> bool:
    return False


def unpack(a: Path, b: Path) -> None: ...
