"""What a run is known by, which of its checkpoints are whole, where to resume (torch-free)."""

import dataclasses
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from manifold_ocr.code_hash import code_fingerprint, installed
from manifold_ocr.errors import UserError
from manifold_ocr.files import (
    canonical_json,
    read_json,
    sha256_file,
    sha256_json,
    sha256_tree,
    write_json,
)
from manifold_ocr.models.base import RunSpec
from manifold_ocr.records import Sample
from manifold_ocr.training.locking import world_size

NO_EFFECT = ("resume", "dataloader_workers", "save_total_limit", "gpus")
LIBRARIES = ("torch", "transformers", "peft", "accelerate", "numpy", "onnxruntime", "pillow")
HARNESS = ("manifold_ocr.training.trainer", "manifold_ocr.training.callbacks")
TRAINING_CODE = {
    "ctc": ("manifold_ocr.models.ctc.train",),
    "encoder_decoder": ("manifold_ocr.models.encoder_decoder.train",),
    "chat_vlm": ("manifold_ocr.models.chat_vlm.train",),
}
# The scorer chooses among checkpoints and its values are pinned by goldens: a metric added
# or made faster must not train again. Run records, checkpoints and locks touch no weights either.
WITHOUT = (
    "manifold_ocr.metrics",
    "manifold_ocr.training.run_record",
    "manifold_ocr.training.checkpoints",
    "manifold_ocr.training.locking",
    "manifold_ocr.models.registry",
)


def run_inputs(spec: RunSpec, family: str, rows: Mapping[str, Sequence[Sample]]) -> dict[str, Any]:
    """Return the inputs whose change means another run: `rows` are hashed by their name."""
    train = spec.train
    inputs = {
        "model": dataclasses.asdict(spec.model),
        "lora": dataclasses.asdict(spec.lora),
        "train": {k: v for k, v in dataclasses.asdict(train).items() if k not in NO_EFFECT},
        "evaluate": {"profile": spec.profile, "metric_tokenizer": spec.metric_tokenizer},
        "data": {name: hash_rows(samples, spec.image_root) for name, samples in rows.items()},
        "base": sha256_tree(spec.base),
        "init_from": sha256_tree(train.init_from) if train.init_from else "",
        "processes": world_size(),  # sums over processes differ in their last bits
        "code": family_code(family),
        "versions": {name: installed(name) for name in LIBRARIES},
    }
    # through JSON, so that stored and fresh inputs compare equal (tuples become lists)
    plain: dict[str, Any] = json.loads(canonical_json(inputs))
    return plain


def family_code(family: str) -> str:
    """Return the hash of the code that trains `family`: metrics and other families apart.

    `training.fit` is hashed as a file: its imports reach every family.
    """
    code = code_fingerprint((*HARNESS, *TRAINING_CODE[family]), without=WITHOUT)
    return sha256_json([code, sha256_file(Path(__file__).with_name("fit.py"))])


def hash_rows(samples: Iterable[Sample], image_root: Path) -> str:
    """Return a hash of what training sees of rows: text and pixels, not where files lie."""
    digest = hashlib.sha256()
    for sample in samples:
        image = sample.image_sha256 or sha256_file(image_root / sample.image)
        seen = [sample.id, sample.text, image, sample.box, sample.max_pixels, sample.language]
        seen += [sample.corpus, sample.subset, sample.granularity, sample.task, sample.question]
        digest.update(orjson.dumps(seen) + b"\n")
    return digest.hexdigest()


def fingerprint(inputs: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a run's inputs."""
    return sha256_json(inputs)


def differing_keys(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    """Return the dotted names of the inputs that differ, such as `lora.rank`."""
    a, b = _flatten(ours), _flatten(theirs)
    return sorted(key for key in a.keys() | b.keys() if a.get(key) != b.get(key))


def _flatten(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, item in value.items():
        name = f"{prefix}{key}"
        flat |= _flatten(item, f"{name}.") if isinstance(item, Mapping) else {name: item}
    return flat


MARKER = "complete.json"
STATE = "trainer_state.json"
NAME = re.compile(r"checkpoint-(\d+)")


def mark_complete(folder: Path, inputs: Mapping[str, Any]) -> None:
    """Write the marker: every file with its hash, and the inputs of the run. It comes last."""
    files = {
        path.relative_to(folder).as_posix(): sha256_file(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != MARKER
    }
    write_json(folder / MARKER, {"files": files, "inputs": inputs})


def is_complete(folder: Path) -> bool:
    """Return whether a checkpoint has its marker and every file as it was written."""
    if not (folder / MARKER).is_file():
        return False
    try:
        files = read_json(folder / MARKER)["files"]
        return all(sha256_file(folder / name) == digest for name, digest in files.items())
    except (UserError, KeyError):  # the marker itself was cut short
        return False
    except FileNotFoundError:  # a file is gone, or the process that writes removes the folder
        return False


def step_of(folder: Path) -> int:
    """Return the training step of a checkpoint folder, -1 for another name."""
    found = NAME.fullmatch(folder.name)
    return int(found[1]) if found else -1


def folders_of(root: Path) -> list[Path]:
    """Return the checkpoint folders below `root`, oldest step first."""
    return sorted((p for p in root.glob("checkpoint-*") if step_of(p) >= 0), key=step_of)


def latest_complete(root: Path, clean: bool = True) -> Path | None:
    """Return the newest whole checkpoint to go on from; damaged newer ones are removed and named.

    Damaged is one that was cut short (it has no marker yet) or whose files are not as they
    were written. A whole one whose best predecessor is gone cannot end as an unbroken run
    would: it is passed over, named and left where it is. With `clean` False nothing is
    removed or said (for processes beside the one that writes).
    """
    for folder in reversed(folders_of(root)):
        whole = is_complete(folder)
        if whole and _best_is_there(folder):
            return folder
        if clean and whole:
            best = f"its best, checkpoint-{best_step(folder)}, is missing"
            print(f"train: {folder.name} is whole, but {best}; it is not used")
        elif clean:
            print(f"train: {folder.name} is damaged (cut short or changed); it is removed")
            shutil.rmtree(folder)
    return None


def prune(root: Path, step: int, keep: int) -> None:
    """Remove checkpoints up to `step`, except the newest `keep` and the best that these name.

    Called once the checkpoint of `step` is whole: whenever a kill comes, one that a run can go
    on from is there, its best beside it.
    """
    folders = [folder for folder in folders_of(root) if step_of(folder) <= step]
    newest = folders[-keep:]
    kept = {step_of(folder) for folder in newest} | {best_step(folder) for folder in newest}
    for folder in folders:
        if step_of(folder) not in kept:
            shutil.rmtree(folder)


def best_step(folder: Path) -> int:
    """Return the step of the best checkpoint that a checkpoint's state names, 0 for none."""
    return int(read_json(folder / STATE).get("best_global_step") or 0)


def _best_is_there(folder: Path) -> bool:
    best = best_step(folder)
    return best in (0, step_of(folder)) or is_complete(folder.with_name(f"checkpoint-{best}"))


def adopt(source: Path, root: Path, inputs: Mapping[str, Any]) -> Path:
    """Make `source` the newest checkpoint of the run in `root` and return it there.

    Raises:
        UserError: not a whole checkpoint, or of a run with other inputs (each is named).
    """
    if not is_complete(source):
        raise UserError(f"RESUME_FROM={source}: not a complete checkpoint; name another one")
    theirs = read_json(source / MARKER)["inputs"]
    if fingerprint(theirs) != fingerprint(inputs):
        keys = ", ".join(differing_keys(inputs, theirs))
        raise UserError(
            f"RESUME_FROM={source} belongs to another run; these differ: {keys}. Restore them, or "
            "set train.init_from to start a new run from those weights"
        )
    if not _best_is_there(source):
        raise UserError(
            f"RESUME_FROM={source}: its best checkpoint, checkpoint-{best_step(source)}, is not "
            "beside it; copy that folder too"
        )
    wanted = {step_of(source), best_step(source)} - {0}
    for folder in root.glob("checkpoint-*"):
        if folder.resolve() not in {source.with_name(f"checkpoint-{s}").resolve() for s in wanted}:
            shutil.rmtree(folder)
    for step in sorted(wanted):
        _copy(source.with_name(f"checkpoint-{step}"), root / f"checkpoint-{step}")
    return root / source.name


def _copy(source: Path, target: Path) -> None:
    if source.resolve() == target.resolve():
        return
    partial = target.with_name(f".{target.name}.{os.getpid()}")
    shutil.copytree(source, partial)
    partial.replace(target)
