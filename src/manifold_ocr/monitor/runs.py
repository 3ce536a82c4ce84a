"""Evaluations of past runs: from files, git commits, or DVC revisions and experiments."""

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from manifold_ocr.errors import UserError
from manifold_ocr.files import read_json

EVALUATION = "metrics/evaluate.json"


def load_evaluation(source: str, path: str = EVALUATION) -> Mapping[str, Any]:
    """Return the evaluation of a file (`source` is a path) or of a revision.

    A revision is anything that git or DVC understands: a commit, branch, tag or the name of
    a DVC experiment.

    Raises:
        UserError: neither a file nor a revision that holds `path`.
    """
    if Path(source).is_file():
        value = read_json(source)
    else:
        value = _parse(_git_show(source, path) or _dvc_read(source, path), source)
    if not isinstance(value, Mapping):
        raise UserError(f"{source}: an evaluation must be a JSON object")
    return value


def _git_show(revision: str, path: str) -> str | None:
    if revision.startswith("-"):
        raise UserError(f"{revision!r} is neither a file nor a revision")
    done = subprocess.run(
        ["git", "show", f"{revision}:{path}"], capture_output=True, check=False, text=True
    )
    return done.stdout if done.returncode == 0 else None


def _dvc_read(revision: str, path: str) -> str:
    import dvc.api
    from dvc.exceptions import DvcException

    try:
        return str(dvc.api.read(path, rev=revision, encoding="utf-8"))
    except (DvcException, OSError, ValueError) as error:
        raise UserError(
            f"{revision!r} is neither a file nor a revision that holds {path}; "
            "`git log` and `dvc exp show` list revisions"
        ) from error


def _parse(text: str, source: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"{source}:{EVALUATION}: not valid JSON ({error.msg})") from error


def past_revisions(count: int, path: str = EVALUATION) -> list[str]:
    """Return the last `count` commits that changed `path`, oldest first (short hashes)."""
    done = subprocess.run(
        ["git", "log", f"-{count}", "--format=%h", "--", path],
        capture_output=True,
        check=False,
        text=True,
    )
    return done.stdout.split()[::-1] if done.returncode == 0 else []
