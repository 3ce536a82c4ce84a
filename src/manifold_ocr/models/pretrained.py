"""Put the base model of params.yaml below data/base: embedded, from the hub, or a folder as is."""

import os
import re
from pathlib import Path

from manifold_ocr.config import ModelConfig
from manifold_ocr.errors import UserError
from manifold_ocr.files import atomic_directory, sha256_file, write_json
from manifold_ocr.models.ctc.import_ppocr import BASE_NAME, import_base
from manifold_ocr.models.registry import BASE_ROOT, family_of, slug

HUB_FILES = ("*.safetensors", "*.json", "*.txt", "*.model", "*.jinja", "LICENSE*", "README.md")
SOURCE_RECORD = "source.json"
COMMIT = re.compile(r"[0-9a-f]{40}")  # a branch or tag moves


def fetch_base(config: ModelConfig, root: Path = BASE_ROOT) -> dict[str, int | float]:
    """Fill `root` with the one base model of `config`; return figures for metrics/base.json.

    A local folder is checked and stays where it is: `root` then holds the hashes of its
    files, so that a change in it is a change for the stages that follow.

    Raises:
        UserError: wrong wheel, hub out of reach, revision not pinned, no safetensors, or a
            model type without family.
    """
    with atomic_directory(root) as folder:
        target = folder / slug(config.id)
        if config.id == BASE_NAME:
            figures = import_base(target)
        elif Path(config.id).is_dir():
            figures = record_local(Path(config.id), target)
        else:
            figures = fetch_hub(config, target)
    print(f"base model: {config.id} in {root / slug(config.id)}")
    return figures


def record_local(source: Path, target: Path) -> dict[str, int | float]:
    """Check a local checkpoint folder and write the hashes of its files into `target`."""
    validate(source)
    hashes = {p.name: sha256_file(p) for p in sorted(source.iterdir()) if p.is_file()}
    target.mkdir(parents=True)
    write_json(target / SOURCE_RECORD, {"files": hashes})
    return {"files": len(hashes)}


def fetch_hub(config: ModelConfig, target: Path) -> dict[str, int | float]:
    """Download a checkpoint at its pinned revision: safetensors and text files only."""
    import httpx2
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    if not COMMIT.fullmatch(config.revision):
        what = repr(config.revision) if config.revision else "empty"
        raise UserError(
            f"model.revision is {what}, not a commit (40 hex digits) of {config.id!r}; run "
            f"`manifold-ocr pin {config.id}`, which writes the present one, so that a rerun "
            "fetches the same weights"
        )
    try:
        snapshot_download(
            config.id,
            revision=config.revision,
            local_dir=target,
            allow_patterns=list(HUB_FILES),
            token=os.environ.get("HF_TOKEN") or None,
        )
    except (HfHubHTTPError, HFValidationError, OSError, httpx2.HTTPError) as error:
        raise UserError(
            f"model.id {config.id!r} at {config.revision!r} cannot be fetched "
            f"({type(error).__name__}); check the name, the network and HF_TOKEN, or set "
            "model.id to a local folder"
        ) from error
    remove_download_state(target)
    validate(target)
    return {"files": sum(1 for path in target.rglob("*") if path.is_file())}


def remove_download_state(folder: Path) -> None:
    """Remove the hub client's own bookkeeping (it holds clocks)."""
    import shutil

    shutil.rmtree(folder / ".cache", ignore_errors=True)


def validate(folder: Path) -> None:
    """Raise UserError unless `folder` is a checkpoint that a family reads, in safetensors."""
    family_of(folder)
    if not any(folder.glob("*.safetensors")):
        raise UserError(
            f"{folder}: holds no .safetensors; pickled weights are refused because loading "
            "them runs code: convert them with transformers' save_pretrained first"
        )
