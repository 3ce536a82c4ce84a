"""The command line: one typer application, one small module a command."""

import sys

import typer

from manifold_ocr import __version__
from manifold_ocr.commands import (
    compress,
    doctor,
    download,
    engines,
    eval,
    explore,
    label,
    limitations,
    merge,
    monitor,
    preset,
    read,
    robustness,
    stage,
    summary,
    train,
    verify,
)
from manifold_ocr.errors import UserError


def _version(show: bool) -> None:
    if show:
        typer.echo(f"manifold-ocr {__version__}")
        raise typer.Exit


def build_app() -> typer.Typer:
    """Return the application with every command; imports no model code."""
    app = typer.Typer(
        name="manifold-ocr",
        help="Fine-tune, measure and compress OCR on your own documents, reproducibly.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )

    @app.callback()
    def root(
        version: bool = typer.Option(
            False, "--version", callback=_version, is_eager=True, help="Print the version."
        ),
    ) -> None:
        """Fine-tune, measure and compress OCR on your own documents, reproducibly."""

    for command in (
        download,
        label,
        read,
        stage,
        train,
        merge,
        summary,
        eval,
        compress,
        verify,
        engines,
        explore,
        robustness,
        limitations,
        monitor,
        preset,
        doctor,
    ):
        command.register(app)
    return app


def main() -> None:
    """Run the command line; a UserError becomes one line on standard error and status 2."""
    try:
        build_app()()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print("interrupted: run the same command again to go on", file=sys.stderr)
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
