"""A run's own folder: run.yaml (what, from what, where), logs, quarantine, links (torch-free)."""

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from manifold_ocr.config import load_params
from manifold_ocr.errors import UserError
from manifold_ocr.files import atomic_write, workspace, write_json
from manifold_ocr.records import write_rows
from manifold_ocr.training.fingerprint import differing_keys
from manifold_ocr.training.guard import launchers
from manifold_ocr.training.settings import Audit

RUNS = Path("output/training_runs")
RUN_NAME = "MANIFOLD_OCR_RUN_NAME"
ENVIRONMENT = (
    RUN_NAME,
    "MANIFOLD_OCR_CACHE",
    "RESUME_FROM",
    "DVC_EXP_NAME",
    "OMP_NUM_THREADS",
    "CUDA_VISIBLE_DEVICES",
    "HF_HOME",
    "HF_HUB_OFFLINE",
    "WORLD_SIZE",
)
SECRETS = ("HF_TOKEN",)  # only whether they are set is recorded
SOURCES = ("src", "dvc.yaml", "params.yaml", "requirements.lock")


class RunFolder:
    """output/training_runs/<UTC date>_<run name>: written by one run, read by people."""

    def __init__(self, path: Path) -> None:
        """Use `path`, which is created."""
        self.path = path
        self.record: dict[str, Any] = {}
        path.mkdir(parents=True, exist_ok=True)

    def start(self, parts: Mapping[str, Any], fingerprint: str, resumed_from: str) -> None:
        """Write run.yaml before anything is trained."""
        self.record = {
            "status": "running",
            "started": _now(),
            "fingerprint": fingerprint,
            "resumed_from": resumed_from,
            "git": git_state(),
            "command": command_lines(),
            "overrides": overrides(),
            "environment": environment(),
            "inputs": {name: parts[name] for name in ("base", "data", "init_from", "code")},
            "params": load_params() if Path("params.yaml").is_file() else {},
            "versions": {"python": platform.python_version(), **parts["versions"]},
            "hardware": hardware(),
        }
        self._write()

    def update(self, **values: Any) -> None:
        """Add values to run.yaml."""
        self.record.update(values)
        self._write()

    def finish(self, status: str, **values: Any) -> None:
        """Note how the run ended: finished, interrupted or failed."""
        self.update(status=status, ended=_now(), **values)

    def write_audit(self, name: str, audit: Audit) -> None:
        """Write the rows that cannot be learnt, with reasons, and what the audit found."""
        write_rows(self.path / f"quarantine_{name}.jsonl", audit.rejected)
        found = {"counts": dict(audit.counts), **dict(audit.details)}
        write_json(self.path / f"vocabulary_{name}.json", found)

    def link(self, name: str, target: Path) -> None:
        """Point `name` in the folder at `target` with a relative link."""
        link = self.path / name
        if link.is_symlink():
            link.unlink()
        elif link.is_dir():
            shutil.rmtree(link)
        link.symlink_to(os.path.relpath(target, self.path), target_is_directory=True)

    def _write(self) -> None:
        with atomic_write(self.path / "run.yaml") as file:
            yaml.safe_dump(self.record, file, sort_keys=False, allow_unicode=True)


def open_run_folder(default_name: str, known: Path) -> RunFolder:
    """Return the run's folder: the one named in the file `known` (a resumed run), or a new one.

    New ones are made in the workspace: DVC removes the folder of a queued experiment.

    The name is MANIFOLD_OCR_RUN_NAME, the name of the DVC experiment, or `default_name`.

    Raises:
        UserError: a run name that is no plain folder name.
    """
    if known.is_file() and Path(name := known.read_text(encoding="utf-8").strip()).is_dir():
        return RunFolder(Path(name))
    name = os.environ.get(RUN_NAME) or os.environ.get("DVC_EXP_NAME") or default_name
    if "/" in name or name.startswith(".") or not name.strip():
        raise UserError(f"{RUN_NAME}={name!r}: a run name is a plain folder name, such as zh-r16")
    stem, number = workspace() / RUNS / f"{datetime.now(UTC):%Y-%m-%d}_{name}", 1
    path = stem
    while path.exists():
        number += 1
        path = stem.with_name(f"{stem.name}-{number}")
    with atomic_write(known) as file:
        file.write(str(path.resolve()))
    return RunFolder(path)


def git_state() -> dict[str, Any]:
    """Return the commit and whether code or params differ from it (data and outputs may)."""
    commit = _git("rev-parse", "HEAD")
    present = [name for name in SOURCES if Path(name).exists()]
    changed = _git("status", "--porcelain", "--", *present).splitlines() if commit else []
    return {"commit": commit or "none", "dirty": bool(changed), "changed": changed}


def overrides() -> list[str]:
    """Return the params that differ from the commit's, as `key=value` (what -S has set)."""
    committed = _git("show", "HEAD:params.yaml")
    if not committed or not Path("params.yaml").is_file():
        return []
    now, before = load_params(), yaml.safe_load(committed) or {}
    return [f"{key}={_lookup(now, key)}" for key in differing_keys(now, before)]


def command_lines() -> list[str]:
    """Return this process's command line and those of its launchers, dvc first."""
    return [*(process.command for process in reversed(launchers())), " ".join(sys.argv)]


def environment() -> dict[str, str]:
    """Return the variables that the program reads; of secrets only that they are set."""
    values = {name: os.environ[name] for name in ENVIRONMENT if name in os.environ}
    return values | {name: "(set)" for name in SECRETS if name in os.environ}


def hardware() -> dict[str, Any]:
    """Return processor, cores, memory in GiB, and GPUs."""
    import psutil

    found: dict[str, Any] = {
        "machine": platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(psutil.virtual_memory().total / 1024**3, 1),
    }
    if "torch" in sys.modules:
        import torch

        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        found["gpus"] = [torch.cuda.get_device_name(i) for i in range(count)]
    return found


def _lookup(value: Any, dotted: str) -> Any:
    for key in dotted.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _git(*arguments: str) -> str:
    result = subprocess.run(
        ["git", *arguments], capture_output=True, text=True, check=False, timeout=30
    )
    return result.stdout.rstrip("\n") if result.returncode == 0 else ""


def _now() -> str:
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
