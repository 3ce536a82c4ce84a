"""Stage `augment`: the clean rows of the train split and augmented variants of its lines."""

import time
from pathlib import Path

from manifold_ocr.augment import AugmentConfig
from manifold_ocr.augmented_set import write_augmented
from manifold_ocr.config import load_section
from manifold_ocr.files import atomic_directory, write_json
from manifold_ocr.perf import peak_memory_gib, record

MANIFEST = Path("data/manifest/train.jsonl")
IMAGE_ROOT = Path("data/raw")
DESTINATION = Path("data/augmented")
METRICS = Path("metrics/augment.json")


def main() -> None:
    """Write data/augmented and metrics/augment.json; print a summary."""
    config = load_section(AugmentConfig, "augment")
    started = time.monotonic()
    with atomic_directory(DESTINATION) as folder:
        metrics = write_augmented(MANIFEST, IMAGE_ROOT, folder, config)
    write_json(METRICS, metrics)
    seconds = time.monotonic() - started
    rows = metrics["rows"]
    record("augment", {"seconds": seconds, "peak_memory_gib": peak_memory_gib()})
    print(
        f"augment: {rows['clean']} clean rows, {rows['augmented']} augmented lines, "
        f"{rows['unreadable']} unreadable, in {seconds:.1f} s -> {DESTINATION}"
    )


if __name__ == "__main__":
    main()
