"""placeholder"""

from pathlib import Path


def download_dataset_files(*a) -> Path: ...
