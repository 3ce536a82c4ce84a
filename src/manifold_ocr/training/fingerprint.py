"""What decides a training run's result, as named parts with one hash over them (torch-free)."""

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from manifold_ocr.closure import code_fingerprint
from manifold_ocr.files import canonical_json, sha256_file, sha256_json, sha256_tree
from manifold_ocr.models.config import LoraSettings, ModelConfig
from manifold_ocr.records import Sample
from manifold_ocr.training.config import TrainConfig

NO_EFFECT = ("resume", "dataloader_workers", "save_total_limit")
LIBRARIES = ("torch", "transformers", "peft", "accelerate", "numpy", "onnxruntime", "pillow")
HARNESS = tuple(
    f"manifold_ocr.training.{name}"
    for name in ("trainer", "arguments", "callbacks", "determinism", "validation")
)
TRAINING_CODE = {
    "ctc": ("manifold_ocr.training.ctc_family",),
    "encoder_decoder": ("manifold_ocr.training.encoder_decoder_family",),
    "chat_vlm": ("manifold_ocr.training.chat_vlm_family",),
}
# The scorer chooses among checkpoints and its values are pinned by goldens: a metric added
# or made faster must not train again. Run records and locks do not touch weights either.
WITHOUT = (
    "manifold_ocr.scoring",
    "manifold_ocr.training.run_folder",
    "manifold_ocr.training.guard",
    "manifold_ocr.models.registry",
)


def run_parts(
    *,
    family: str,
    model: ModelConfig,
    lora: LoraSettings,
    train: TrainConfig,
    base: Path,
    rows: Mapping[str, Sequence[Sample]],
    image_root: Path,
) -> dict[str, Any]:
    """Return the parts whose change means another run: `rows` are hashed by their name."""
    knobs = {k: v for k, v in dataclasses.asdict(train).items() if k not in NO_EFFECT}
    parts = {
        "model": dataclasses.asdict(model),
        "lora": dataclasses.asdict(lora),
        "train": knobs,
        "data": {name: hash_rows(samples, image_root) for name, samples in rows.items()},
        "base": sha256_tree(base),
        "init_from": sha256_tree(train.init_from) if train.init_from else "",
        "code": family_code(family),
        "versions": {name: installed(name) for name in LIBRARIES},
    }
    # through JSON, so that stored and fresh parts compare equal (tuples become lists)
    plain: dict[str, Any] = json.loads(canonical_json(parts))
    return plain


def family_code(family: str) -> str:
    """Return the hash of the code that trains `family`: metrics and other families apart.

    `training.fit` is hashed as a file: its imports reach every family.
    """
    skipped = [module for module in (*WITHOUT, *_scorer_modules()) if _source(module).is_file()]
    code = code_fingerprint((*HARNESS, *TRAINING_CODE[family]), without=skipped)
    return sha256_json([code, sha256_file(Path(__file__).with_name("fit.py"))])


def hash_rows(samples: Iterable[Sample], image_root: Path) -> str:
    """Return a hash of what training sees of rows: text and pixels, not where files lie."""
    digest = hashlib.sha256()
    for sample in samples:
        image = sample.image_sha256 or sha256_file(image_root / sample.image)
        seen = [sample.id, sample.text, image, sample.box, sample.max_pixels, sample.language]
        seen += [sample.corpus, sample.subset, sample.granularity, sample.task, sample.question]
        digest.update(canonical_json(seen).encode("utf-8") + b"\n")
    return digest.hexdigest()


def fingerprint(parts: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a run's parts."""
    return sha256_json(parts)


def differing_keys(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    """Return the dotted names of the parts that differ, such as `lora.rank`."""
    a, b = _flatten(ours), _flatten(theirs)
    return sorted(key for key in a.keys() | b.keys() if a.get(key) != b.get(key))


def installed(package: str) -> str:
    """Return a package's version, or `absent`."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"


def _flatten(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, item in value.items():
        name = f"{prefix}{key}"
        flat |= _flatten(item, f"{name}.") if isinstance(item, Mapping) else {name: item}
    return flat


def _scorer_modules() -> list[str]:
    folder = Path(__file__).parents[1] / "text"
    relative = [path.relative_to(folder.parent) for path in folder.rglob("*.py")]
    return [
        "manifold_ocr." + ".".join(path.with_suffix("").parts)
        for path in sorted(relative)
        if path.name != "__init__.py"
    ]


def _source(module: str) -> Path:
    return Path(__file__).parents[1].joinpath(*module.split(".")[1:]).with_suffix(".py")
