"""Stage download_base: the base model as a Hugging Face checkpoint in data/base."""

from manifold_ocr.config import ModelConfig, load_section
from manifold_ocr.files import write_json
from manifold_ocr.models.pretrained import fetch_base
from manifold_ocr.stages.runner import run_stage


def main() -> None:
    """Write data/base/<name> and metrics/base.json."""
    config = load_section(ModelConfig, "model")
    figures = fetch_base(config)
    write_json("metrics/base.json", figures)


if __name__ == "__main__":
    run_stage("download_base", main)
