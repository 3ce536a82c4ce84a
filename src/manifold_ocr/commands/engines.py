"""`manifold-ocr engine NAME`: read a manifest with another system, scored for the leaderboard."""

from pathlib import Path
from typing import Annotated, Any

import typer


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("engine")
    def engine(
        name: Annotated[str, typer.Argument(help="tesseract, rapidocr, checkpoint, predictions.")],
        manifest: Annotated[Path, typer.Option(help="Rows to read.")] = Path(
            "data/manifest/test.jsonl"
        ),
        image_root: Annotated[Path, typer.Option(help="Folder that image paths start from.")] = (
            Path("data/raw")
        ),
        out: Annotated[
            Path | None,
            typer.Option(help="Predictions to write; default: output/engines/NAME.jsonl."),
        ] = None,
        label: Annotated[
            str, typer.Option(help="Name on the leaderboard and of the metrics file.")
        ] = "",
        granularity: Annotated[str, typer.Option(help="Keep `line` or `page` rows only.")] = "",
        documents: Annotated[
            int, typer.Option(min=0, help="Read so many documents of the manifest only; 0: all.")
        ] = 0,
        languages: Annotated[str, typer.Option(help="Of Tesseract, e.g. eng+chi_sim.")] = "eng",
        model: Annotated[Path | None, typer.Option(help="Of `checkpoint`: its folder.")] = None,
        predictions: Annotated[
            Path | None,
            typer.Option(help="Of `predictions`: a JSON Lines file or a folder of Markdown files."),
        ] = None,
        threads: Annotated[int, typer.Option(help="0: all cores.")] = 0,
        metrics: Annotated[Path, typer.Option(help="Folder of the scores.")] = Path(
            "metrics/engines"
        ),
        ours: Annotated[
            Path, typer.Option(help="Folder of predictions of ours to compare with in pairs.")
        ] = Path("output/predictions"),
        params: Annotated[Path, typer.Option(help="Its section `evaluate` is used.")] = Path(
            "params.yaml"
        ),
    ) -> None:
        """Read a manifest with an engine and write its predictions and its scores."""
        from manifold_ocr.errors import UserError
        from manifold_ocr.files import write_json
        from manifold_ocr.records import write_rows
        from manifold_ocr.reports.engine_scores import scores_of, slug, some_documents
        from manifold_ocr.reports.reading import evaluate_config
        from manifold_ocr.reports.rows import load_manifest

        if (name == "predictions") != (predictions is not None):
            raise UserError("the engine `predictions` needs --predictions, and only it takes one")
        config = evaluate_config(params)
        loaded = load_manifest(manifest, granularity)
        samples = some_documents(loaded.samples, documents, config.seed)
        options = {"languages": languages, "model": model, "threads": threads}
        reading = reading_of(name, samples, image_root, predictions, options)
        key = slug(label or (reading.name if name == "predictions" else name))
        target = out or Path("output/engines") / f"{key}.jsonl"
        write_rows(target, reading.predictions)
        own = sorted(ours.glob("*.jsonl"))
        values = scores_of(label or reading.name, loaded, samples, reading, config, own)
        write_json(metrics / f"{key}.json", values)
        for line in reading.notes:
            typer.echo(line, err=True)
        overall = values["overall"]
        typer.echo(
            f"{label or reading.name}: {len(samples):,} rows, CER {overall['cer']:.2%}, "
            f"insertion rate {overall['insertion_rate']:.2%}; {target}, {metrics / key}.json"
        )


def reading_of(
    name: str, samples: Any, image_root: Path, predictions: Path | None, options: dict[str, Any]
) -> Any:
    """Return what the engine reads, or what was read already and stands in `predictions`."""
    from manifold_ocr.engines.base import EngineOptions
    from manifold_ocr.reports.reading import import_file, read_samples_with

    if predictions is not None:
        return import_file(predictions, samples)
    return read_samples_with(name, samples, image_root, EngineOptions(**options))
