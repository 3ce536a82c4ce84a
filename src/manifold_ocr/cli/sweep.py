"""`compress --presets`: one queued experiment a preset, then accuracy against compression.

Each preset becomes the DVC experiment `preset-NAME` of the present commit: the workspace's
params with the preset's values. What is queued, running or done is left as it is, so the
command may be repeated at any time; a result of other settings or other code is never shown
beside those of the present ones.
"""

import copy
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import typer

from manifold_ocr.cli.experiments import (
    Experiment,
    dvc,
    known_experiments,
    pipeline_code,
    untracked_code,
    worker_runs,
)
from manifold_ocr.cli.pipeline import preset_values, set_value
from manifold_ocr.config import load_params
from manifold_ocr.errors import UserError

PRESETS = Path("presets")
METRICS = "metrics/compress.json"
NOT_IN_PIPELINE = ("monitor",)  # sections that no stage reads


def sweep(presets: Sequence[str], out: Path, start: bool) -> None:
    """Queue what is missing of the presets, run the queue if asked, plot what has finished.

    Raises:
        UserError: an unknown preset or key (nothing is queued then), or DVC fails.
    """
    names = list(dict.fromkeys(name.strip() for name in presets if name.strip()))
    if not names:
        raise UserError("--presets: name at least one, such as --presets tiny,small,dense")
    params = load_params()
    values = {name: preset_values(PRESETS / f"{name}.yaml", params) for name in names}
    known = known_experiments()
    changed = False
    for name in names:
        changed |= _queue(name, values[name], known.get(f"preset-{name}"), start)
    if changed:
        known = known_experiments()
        if files := untracked_code():
            typer.echo(f"note: not part of the experiments, as Git does not know it: {files[0]}")
    current = {name: known.get(f"preset-{name}") for name in names}
    if start and any(item and item.state in ("queued", "running") for item in current.values()):
        _run_queue()
        known = known_experiments()
    states = {
        name: state_of(known.get(f"preset-{name}"), with_values(params, values[name]))
        for name in names
    }
    results = {
        name: known[f"preset-{name}"].metrics.get(METRICS, {})
        for name, state in states.items()
        if state == "done"
    }
    _report(names, states, results, out)
    if start and any(state.startswith("failed") for state in states.values()):
        raise typer.Exit(1)


def with_values(params: Mapping[str, Any], values: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Return a copy of the params with a preset's values."""
    result = copy.deepcopy(dict(params))
    for key, value in values:
        set_value(result, key, value)
    return result


def state_of(found: Experiment | None, wanted: Mapping[str, Any]) -> str:
    """Return `done`, or in words why the experiment has no result for the wanted params."""
    if found is None:
        return "not queued"
    again = f"`dvc exp remove {found.name}` forgets it, this command then queues it anew"
    if found.state == "failed":
        return (
            f"failed: `dvc queue logs {found.name}` says why; this command with --start tries again"
        )
    if found.state != "success":
        if other := _difference(found, wanted):
            return f"{found.state} with other {other}; {again}"
        if found.state == "running":
            return f"running: `dvc queue logs -f {found.name}`"
        return "queued: --start or `dvc queue start` runs it"
    if other := _difference(found, wanted):
        return f"run with other {other}; {again}"
    overall = found.metrics.get(METRICS, {}).get("adapter", {}).get("overall", {})
    if "optical_ratio" not in overall:
        return "run, but its predictions carry no vision tokens"
    return "done"


def _difference(found: Experiment, wanted: Mapping[str, Any]) -> str:
    """Return the first param or code file in which an experiment differs; empty if none does."""
    for section in sorted(set(wanted) | set(found.params)):
        if section in NOT_IN_PIPELINE:
            continue
        key, before, now = _first_other(section, found.params.get(section), wanted.get(section))
        if key:
            return f"settings ({key} {before}, now {now})"
    files = found.changed_files(pipeline_code())
    return f"code ({files[0]}{' and others' if len(files) > 1 else ''})" if files else ""


def _first_other(key: str, before: Any, now: Any) -> tuple[str, Any, Any]:
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for name in sorted(set(before) | set(now)):
            found = _first_other(f"{key}.{name}", before.get(name), now.get(name))
            if found[0]:
                return found
        return "", None, None
    return ("", None, None) if before == now else (key, before, now)


def _queue(
    name: str, values: Sequence[tuple[str, Any]], found: Experiment | None, start: bool
) -> bool:
    """Queue a preset that has no experiment; return whether the queue changed.

    One that failed is queued again only where the queue is to run: its log is lost by that.
    One that died with its worker (a reboot) is still called running by DVC and is queued again;
    training then goes on from its last checkpoint.
    """
    experiment = f"preset-{name}"
    if found and found.state == "running" and not found.alive:
        typer.echo(f"{experiment}: its process is gone; queued again")
        dvc("queue", "kill", experiment)
    elif found and found.state == "failed" and start:
        typer.echo(f"{experiment}: failed before; queued again")
    elif found:
        return False
    if found:
        dvc("exp", "remove", experiment)
    options = [part for key, value in values for part in ("-S", f"{key}={json.dumps(value)}")]
    dvc("exp", "run", "--queue", "-n", experiment, *options)
    return True


def _run_queue() -> None:
    """Run everything in the queue and follow its output until it is done."""
    follow = "a worker runs the queue already; its output follows" if worker_runs() else ""
    typer.echo(follow or "running the queue, one experiment at a time")
    try:
        dvc("exp", "run", "--run-all", "--jobs", "1")
    except KeyboardInterrupt:
        typer.echo(
            "\nno longer following: the experiment goes on in the background. `dvc queue status` "
            "shows it, `dvc queue stop --kill` ends it, and this command goes on where it stopped"
        )
        raise typer.Exit(130) from None


def _report(
    names: Sequence[str],
    states: Mapping[str, str],
    results: Mapping[str, Mapping[str, Any]],
    out: Path,
) -> None:
    """Print the state of each preset, and write and print the results there are."""
    from manifold_ocr.compression.sweep import same_compression, sweep_rows, table, write_sweep

    for name in names:
        if name not in results:
            typer.echo(f"preset-{name}: {states[name]}")
    if not results:
        return
    rows = sweep_rows(results)
    write_sweep(rows, out)
    typer.echo(table(rows))
    if same_compression(rows):
        model = load_params().get("model", {}).get("id", "")
        typer.echo(
            f"note: a page costs the same vision tokens under these presets: {model} was shown the "
            "same pixels. Their max_pixels act on chat models (model.id in params.yaml), and "
            "otherwise only on larger images"
        )
    typer.echo(
        f"{len(rows)} of {len(names)} presets done: {out / 'sweep.png'}, {out / 'sweep.csv'}"
    )
