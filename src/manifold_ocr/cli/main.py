"""The command line: one typer application; a file per group of commands."""

import sys

import typer

from manifold_ocr import __version__
from manifold_ocr.cli import compress, documents, pipeline, publish, review, score, system, train
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

    for register in (
        pipeline.register_download,
        documents.register_label,
        documents.register_read,
        pipeline.register_stage,
        train.register_train,
        system.register_merge,
        pipeline.register_summary,
        score.register_eval,
        compress.register_compress,
        compress.register_verify,
        score.register_engines,
        review.register_explore,
        score.register_robustness,
        review.register_limitations,
        review.register_monitor,
        publish.register_submit,
        pipeline.register_preset,
        system.register_doctor,
    ):
        register(app)
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
