"""`manifold-ocr robustness` and `manifold-ocr curve`: curves over damage, and over runs."""

from pathlib import Path
from typing import Annotated, Any

import typer

TRAINED_ROWS = "metrics/train/metrics.json:rows.kept"
ERRORS = [f"metrics/evaluate.json:{system}.overall.cer" for system in ("adapter", "base")]


def register(app: typer.Typer) -> None:
    """Add both commands."""
    _register_robustness(app)
    _register_curve(app)


def _register_robustness(app: typer.Typer) -> None:
    @app.command("robustness")
    def robustness(
        model: Annotated[
            list[Path] | None,
            typer.Option(
                help="Checkpoint or adapter folders; default: output/adapter where it exists."
            ),
        ] = None,
        base: Annotated[bool, typer.Option(help="Read with the base model too.")] = True,
        sweep: Annotated[
            list[str] | None,
            typer.Option(help="blur, noise, rotation, jpeg, downscale; default: all."),
        ] = None,
        lines: Annotated[int, typer.Option(min=1, help="Test lines to damage.")] = 200,
        manifest: Annotated[Path, typer.Option(help="Rows to sample from.")] = Path(
            "data/manifest/test.jsonl"
        ),
        image_root: Annotated[Path, typer.Option(help="Folder that image paths start from.")] = (
            Path("data/raw")
        ),
        out: Annotated[Path, typer.Option(help="Folder of the CSV files.")] = Path(
            "metrics/robustness"
        ),
        metrics: Annotated[Path, typer.Option(help="Metrics file to write.")] = Path(
            "metrics/robustness.json"
        ),
        params: Annotated[Path, typer.Option(help="Its section `evaluate` is used.")] = Path(
            "params.yaml"
        ),
    ) -> None:
        """Damage test lines step by step and read them again."""
        from manifold_ocr.errors import UserError
        from manifold_ocr.files import write_json
        from manifold_ocr.reports.reading import evaluate_config
        from manifold_ocr.reports.rows import load_manifest
        from manifold_ocr.robustness import SWEEPS, as_metrics, pick, sweep_all, write_curves

        names = sweep or list(SWEEPS)
        if unknown := [name for name in names if name not in SWEEPS]:
            raise UserError(f"no sweep {unknown[0]!r}; there are {', '.join(SWEEPS)}")
        systems = systems_to_read_with(model, base)
        config = evaluate_config(params)
        samples = pick(load_manifest(manifest, "line").samples, lines, config.seed)
        curves = sweep_all(systems, samples, image_root, names, config)
        write_curves(curves, out)
        write_json(metrics, as_metrics(curves))
        for name, per_system in curves.items():
            for system, rows in per_system.items():
                steps = ", ".join(f"{int(row['level'])}: {100 * row['cer']:.1f}" for row in rows)
                typer.echo(f"{name} ({SWEEPS[name].unit}), {system}, CER %: {steps}")
        typer.echo(f"{out}, {metrics}")


def systems_to_read_with(model: list[Path] | None, base: bool) -> dict[str, Any]:
    """Return the models to damage lines for, by name.

    Raises:
        UserError: there is none.
    """
    from manifold_ocr.engines.checkpoint import load_checkpoint, reader_model
    from manifold_ocr.errors import UserError

    adapter = Path("output/adapter")
    folders = model or ([adapter] if adapter.is_dir() else [])
    systems: dict[str, Any] = {"base": reader_model(None)} if base else {}
    systems |= {folder.name: load_checkpoint(folder) for folder in folders}
    if not systems:
        raise UserError("no model to read with: name one with --model, or leave --no-base out")
    return systems


def _register_curve(app: typer.Typer) -> None:
    @app.command("curve")
    def curve(
        runs: Annotated[list[str], typer.Argument(help="Commits, branches, DVC experiments.")],
        x: Annotated[str, typer.Option(help="FILE:key.key of the horizontal axis.")] = TRAINED_ROWS,
        y: Annotated[
            list[str] | None,
            typer.Option(
                help="FILE:key.key of the vertical axis, one series each; _low and _high are "
                "taken along where they exist. Default: CER of adapter and base."
            ),
        ] = None,
        out: Annotated[Path, typer.Option(help="CSV file to write.")] = Path(
            "metrics/curves/learning.csv"
        ),
    ) -> None:
        """Plot values of past runs against another: a learning curve over experiments."""
        from manifold_ocr.monitor.runs import curve_rows, write_curve

        rows = curve_rows(runs, x, y or ERRORS)
        write_curve(out, rows)
        for row in rows:
            typer.echo(f"{row['series']}, {row['run']}: {row['x']:g} -> {row['y']:.4g}")
        typer.echo(f"{out}: {len(runs)} runs")
