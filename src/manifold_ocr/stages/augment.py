"""Stage augment: the clean rows of the train split, and augmented variants of its lines."""

from pathlib import Path

from manifold_ocr.augment.train_set import write_augmented
from manifold_ocr.config import AugmentConfig, load_section
from manifold_ocr.files import atomic_directory, write_json
from manifold_ocr.stages.runner import run_stage

MANIFEST = Path("data/manifest/train.jsonl")
IMAGE_ROOT = Path("data/raw")
DESTINATION = Path("data/augmented")
METRICS = Path("metrics/augment.json")


def main() -> None:
    """Write data/augmented and metrics/augment.json; print a summary."""
    config = load_section(AugmentConfig, "augment")
    with atomic_directory(DESTINATION) as folder:
        metrics = write_augmented(MANIFEST, IMAGE_ROOT, folder, config)
    write_json(METRICS, metrics)
    rows = metrics["rows"]
    print(
        f"augment: {rows['clean']} clean rows, {rows['augmented']} augmented lines, "
        f"{rows['unreadable']} unreadable -> {DESTINATION}"
    )
    if rows["unreadable"]:
        print(f"augment: {DESTINATION}/augment.jsonl names each unreadable row and the reason")


if __name__ == "__main__":
    run_stage("augment", main)
