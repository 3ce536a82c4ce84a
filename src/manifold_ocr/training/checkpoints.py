"""Checkpoints that are whole or do not count, and the one to resume from (torch-free)."""

import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from manifold_ocr.errors import UserError
from manifold_ocr.files import read_json, sha256_file, write_json
from manifold_ocr.training.run_record import differing_keys, fingerprint

MARKER = "complete.json"
STATE = "trainer_state.json"
NAME = re.compile(r"checkpoint-(\d+)")


def mark_complete(folder: Path, parts: Mapping[str, Any]) -> None:
    """Write the marker: every file with its hash, and the parts of the run. It comes last."""
    files = {
        path.relative_to(folder).as_posix(): sha256_file(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != MARKER
    }
    write_json(folder / MARKER, {"files": files, "parts": parts})


def is_complete(folder: Path) -> bool:
    """Return whether a checkpoint has its marker and every file as it was written."""
    if not (folder / MARKER).is_file():
        return False
    files = read_json(folder / MARKER)["files"]
    return all(
        (folder / name).is_file() and sha256_file(folder / name) == digest
        for name, digest in files.items()
    )


def step_of(folder: Path) -> int:
    """Return the training step of a checkpoint folder, -1 for another name."""
    found = NAME.fullmatch(folder.name)
    return int(found[1]) if found else -1


def latest_complete(root: Path, clean: bool = True) -> Path | None:
    """Return the newest whole checkpoint; incomplete and newer ones are removed and named.

    With `clean` False nothing is removed (for processes beside the one that writes).

    A checkpoint whose best predecessor is gone cannot end as an unbroken run would, so it
    does not count either.
    """
    folders = sorted((p for p in root.glob("checkpoint-*") if step_of(p) >= 0), key=step_of)
    for folder in reversed(folders):
        if is_complete(folder) and _best_is_there(folder):
            return folder
        if clean:
            print(f"train: {folder.name} is incomplete and is not used")
            shutil.rmtree(folder)
    return None


def best_step(folder: Path) -> int:
    """Return the step of the best checkpoint that a checkpoint's state names, 0 for none."""
    return int(read_json(folder / STATE).get("best_global_step") or 0)


def _best_is_there(folder: Path) -> bool:
    best = best_step(folder)
    return best in (0, step_of(folder)) or is_complete(folder.with_name(f"checkpoint-{best}"))


def adopt(source: Path, root: Path, parts: Mapping[str, Any]) -> Path:
    """Make `source` the newest checkpoint of the run in `root` and return it there.

    Raises:
        UserError: not a whole checkpoint, or of a run with other parts (each is named).
    """
    if not is_complete(source):
        raise UserError(f"RESUME_FROM={source}: not a complete checkpoint; name another one")
    theirs = read_json(source / MARKER)["parts"]
    if fingerprint(theirs) != fingerprint(parts):
        keys = ", ".join(differing_keys(parts, theirs))
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
