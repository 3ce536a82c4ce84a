"""A run's own folder: run.yaml (what, from what, where), logs, scores, links (torch-free)."""

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from manifold_ocr.config import EvaluateConfig
from manifold_ocr.errors import UserError
from manifold_ocr.files import atomic_write, parse_yaml, read_yaml, workspace, write_json
from manifold_ocr.metrics import score
from manifold_ocr.models import conventions
from manifold_ocr.models.base import Audit, RunSpec
from manifold_ocr.records import Prediction, Sample, read_predictions, write_rows
from manifold_ocr.resources import cpu_kind, launchers
from manifold_ocr.training.checkpoints import differing_keys
from manifold_ocr.training.locking import StopRequest

RUNS = Path("output/training_runs")
RUN_NAME = "MANIFOLD_OCR_RUN_NAME"
ENVIRONMENT = (
    RUN_NAME,
    "MANIFOLD_OCR_CACHE",
    "RESUME_FROM",
    "DVC_EXP_NAME",
    "OMP_NUM_THREADS",
    "ATEN_CPU_CAPABILITY",
    "MKL_CBWR",
    "ONEDNN_MAX_CPU_ISA",
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

    def start(self, inputs: Mapping[str, Any], fingerprint: str, resumed_from: str) -> None:
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
            "inputs": {name: inputs[name] for name in ("base", "data", "init_from", "code")},
            "params": read_yaml("params.yaml") if Path("params.yaml").is_file() else {},
            "versions": {"python": platform.python_version(), **inputs["versions"]},
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
        """Write the rows that cannot be learned, with reasons, and what the audit found."""
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
    now, before = read_yaml("params.yaml"), parse_yaml(committed, "HEAD:params.yaml")
    return [f"{key}={_lookup(now, key)}" for key in differing_keys(now, before)]


def command_lines() -> list[str]:
    """Return this process's command line and those of its launchers, dvc first."""
    return [*(" ".join(p.cmdline()) for p in reversed(launchers())), " ".join(sys.argv)]


def environment() -> dict[str, str]:
    """Return the variables that the program reads; of secrets only that they are set."""
    values = {name: os.environ[name] for name in ENVIRONMENT if name in os.environ}
    return values | {name: "(set)" for name in SECRETS if name in os.environ}


def hardware() -> dict[str, Any]:
    """Return processor, cores, memory in GiB, and GPUs."""
    import psutil

    found: dict[str, Any] = {
        "machine": platform.machine(),
        **cpu_kind(),
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
    if shutil.which("git") is None:
        return ""
    result = subprocess.run(
        ["git", *arguments], capture_output=True, text=True, check=False, timeout=30
    )
    return result.stdout.rstrip("\n") if result.returncode == 0 else ""


def _now() -> str:
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"


@dataclass(frozen=True)
class RunHome:
    """Where a run's work is kept: output/cache/training/<fingerprint>, for any workspace."""

    path: Path

    @property
    def checkpoints(self) -> Path:
        """Return the folder of checkpoints."""
        return self.path / "checkpoints"

    @property
    def result(self) -> Path:
        """Return the folder of a finished run: adapter/, metrics/ and state.json."""
        return self.path / "result"

    @property
    def finished(self) -> bool:
        """Return whether the run has ended with a result (it appears whole or not at all)."""
        return (self.result / "state.json").is_file()


@dataclass(frozen=True, kw_only=True)
class Run:
    """`rows` are those to train on, to validate on (val) and of rehearsal.

    `output_case` holds the conventions of corpora whose labels are in upper case only.

    `inputs` decide its fingerprint; `checkpoint` is where it goes on from, or None.
    """

    settings: RunSpec
    family: str
    rows: Mapping[str, Sequence[Sample]]
    output_case: Mapping[str, str]
    inputs: Mapping[str, Any]
    home: RunHome
    folder: RunFolder
    checkpoint: Path | None
    stop: StopRequest


BOOTSTRAP_SAMPLES = 200  # intervals in eval_results.json; the stage evaluate draws its own


class Scorer:
    """Scores what validation rows were read as, with the evaluator's own code.

    The reading before the first step is the baseline; each later one is written to
    eval_results.json in the schema of metrics/evaluate.json. Where no row is a transcription
    (JSON or LaTeX only) the checkpoint is chosen by the answers' distance as texts.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        baseline: Path,
        results: Path,
        spec: RunSpec,
        output_case: Mapping[str, str],
    ) -> None:
        self.samples = samples
        self.config = EvaluateConfig(
            bootstrap_samples=BOOTSTRAP_SAMPLES,
            profile=spec.profile,
            metric_tokenizer=spec.metric_tokenizer,
        )
        self.baseline = baseline
        self.results = results
        self.output_case = output_case

    def __call__(self, predictions: list[Prediction], step: int) -> dict[str, float]:
        """Return the headline metrics of the reading at `step`."""
        config = self.config
        predictions = conventions.applied(predictions, self.samples, self.output_case)
        rows = score.score_rows(self.samples, predictions, config)
        if step == 0:
            write_rows(self.baseline, predictions)
        before = rows
        if self.baseline.is_file():
            before = score.score_rows(self.samples, read_predictions(self.baseline), config)
        report = {"step": step, **score.evaluation(rows, before, config)}
        write_json(self.results, report)
        found = report["adapter"]
        headline = found.get("overall") or self._as_texts(predictions)
        names = ("cer", "ned", "wer", "character_accuracy", "token_f1", "exact_match")
        scores = {name: float(headline[name]) for name in names if name in headline}
        for subset, values in found["by_subset"].items():
            scores[f"cer_{subset}"] = float(values["cer"])
        for task, values in found["by_task"].items():
            kept = (name for name in values if name != "n" and not name.endswith(("_low", "_high")))
            scores |= {f"{task}_{name}": float(values[name]) for name in kept}
        return scores

    def _as_texts(self, predictions: list[Prediction]) -> dict[str, float]:
        texts = [replace(sample, task=score.TRANSCRIBE) for sample in self.samples]
        rows = score.score_rows(texts, predictions, self.config)
        headline: dict[str, float] = score.summarize(rows, self.config)["overall"]
        return headline
