"""`manifold-ocr label`: from a folder of scans to labelled lines for training."""

from pathlib import Path
from typing import Annotated, Any

import typer


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("label")
    def label(
        folder: Annotated[
            Path,
            typer.Argument(
                help="Folder of scans (images, PDFs); SCAN.txt beside a scan is its known text."
            ),
        ],
        out: Annotated[
            Path | None,
            typer.Option(help="Folder of line images and texts; default: FOLDER-lines."),
        ] = None,
        apply: Annotated[
            Path | None, typer.Option(help="Write the corrections saved by the page into OUT.")
        ] = None,
        mode: Annotated[str, typer.Option(help="auto, line or page.")] = "auto",
        model: Annotated[
            Path | None,
            typer.Option(
                help="Checkpoint or adapter folder; default: the base model of params.yaml."
            ),
        ] = None,
        threads: Annotated[int, typer.Option(min=0, help="Of the detector; 0: all cores.")] = 0,
    ) -> None:
        """Read a folder's lines for correction; the result is a `folder` corpus."""
        from manifold_ocr.detection import DetectionConfig, LazyDetector
        from manifold_ocr.engines.checkpoint import reader_model
        from manifold_ocr.labelling.folder import apply_corrections, label_folder
        from manifold_ocr.pages import PageReader

        if mode not in ("auto", "line", "page"):
            raise typer.BadParameter(f"--mode is auto, line or page, not {mode!r}")
        target = out or folder.resolve().parent / f"{folder.resolve().name}-lines"
        if apply is not None:
            changed, removed = apply_corrections(target, apply)
            typer.echo(f"{target}: {changed} texts changed, {removed} lines dropped")
            return
        reader = PageReader(LazyDetector(DetectionConfig(threads=threads)), reader_model(model))
        done = label_folder(reader, folder, target, mode)  # type: ignore[arg-type]
        say_what_is_next(folder, target, done)
        raise typer.Exit(2 if done.failed else 0)


def say_what_is_next(folder: Path, target: Path, done: Any) -> None:
    """Write the page of the labels that were made; print their number and the next steps."""
    from manifold_ocr.labelling.folder import DOCUMENT_PATTERN
    from manifold_ocr.labelling.page import write_page

    page = write_page(target, done.labels)
    known = sum(entry.source == "transcript" for entry in done.labels)
    typer.echo(
        f"{target}: {len(done.labels)} lines, {known} with text from a transcript, "
        f"{len(done.labels) - known} as read (check them); {done.without_text} without text"
    )
    for name, text in done.left_over[:10]:
        typer.echo(f"  {name}: no line for {text[:60]!r}", err=True)
    for failure in done.failed:
        typer.echo(f"error: {failure}", err=True)
    typer.echo(
        f"1. correct them in {page} and save\n"
        f"2. manifold-ocr label {folder} --out {target} --apply corrections.json\n"
        f"3. params.yaml: corpora: {{mine: {{kind: folder, path: {target}, "
        f"document_pattern: '{DOCUMENT_PATTERN}'}}}}"
    )
