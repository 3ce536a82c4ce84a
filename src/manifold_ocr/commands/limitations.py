"""`manifold-ocr limitations`: write docs/whitepaper/limitations.md from the last run."""

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("limitations")
    def limitations(
        system: Annotated[str, typer.Option(help="adapter or base.")] = "adapter",
        evaluation: Annotated[Path, typer.Option(help="The evaluation.")] = Path(
            "metrics/evaluate.json"
        ),
        predictions: Annotated[
            Path | None, typer.Option(help="Default: output/predictions/SYSTEM.jsonl.")
        ] = None,
        manifest: Annotated[Path, typer.Option(help="The rows that were read.")] = Path(
            "data/manifest/test.jsonl"
        ),
        image_root: Annotated[Path, typer.Option(help="Folder that image paths start from.")] = (
            Path("data/raw")
        ),
        document: Annotated[Path, typer.Option(help="Report to write.")] = Path(
            "docs/whitepaper/limitations.md"
        ),
        private: Annotated[Path, typer.Option(help="Where images of real documents go.")] = Path(
            "output/limitations"
        ),
    ) -> None:
        """Report the worst groups, confusions and failures; real images stay under output/."""
        from manifold_ocr.files import read_json
        from manifold_ocr.limitations import find, of_granularities_read, write
        from manifold_ocr.records import read_predictions, read_samples
        from manifold_ocr.reports.reading import evaluate_config

        path = predictions or Path("output/predictions") / f"{system}.jsonl"
        read = list(read_predictions(path))
        rows = of_granularities_read(list(read_samples(manifest)), read)
        config = evaluate_config(Path("params.yaml"))
        found = find(read_json(evaluation), system, rows, read, config)
        own, kept = write(found, image_root, document, private)
        typer.echo(f"{document}: {own} images published, {kept} kept in {private}")
