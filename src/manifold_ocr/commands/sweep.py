"""`compress --presets`: one queued experiment a preset, then accuracy against compression."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from manifold_ocr.commands.preset import flatten
from manifold_ocr.errors import UserError

METRICS = "metrics/compress.json"


def sweep(presets: list[str], out: Path, start: bool) -> None:
    """Queue the presets through DVC, run them if asked, and plot what has finished."""
    for name in presets:
        _queue(name)
    if start:
        _dvc("exp", "run", "--run-all", "--jobs", "1")
    rows = sweep_rows(_experiments(), presets)
    if not rows:
        typer.echo("queued; run `dvc queue start`, then this command again to plot the results")
        return
    write_sweep(rows, out)
    typer.echo(f"{out}/sweep.csv and {out}/sweep.png: {len(rows)} of {len(presets)} presets done")


def _queue(name: str) -> None:
    from manifold_ocr.config import load_params

    path = Path("presets") / f"{name}.yaml"
    if not path.is_file():
        valid = ", ".join(sorted(item.stem for item in path.parent.glob("*.yaml")))
        raise UserError(f"{path}: no such preset; valid: {valid or 'none'}")
    settings = [f"{key}={json.dumps(value)}" for key, value in flatten(load_params(path))]
    done = {item["name"] for item in _experiments()}
    if f"preset-{name}" in done:
        typer.echo(f"preset-{name} was run or queued already; `dvc exp remove` starts it afresh")
        return
    options = [part for setting in settings for part in ("-S", setting)]
    _dvc("exp", "run", "--queue", "-n", f"preset-{name}", *options)


def _experiments() -> list[dict[str, Any]]:
    """Return {name, metrics} of every experiment that DVC knows, finished or queued."""
    answer = subprocess.run(
        [sys.executable, "-m", "dvc", "exp", "show", "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    if answer.returncode:
        raise UserError(f"dvc exp show failed: {answer.stderr.strip().splitlines()[-1:]}")
    return list(experiments_of(json.loads(answer.stdout)))


def experiments_of(shown: Any) -> Iterator[dict[str, Any]]:
    """Yield {name, metrics} from the JSON of `dvc exp show`."""
    for commit in shown:
        for experiment in commit.get("experiments") or []:
            for revision in experiment.get("revs") or []:
                metrics = ((revision.get("data") or {}).get("metrics") or {}).get(METRICS) or {}
                name = experiment.get("name") or revision.get("name") or ""
                yield {"name": name, "metrics": metrics.get("data") or {}}


def sweep_rows(experiments: list[dict[str, Any]], presets: list[str]) -> list[dict[str, Any]]:
    """Return one row a finished preset: compression, token accuracy and F1 of its adapter."""
    rows = []
    for name in presets:
        for item in experiments:
            overall = item["metrics"].get("adapter", {}).get("overall", {})
            if item["name"] == f"preset-{name}" and "optical_ratio" in overall:
                rows.append(
                    {
                        "compression": overall["optical_ratio"],
                        "token_accuracy": overall["token_accuracy"],
                        "token_f1": overall["token_f1"],
                        "preset": name,
                    }
                )
                break
    return rows


def write_sweep(rows: list[dict[str, Any]], out: Path) -> None:
    """Write sweep.csv and sweep.png below `out`."""
    from manifold_ocr.compression.plots import draw_sweep, write_csv

    write_csv(out / "sweep.csv", rows)
    draw_sweep(rows, out / "sweep.png")


def _dvc(*arguments: str) -> None:
    code = subprocess.run([sys.executable, "-m", "dvc", *arguments], check=False).returncode
    if code:
        raise UserError(f"`dvc {' '.join(arguments[:3])}` failed with status {code}")
