"""`manifold-ocr explore`: one HTML file to look at every error."""

from pathlib import Path
from typing import Annotated, Any

import typer

EVALUATED = tuple(Path(f"output/predictions/{name}.jsonl") for name in ("base", "adapter"))


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("explore")
    def explore(
        predictions: Annotated[
            list[Path] | None,
            typer.Argument(
                help="Prediction files, the first is what others "
                "are compared with; default: base and adapter."
            ),
        ] = None,
        manifest: Annotated[Path, typer.Option(help="The rows that were read.")] = Path(
            "data/manifest/test.jsonl"
        ),
        image_root: Annotated[Path, typer.Option(help="Folder that image paths start from.")] = (
            Path("data/raw")
        ),
        out: Annotated[Path, typer.Option(help="HTML file to write.")] = Path(
            "output/explorer.html"
        ),
        title: Annotated[str, typer.Option(help="Title of the page.")] = "Error explorer",
        max_rows: Annotated[
            int, typer.Option(help="Keep the rows with the largest loss.")
        ] = 10_000,
        max_megabytes: Annotated[float, typer.Option(help="Of all images together.")] = 80.0,
        quality: Annotated[int, typer.Option(min=20, max=95, help="Of the JPEG images.")] = 60,
        profile: Annotated[str, typer.Option(help="Normalisation profile.")] = "nfc_ws",
    ) -> None:
        """Write a self-contained page: images, differences, filters, confusions."""
        from manifold_ocr.errors import UserError
        from manifold_ocr.explorer.build import describe, write_explorer
        from manifold_ocr.explorer.rows import ExplorerConfig

        paths = predictions or [path for path in EVALUATED if path.is_file()]
        if not paths:
            raise UserError("no prediction file; name one, or run `dvc repro evaluate` first")
        config = ExplorerConfig(
            title=title,
            max_rows=max_rows,
            max_megabytes=max_megabytes,
            quality=quality,
            profile=profile,
        )
        samples, systems = joined_systems(paths, manifest, profile)
        typer.echo(describe(write_explorer(out, samples, systems, image_root, config), out))


def joined_systems(paths: list[Path], manifest: Path, profile: str) -> tuple[Any, list[Any]]:
    """Return the rows that were read and each file's readings of them; say what did not fit."""
    from manifold_ocr.engines.predictions import import_predictions
    from manifold_ocr.explorer.build import build_system
    from manifold_ocr.limitations import of_granularities_read
    from manifold_ocr.reports.rows import load_manifest

    samples = load_manifest(manifest).samples
    joined = {path: import_predictions(path, samples).joined for path in paths}
    read = [row for found in joined.values() for row in found.found.values()]
    samples = tuple(of_granularities_read(samples, read))
    systems = []
    for path, found in joined.items():
        missing = sum(sample.id not in found.found for sample in samples)
        if missing or found.unmatched or found.ambiguous:
            typer.echo(
                f"{path}: {found.matched:,} rows joined, {found.unmatched:,} fit no row, "
                f"{found.ambiguous:,} fit several; {missing:,} rows without a prediction",
                err=True,
            )
        systems.append(build_system(path.stem, samples, found.found.values(), profile))
    return samples, systems
