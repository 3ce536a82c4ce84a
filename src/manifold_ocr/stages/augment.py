"""Stage augment: the clean rows of the train split, and augmented variants of them."""

from pathlib import Path

from manifold_ocr.augment.shares import CLOSE
from manifold_ocr.augment.train_set import write_augmented
from manifold_ocr.augment_config import AugmentConfig
from manifold_ocr.files import atomic_directory, write_json
from manifold_ocr.settings import load_section
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
    if config.pages:
        print(
            f"augment: {rows['pages']} degraded pages, {rows['page_lines']} lines on them; "
            f"left off: {rows['bent']} lines bent too much, {rows['illegible']} lines and pages "
            f"whose print was lost, {rows['too_large']} of pages that are too large"
        )
    for name, share in metrics.get("shares", {}).items():
        if abs(share["wanted"] - share["reached"]) > CLOSE:
            print(
                f"augment: {name}: a share of {share['wanted']:.2f} is asked for, "
                f"{share['reached']:.2f} reached: clean lines all stay, and max_variants "
                f"({config.max_variants}) bounds the copies of one"
            )
    if rows["unreadable"]:
        print(f"augment: {DESTINATION}/augment.jsonl names each unreadable row and the reason")


if __name__ == "__main__":
    run_stage("augment", main)
