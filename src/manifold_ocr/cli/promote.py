"""`manifold-ocr promote`, `export`, `push`: from a trained checkpoint to what others use."""

from pathlib import Path
from typing import Annotated

import typer

CHECKPOINTS = Path("external/checkpoints")


def register_promote(app: typer.Typer) -> None:
    """Add the command."""

    @app.command(rich_help_panel="Publish")
    def promote(
        name: Annotated[str, typer.Argument(help="Of the checkpoint, below external/checkpoints.")],
        source: Annotated[
            Path, typer.Option("--from", help="The trained weights: the run's best checkpoint.")
        ] = Path("output/adapter"),
        force: Annotated[
            bool, typer.Option(help="In spite of gates or contamination; the card says so.")
        ] = False,
        rollback: Annotated[
            bool, typer.Option("--rollback", help="Put the version before the present one back.")
        ] = False,
        track: Annotated[
            bool, typer.Option(help="Give the weights to DVC and tag the commit for GTO.")
        ] = True,
    ) -> None:
        """Copy the best checkpoint to external/checkpoints/NAME, with card and provenance."""
        from manifold_ocr.publish import promote as promotion

        if rollback:
            version = promotion.rollback(name, CHECKPOINTS)
            done = promotion.track(name, version, CHECKPOINTS) if track else []
            typer.echo(f"{CHECKPOINTS / name}: version {version} again{_listed(done)}")
            return
        made = promotion.promote(name, source, CHECKPOINTS, force=force)
        for reason in made.objections:
            typer.echo(f"forced past: {reason}", err=True)
        done = promotion.track(name, made.version, CHECKPOINTS) if track else []
        typer.echo(f"{made.folder}: version {made.version}{_listed(done)}")
        typer.echo(f"try it: manifold-ocr read --model {made.folder} IMAGE")


def _listed(done: list[str]) -> str:
    return f" ({', '.join(done)})" if done else ""


def register_export(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("export", rich_help_panel="Publish")
    def export(
        name: Annotated[
            str, typer.Argument(help="A promoted checkpoint's name, or any promoted folder.")
        ],
        to: Annotated[str, typer.Option(help="hf, merged, onnx, wheel or space.")] = "hf",
        out: Annotated[
            Path | None, typer.Option(help="Where to write it; default: dist/NAME-KIND.")
        ] = None,
        int8: Annotated[
            bool, typer.Option("--int8", help="onnx, wheel: 8-bit matrix products.")
        ] = False,
        images: Annotated[
            list[Path] | None,
            typer.Option(help="Lines to compare on; default: test rows of the manifest."),
        ] = None,
    ) -> None:
        """Write a checkpoint as others load it; refused unless it reads the same as here."""
        from manifold_ocr.publish.export import export_checkpoint
        from manifold_ocr.publish.parity import parity_images

        folder = CHECKPOINTS / name if (CHECKPOINTS / name).is_dir() else Path(name)
        target = out or Path("dist") / f"{folder.name}-{to}"
        made = export_checkpoint(folder, to, target, parity_images(images or []), int8=int8)
        typer.echo(made.parity)
        typer.echo(f"{made.path}: {made.hint}")


def register_push(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("push", rich_help_panel="Publish")
    def push(
        folder: Annotated[Path, typer.Argument(help="An export for the hub: hf, merged or space.")],
        repo: Annotated[str, typer.Argument(help="OWNER/NAME on the hub.")],
        dry_run: Annotated[
            bool, typer.Option("--dry-run", help="Check the token, list files; send nothing.")
        ] = False,
        public: Annotated[bool, typer.Option(help="A new one is private otherwise.")] = False,
    ) -> None:
        """Send an exported folder to the hub (HF_TOKEN); one commit."""
        from manifold_ocr.publish.push import push_folder

        for line in push_folder(folder, repo, dry_run=dry_run, public=public):
            typer.echo(line)
