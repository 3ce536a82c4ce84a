"""The command line: one typer application; a file per group of commands.

Exit status: 0 fine, 1 the command's own "no" (a gate fails, a text matches nothing), 2 what the
user can fix, 70 a bug (its traceback is written to a file), 130 interrupted.
"""

import sys
from typing import Any

import typer
from typer.core import TyperGroup

from manifold_ocr import __version__
from manifold_ocr.cli import (
    compress,
    documents,
    pipeline,
    playbook,
    promote,
    publish,
    review,
    score,
    serve,
    system,
)
from manifold_ocr.errors import UserError, report_bug

PANELS = ("Pipeline", "Your documents", "Read and evaluate", "Publish", "Serve", "System")


class Groups(TyperGroup):
    """The commands in named groups, their help lines wrapped and never cut off."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write one section per group, its commands in the order in which they were added."""
        rows: dict[str, list[tuple[str, str]]] = {panel: [] for panel in PANELS}
        for name in self.list_commands(ctx):
            command = self.get_command(ctx, name)
            if command is not None and not command.hidden:
                panel = getattr(command, "rich_help_panel", None)
                group = panel if isinstance(panel, str) else PANELS[-1]
                rows.setdefault(group, []).append((name, command.get_short_help_str(limit=200)))
        for panel, commands in rows.items():
            if commands:
                with formatter.section(panel):
                    formatter.write_dl(commands)


def _version(show: bool) -> None:
    if show:
        typer.echo(f"manifold-ocr {__version__}")
        raise typer.Exit


def build_app() -> typer.Typer:
    """Return the application with every command; imports no model code."""
    app = typer.Typer(
        name="manifold-ocr",
        cls=Groups,
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
        pipeline.register_preset,
        pipeline.register_stage,
        pipeline.register_train,
        playbook.register_pipeline,
        documents.register_label,
        documents.register_read,
        serve.register_serving,
        score.register_eval,
        review.register_summary,
        review.register_explore,
        review.register_monitor,
        score.register_robustness,
        compress.register_compress,
        compress.register_optical,
        compress.register_verify,
        publish.register_submit,
        publish.register_pr_report,
        promote.register_promote,
        promote.register_export,
        promote.register_push,
        review.register_limitations,
        system.register_merge,
        system.register_pin,
        system.register_doctor,
    ):
        register(app)
    return app


def main() -> None:
    """Run the command line; an error becomes one line on standard error and a status."""
    try:
        build_app()()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print("interrupted: run the same command again to go on", file=sys.stderr)
        raise SystemExit(130) from None
    except Exception as error:
        print(report_bug(error), file=sys.stderr)
        raise SystemExit(70) from None


if __name__ == "__main__":
    main()
