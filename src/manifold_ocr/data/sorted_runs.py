"""Sorted runs on disk and their merge: a million rows pass through bounded memory.

A run holds one split of one part, sorted by id: `rows` (id, NUL, JSON, newline) and
`keys.npy`, one fixed-size record a row in the same order.
"""

import heapq
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

KEYS = np.dtype(
    [
        ("input", "<u8"),
        ("text", "<u8"),
        ("image", "<u8"),
        ("document", "<u8"),
        ("order", "<u8"),
        ("group", "<u4"),
        ("chars", "<u4"),
        ("width", "<u4"),
        ("height", "<u4"),
        ("over", "u1"),
    ]
)
_KEY = struct.Struct("<5Q4IB")  # KEYS, field by field: packing is faster than numpy's tuples


@dataclass(frozen=True)
class Run:
    """One sorted run; `groups` maps a key record's `group` to what it counts under."""

    split: str
    rows: Path
    keys_file: Path
    groups: tuple["Group", ...]

    def keys(self) -> np.ndarray:
        """Return the key records, one a row, in row order."""
        keys: np.ndarray = np.load(self.keys_file, mmap_mode="r")
        return keys


@dataclass(frozen=True, slots=True)
class Group:
    """The attributes under which rows are counted in metrics and on the dataset card."""

    corpus: str
    subset: str
    language: str
    licence: str
    granularity: str
    task: str


def pack_key(*fields: int) -> bytes:
    """Return one `KEYS` record."""
    return _KEY.pack(*fields)


def write_run(
    folder: Path,
    name: str,
    split: str,
    rows: list[bytes],
    keys: np.ndarray,
    groups: tuple[Group, ...],
) -> Run:
    """Sort rows (`id NUL JSON`) by id, their key records with them; write them as one run."""
    order = sorted(range(len(rows)), key=rows.__getitem__)
    run = Run(split, folder / f"{name}.rows", folder / f"{name}.npy", groups)
    with open(run.rows, "wb") as file:
        file.writelines(b"%b\n" % rows[place] for place in order)
    np.save(run.keys_file, keys[order])
    return run


def merge(runs: list[Run]) -> Iterator[tuple[bytes, int, int]]:
    """Yield (JSON, number of the run, place in the run) of all rows by id (bytewise)."""
    for line, run, index in heapq.merge(*(_stream(run, i) for i, run in enumerate(runs))):
        yield line.split(b"\0", 1)[1], run, index


def _stream(run: Run, number: int) -> Iterator[tuple[bytes, int, int]]:
    with open(run.rows, "rb") as file:
        for index, line in enumerate(file):
            yield line, number, index
