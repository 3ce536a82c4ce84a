"""`manifold-ocr eval`: score a model on any manifest, as our, Fox's and OmniDocBench's reports."""

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("eval")
    def evaluate(
        manifest: Annotated[
            Path,
            typer.Option(help="Rows as JSON Lines (ours or the older form), or OmniDocBench.json."),
        ],
        image_root: Annotated[Path, typer.Option(help="Folder that image paths start from.")],
        out: Annotated[
            Path, typer.Option(help="Folder for report.json, report.md and predictions.jsonl.")
        ],
        model: Annotated[
            Path | None,
            typer.Option(
                help="Checkpoint or adapter folder; default: the base model of params.yaml."
            ),
        ] = None,
        predictions: Annotated[
            Path | None,
            typer.Option(help="Score this file or folder instead of reading with a model."),
        ] = None,
        granularity: Annotated[str, typer.Option(help="Keep `line` or `page` rows only.")] = "",
        params: Annotated[Path, typer.Option(help="Its section `evaluate` is used.")] = Path(
            "params.yaml"
        ),
    ) -> None:
        """Score a model, or a file of predictions, on any manifest."""
        from manifold_ocr.reports.evaluation import evaluate_predictions, write_eval
        from manifold_ocr.reports.reading import evaluate_config, import_or_read
        from manifold_ocr.reports.rows import load_manifest

        loaded = load_manifest(manifest, granularity)
        config = evaluate_config(params)
        reading = import_or_read(loaded.samples, image_root, model, predictions)
        report = evaluate_predictions(
            reading.name, loaded, manifest.name, reading.predictions, config, reading.failures
        )
        write_eval(out, report, reading.predictions)
        for line in reading.notes:
            typer.echo(line, err=True)
        typer.echo(report.headline())
        typer.echo(f"{out}/report.md")
