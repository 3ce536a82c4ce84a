"""Evaluations of past runs: from files, git commits, or DVC revisions and experiments."""

import csv
import io
import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from manifold_ocr.errors import UserError
from manifold_ocr.files import atomic_write, parse_yaml, read_json

EVALUATION = "metrics/evaluate.json"


def load_evaluation(source: str, path: str = EVALUATION) -> Mapping[str, Any]:
    """Return the evaluation of a file (`source` is a path) or of a revision.

    A revision is anything that git or DVC understands: a commit, branch, tag or the name of
    a DVC experiment.

    Raises:
        UserError: neither a file nor a revision that holds `path`.
    """
    value = read_json(source) if Path(source).is_file() else load_at(source, path)
    if not isinstance(value, Mapping):
        raise UserError(f"{source}: an evaluation must be a JSON object")
    return value


def load_at(revision: str, path: str) -> Any:
    """Return the JSON or YAML file `path` as it stands at `revision`.

    Raises:
        UserError: no such revision, no such file in it, or not JSON or YAML.
    """
    text = git_show(revision, path)
    if text is None:
        text = _dvc_read(revision, path)
    try:
        return (
            parse_yaml(text, f"{revision}:{path}") if path.endswith(".yaml") else json.loads(text)
        )
    except json.JSONDecodeError as error:
        raise UserError(f"{revision}:{path}: cannot be parsed ({error})") from error


def git_show(revision: str, path: str) -> str | None:
    """Return a file as it stands at a revision; None where git knows either not.

    Raises:
        UserError: a revision that git would take for an option.
    """
    if revision.startswith("-"):
        raise UserError(f"{revision!r} is neither a file nor a revision")
    done = subprocess.run(
        ["git", "show", f"{revision}:{path}"], capture_output=True, check=False, text=True
    )
    return done.stdout if done.returncode == 0 else None


def _dvc_read(revision: str, path: str) -> str:
    import dvc.api
    from dvc.exceptions import DvcException
    from dvc.scm import SCMError

    try:
        return str(dvc.api.read(path, rev=revision, encoding="utf-8"))
    except (DvcException, SCMError, OSError, ValueError) as error:
        raise UserError(
            f"{revision!r} is neither a file nor a revision that holds {path}; "
            "`git log` and `dvc exp show` list revisions"
        ) from error


def curve_rows(runs: Sequence[str], x: str, ys: Sequence[str]) -> list[dict[str, Any]]:
    """Return {series, run, x, y, low, high}: one row a run and value of `ys`, sorted by x.

    `x` and each of `ys` are `FILE:key.key`; a series is named by what sets its key apart.
    `low` and `high` are those of the value's interval, and left out where a run has none.

    Raises:
        UserError: a run, file or key that does not exist, or a value that is no number.
    """
    rows = []
    for name, y in zip(series_names(ys), ys, strict=True):
        for run in runs:
            row: dict[str, Any] = {"series": name, "run": run}
            row |= {"x": _value(run, x), "y": _value(run, y)}
            for end in ("low", "high"):
                bound = _lookup(run, f"{y}_{end}")
                if isinstance(bound, (int, float)):
                    row[end] = float(bound)
            rows.append(row)
    return sorted(rows, key=lambda row: (row["series"], row["x"], row["run"]))


def series_names(ys: Sequence[str]) -> list[str]:
    """Return what sets each `FILE:key.key` apart: `adapter` and `base`; one alone keeps its key."""
    keys = [y.partition(":")[2].split(".") for y in ys]
    if len(keys) == 1:
        return [".".join(keys[0])]
    ends = [0, 0]
    for side, step in enumerate((1, -1)):
        for parts in zip(*(key[::step] for key in keys), strict=False):
            if len(set(parts)) > 1:
                break
            ends[side] += 1
    return [".".join(key[ends[0] : len(key) - ends[1]]) or ".".join(key) for key in keys]


def _value(run: str, where: str) -> float:
    value = _lookup(run, where)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise UserError(f"{run}: {where} is no number ({value!r}); the form is FILE:key.key")
    return float(value)


def _lookup(run: str, where: str) -> Any:
    path, _, keys = where.partition(":")
    value = load_at(run, path)
    for key in keys.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def write_curve(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the rows as CSV with the columns that the DVC template `interval` draws."""
    buffer = io.StringIO()
    writer = csv.DictWriter(
        buffer, ("series", "x", "y", "low", "high", "run"), restval="", lineterminator="\n"
    )
    writer.writeheader()
    writer.writerows(rows)
    with atomic_write(path) as file:
        file.write(buffer.getvalue())


def past_revisions(count: int, path: str = EVALUATION) -> list[str]:
    """Return the last `count` commits that changed `path`, oldest first (short hashes)."""
    done = subprocess.run(
        ["git", "log", f"-{count}", "--format=%h", "--", path],
        capture_output=True,
        check=False,
        text=True,
    )
    return done.stdout.split()[::-1] if done.returncode == 0 else []
