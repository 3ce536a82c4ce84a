"""Manifest files: one JSON Lines file, or a folder of shards above a number of rows."""

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from manifold_ocr.errors import UserError
from manifold_ocr.files import cache_root
from manifold_ocr.records import Sample, read_samples

if TYPE_CHECKING:
    from datasets import Dataset

SHARD = "shard-{:05d}.jsonl"


def write_lines(path: Path, lines: Iterable[bytes], total: int, shard_rows: int) -> None:
    """Write JSON lines to the file `path`, or to shards in a folder of that name.

    The name is the same either way, so that the pipeline's declared outputs never change.
    """
    if total <= shard_rows:
        _write(path, lines)
        return
    path.mkdir(parents=True)
    stream = iter(lines)
    for number in range(-(-total // shard_rows)):
        _write(path / SHARD.format(number), islice(stream, shard_rows))


def _write(path: Path, lines: Iterable[bytes]) -> None:
    with open(path, "wb") as file:
        file.writelines(lines)


def manifest_files(path: Path | str) -> list[Path]:
    """Return the files of a manifest: itself, or its shards in order.

    Raises:
        UserError: nothing there.
    """
    path = Path(path)
    if path.is_dir():
        shards = sorted(path.glob("shard-*.jsonl"))
        if not shards:
            raise UserError(f"{path}: a folder without shards; run the manifest stage again")
        return shards
    if not path.is_file():
        raise UserError(f"{path}: no such file; run the manifest stage first")
    return [path]


def iter_manifest(path: Path | str) -> Iterator[Sample]:
    """Stream the samples of a manifest, sharded or not, in order."""
    for file in manifest_files(path):
        yield from read_samples(file)


def load_memory_mapped(path: Path | str) -> "Dataset":
    """Load a manifest through `datasets`: rows stay on disk, random access costs no memory."""
    import datasets

    files = [str(file) for file in manifest_files(path)]
    return datasets.load_dataset(
        "json", data_files=files, split="train", cache_dir=str(cache_root() / "datasets")
    )
