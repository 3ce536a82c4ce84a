"""`manifold-ocr read`: the text of images and PDFs."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("read")
    def read(
        images: Annotated[list[Path], typer.Argument(help="Images or PDFs: lines or pages.")],
        json_lines: Annotated[
            bool, typer.Option("--json", help="One JSON object a page: text, boxes, confidence.")
        ] = False,
        mode: Annotated[
            str,
            typer.Option(
                help="auto, line or page: auto takes a single row of text that "
                "fills the image for a line."
            ),
        ] = "auto",
        flow: Annotated[
            bool, typer.Option("--flow", help="Join the lines of a paragraph.")
        ] = False,
        model: Annotated[
            Path | None,
            typer.Option(
                help="Checkpoint or adapter folder; default: the base model of params.yaml."
            ),
        ] = None,
        dpi: Annotated[int, typer.Option(min=36, max=1200, help="At which PDFs are rendered.")] = (
            200
        ),
        threads: Annotated[int, typer.Option(min=0, help="Of the detector; 0: all cores.")] = 0,
    ) -> None:
        """Print the text of images and PDFs; status 2 if any of them could not be read."""
        from manifold_ocr.detection import DetectionConfig, LazyDetector
        from manifold_ocr.engines.checkpoint import reader_model
        from manifold_ocr.pages import PageReader

        if mode not in ("auto", "line", "page"):
            raise typer.BadParameter(f"--mode is auto, line or page, not {mode!r}")
        detector = LazyDetector(DetectionConfig(threads=threads))
        reader = PageReader(detector, reader_model(model))
        if not print_texts(images, reader, mode, dpi, json_lines=json_lines, flow=flow):
            raise typer.Exit(2)


def print_texts(
    images: list[Path], reader: Any, mode: str, dpi: int, *, json_lines: bool, flow: bool
) -> bool:
    """Print the text of each page as it is read; return whether every file could be."""
    from manifold_ocr.errors import UserError
    from manifold_ocr.pages import open_pages

    pages, failed = 0, 0
    for path in images:
        try:
            for label, image in open_pages(path, dpi):
                page = reader.read(image, mode)
                pages += 1
                if json_lines:
                    row = {"image": label, **page.as_json()}
                    typer.echo(json.dumps(row, ensure_ascii=False))
                    continue
                if len(images) > 1 or "#page=" in label:
                    typer.echo(f"==> {label} <==")
                typer.echo(page.flowing_text if flow else page.text)
        except UserError as error:
            failed += 1
            typer.echo(f"error: {error}", err=True)
    if failed:
        typer.echo(f"{pages} pages read, {failed} of {len(images)} files could not be", err=True)
    return not failed
