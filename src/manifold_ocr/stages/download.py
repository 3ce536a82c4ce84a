"""Stage `download`: one corpus into data/raw/NAME, its content hash into metrics/download."""

import sys
from pathlib import Path

from manifold_ocr.config import load_params
from manifold_ocr.data.fetch import METRICS, fetch, local_source, source_hash
from manifold_ocr.data.sources import corpus_licence, policy_of
from manifold_ocr.errors import UserError
from manifold_ocr.files import atomic_directory, sha256_tree, write_json
from manifold_ocr.stages.runner import run_stage

RAW = Path("data/raw")


def main() -> None:
    """Fetch the corpus named on the command line; nothing is left behind on failure."""
    if len(sys.argv) != 2:
        raise UserError("usage: python -m manifold_ocr.stages.download CORPUS")
    name = sys.argv[1]
    section = load_params().get("corpora") or {}
    options = section.get(name) or {}
    licence = corpus_licence(name, options, policy_of(section))
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
        f"{name}: {len(files)} files, {size / 2**20:.1f} MiB in {destination} (licence: {licence})"
    )


if __name__ == "__main__":
    run_stage("download", main)
