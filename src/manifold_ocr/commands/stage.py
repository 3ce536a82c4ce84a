"""`manifold-ocr repro [STAGE]`: bring the pipeline, or one stage, up to date through DVC."""

from typing import Annotated

import typer

from manifold_ocr.commands.experiments import run_dvc


def register(app: typer.Typer) -> None:
    """Add one command a stage."""

    @app.command()
    def repro(
        stages: Annotated[list[str] | None, typer.Argument(help="Stages; none: all.")] = None,
        force: Annotated[bool, typer.Option(help="Run even where nothing changed.")] = False,
    ) -> None:
        """Run the pipeline, or some stages and what they need, where inputs changed."""
        run_dvc("repro", *(["--force"] if force else []), *(stages or []))

    for name, what in (
        ("manifest", "Split, filter, check and list the samples of the selected corpora."),
        ("augment", "Make degraded variants of the training lines."),
        ("evaluate", "Read the test split with base model and adapter, and score both."),
        ("compress_check", "Measure compression, fidelity and verification."),
        ("leaderboard", "Rank adapter, base and engines on one page."),
    ):
        _register_stage(app, name, what)


def _register_stage(app: typer.Typer, name: str, what: str) -> None:
    @app.command(name.replace("_", "-"), help=f"{what} (dvc repro {name})")
    def command(
        force: Annotated[bool, typer.Option(help="Run even where nothing changed.")] = False,
    ) -> None:
        run_dvc("repro", *(["--force"] if force else []), name)
