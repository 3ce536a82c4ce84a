"""DVC's queued, running and finished experiments of the present commit, as data."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from manifold_ocr.config import load_params
from manifold_ocr.errors import UserError


@dataclass(frozen=True, slots=True)
class Experiment:
    """One experiment: `state` is success, queued, running or failed.

    `params` are those of params.yaml in it, `metrics` its metric files by path (empty unless it
    succeeded: before that DVC shows the metrics of the commit it started from). `pid` is that
    of the process that runs it.
    """

    name: str
    state: str
    rev: str
    params: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, dict[str, Any]] = field(default_factory=dict)
    pid: int | None = None

    @property
    def alive(self) -> bool:
        """Return whether its process exists, or before that one starts, a worker of the queue."""
        return worker_runs() if self.pid is None else _exists(self.pid)

    def changed_files(self, paths: Sequence[str]) -> list[str]:
        """Return the tracked files below `paths` that differ now from those it was queued with."""
        return _git_lines("diff", "--name-only", self.rev, "--", *paths)


def dvc(*arguments: str) -> None:
    """Run DVC with this environment's programs first on PATH, as stages and workers need.

    Raises:
        UserError: it fails; its own message has been printed.
    """
    if code := _status(*arguments):
        raise UserError(f"`dvc {' '.join(arguments[:3])}` failed with status {code}")


def run_dvc(*arguments: str) -> None:
    """Run DVC likewise; its exit status becomes ours and its message is the last word."""
    if code := _status(*arguments):
        raise SystemExit(code)


def known_experiments() -> dict[str, Experiment]:
    """Return the experiments of the present commit by name.

    Raises:
        UserError: DVC cannot list them, for example outside a Git repository.
    """
    answer = subprocess.run(
        _command("exp", "show", "--json"),
        env=_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    if answer.returncode:
        reason = (answer.stderr.strip().splitlines() or ["no message"])[-1]
        raise UserError(
            f"`dvc exp show` failed ({reason}); experiments need a Git repository with a commit "
            "and an initialised DVC project"
        )
    return {item.name: item for item in experiments_of(json.loads(answer.stdout))}


def untracked_code() -> list[str]:
    """Return source files that Git does not know: DVC leaves them out of experiments."""
    return _git_lines("ls-files", "--others", "--exclude-standard", "--", "src")


def pipeline_code(pipeline: Path = Path("dvc.yaml")) -> list[str]:
    """Return the pipeline file and the source files that its stages depend on, sorted."""
    stages = load_params(pipeline).get("stages", {}).values()
    bodies = [stage.get("do", stage) for stage in stages]
    deps = {dep for body in bodies for dep in body.get("deps", []) if dep.startswith("src/")}
    return [str(pipeline), *sorted(deps)]


def worker_runs() -> bool:
    """Return whether a worker of DVC's queue is at work."""
    pid_file = Path(".dvc/tmp/exps/celery/dvc-exp-worker-1.pid")
    text = pid_file.read_text(encoding="utf-8").strip() if pid_file.is_file() else ""
    return text.isdigit() and _exists(int(text))


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def experiments_of(shown: Any) -> Iterator[Experiment]:
    """Yield the experiments in the JSON of `dvc exp show`."""
    for commit in shown:
        for item in commit.get("experiments") or []:
            executor = item.get("executor") or {}
            state = executor.get("state") or "success"
            for revision in (item.get("revs") or [])[:1]:
                data = revision.get("data") or {}
                metrics = data.get("metrics") or {} if state == "success" else {}
                yield Experiment(
                    name=item.get("name") or revision.get("name") or "",
                    state=state,
                    rev=revision.get("rev") or "",
                    params=((data.get("params") or {}).get("params.yaml") or {}).get("data") or {},
                    metrics={path: value.get("data") or {} for path, value in metrics.items()},
                    pid=(executor.get("local") or {}).get("pid"),
                )


def _git_lines(*arguments: str) -> list[str]:
    answer = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    return answer.stdout.splitlines() if answer.returncode == 0 else []


def _status(*arguments: str) -> int:
    return subprocess.run(_command(*arguments), env=_environment(), check=False).returncode


def _command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "dvc", *arguments]


def _environment() -> dict[str, str]:
    here = str(Path(sys.executable).parent)
    return {**os.environ, "PATH": os.pathsep.join([here, os.environ.get("PATH", "")])}
