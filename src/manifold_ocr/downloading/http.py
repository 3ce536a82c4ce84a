"""placeholder"""

from pathlib import Path


def download_file(url: str, path: Path, sha256: str) -> Path: ...
