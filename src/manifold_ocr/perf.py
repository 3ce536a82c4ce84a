"""metrics/perf.json: clocks, throughput, memory and energy, kept out of every declared out."""

import fcntl
import resource
from collections.abc import Mapping
from pathlib import Path

from manifold_ocr.files import read_json, write_json

PERF_FILE = Path("metrics/perf.json")


def peak_memory_gib() -> float:
    """Return this process's peak resident memory in GiB (Linux counts in KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2


def record(stage: str, values: Mapping[str, float], path: Path = PERF_FILE) -> None:
    """Replace the entry of `stage`; entries of other stages are kept, writers are serialised."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = Path(".dvc/tmp/perf.lock") if Path(".dvc").is_dir() else path.with_suffix(".lock")
    lock.parent.mkdir(parents=True, exist_ok=True)
    with open(lock, "w", encoding="utf-8") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        everything = read_json(path) if path.exists() else {}
        everything[stage] = {key: round(float(value), 4) for key, value in values.items()}
        write_json(path, everything)
