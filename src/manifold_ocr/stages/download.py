"""Stage `download`: one corpus into data/raw/NAME, or with --base the base model into data/base."""

import sys
from pathlib import Path

from manifold_ocr.config import ModelConfig
from manifold_ocr.data.fetch import METRICS, fetch, local_source, source_hash
from manifold_ocr.data.sources import corpus_license, policy_of
from manifold_ocr.errors import UserError
from manifold_ocr.files import atomic_directory, read_yaml, sha256_tree, write_json
from manifold_ocr.settings import load_section
from manifold_ocr.stages.runner import run_stage

RAW = Path("data/raw")
BASE = "--base"


def main() -> None:
    """Fetch what the command line names; nothing is left behind on failure."""
    if len(sys.argv) != 2:
        raise UserError(f"usage: python -m manifold_ocr.stages.download CORPUS or {BASE}")
    if sys.argv[1] == BASE:
        from manifold_ocr.models.pretrained import fetch_base

        write_json("metrics/base.json", fetch_base(load_section(ModelConfig, "model")))
    else:
        fetch_corpus(sys.argv[1])


def fetch_corpus(name: str) -> None:
    """Write data/raw/NAME and its content hash, metrics/download/NAME.json."""
    section = read_yaml("params.yaml").get("corpora") or {}
    options = section.get(name) or {}
    license = corpus_license(name, options, policy_of(section))
    destination = RAW / name
    with atomic_directory(destination) as folder:
        fetch(name, options, folder)
        files = [path for path in folder.rglob("*") if path.is_file()]
        if not files:
            raise UserError(f"corpus {name}: the source holds no files")
        size = sum(path.stat().st_size for path in files)
        metrics = {"files": len(files), "bytes": size, "sha256": sha256_tree(folder)}
        if source := local_source(name, options):
            metrics["source_sha256"] = source_hash(source)
    write_json(METRICS / f"{name}.json", metrics)
    print(
        f"{name}: {len(files)} files, {size / 2**20:.1f} MiB in {destination} (license: {license})"
    )


if __name__ == "__main__":
    run_stage("download_base" if sys.argv[1:] == [BASE] else "download", main)
