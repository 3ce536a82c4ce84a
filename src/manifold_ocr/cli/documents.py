"""`manifold-ocr label`: from a folder of scans to labeled lines for training."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer


def register_label(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("label", rich_help_panel="Your documents")
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
        export: Annotated[
            str | None, typer.Option(help="Write OUT as page (PAGE-XML) or alto beside it.")
        ] = None,
        mode: Annotated[str, typer.Option(help="auto, line or page.")] = "auto",
        model: Annotated[
            Path | None,
            typer.Option(
                help="Checkpoint or adapter folder; default: the base model of params.yaml."
            ),
        ] = None,
        threads: Annotated[int, typer.Option(min=0, help="Cores to read on; 0: all.")] = 0,
    ) -> None:
        """Read a folder's lines for correction; the result is a `folder` corpus."""
        from manifold_ocr.reading.detect import DetectionConfig, LazyDetector
        from manifold_ocr.reading.engines.checkpoint import reader_model
        from manifold_ocr.reading.label.corrections import (
            apply_corrections,
            export_folder,
            export_labels,
        )
        from manifold_ocr.reading.label.folder import label_folder
        from manifold_ocr.reading.page import PageReader

        if mode not in ("auto", "line", "page"):
            raise typer.BadParameter(f"--mode is auto, line or page, not {mode!r}")
        target = out or folder.resolve().parent / f"{folder.resolve().name}-lines"
        if apply is not None:
            changed, removed = apply_corrections(target, apply)
            typer.echo(f"{target}: {changed} lines changed, {removed} lines dropped")
        if export is not None:
            count = export_labels(folder, target, export)
            typer.echo(f"{export_folder(target, export)}: {count} pages")
        if apply is not None or export is not None:
            return
        detector = LazyDetector(DetectionConfig(threads=threads))
        reader = PageReader(detector, reader_model(model, threads=threads))
        done = label_folder(reader, folder, target, mode)  # type: ignore[arg-type]
        say_what_is_next(folder, target, done)
        raise typer.Exit(2 if done.failed else 0)


def say_what_is_next(folder: Path, target: Path, done: Any) -> None:
    """Write the page of the labels that were made; print their number and the next steps."""
    from manifold_ocr.reading.label.folder import DOCUMENT_PATTERN, write_page

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


def register_read(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("read", rich_help_panel="Your documents")
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
                help="Checkpoint or adapter folder; default: external/checkpoints/default, "
                "else the base model of params.yaml."
            ),
        ] = None,
        dpi: Annotated[int, typer.Option(min=36, max=1200, help="At which PDFs are rendered.")] = (
            200
        ),
        pages: Annotated[str, typer.Option(help="Pages of each file, e.g. 1-3,7,10-.")] = "",
        password: Annotated[str | None, typer.Option(help="Of the PDFs.")] = None,
        text_layer: Annotated[
            str, typer.Option(help="ignore: read a PDF's pixels; prefer: take its own text.")
        ] = "ignore",
        threads: Annotated[int, typer.Option(min=0, help="Cores to read on; 0: all.")] = 0,
    ) -> None:
        """Print the text of images and PDFs; status 2 if any of them could not be read."""
        from manifold_ocr.errors import UserError
        from manifold_ocr.reading.detect import DetectionConfig, LazyDetector
        from manifold_ocr.reading.engines.checkpoint import reader_model
        from manifold_ocr.reading.page import PageReader, ReadOptions, parse_pages

        if mode not in ("auto", "line", "page"):
            raise typer.BadParameter(f"--mode is auto, line or page, not {mode!r}")
        if text_layer not in ("ignore", "prefer"):
            raise typer.BadParameter(f"--text-layer is ignore or prefer, not {text_layer!r}")
        options = ReadOptions(
            mode=mode,  # type: ignore[arg-type]
            dpi=dpi,
            password=password,
            pages=parse_pages(pages) if pages else (),
            text_layer=text_layer,  # type: ignore[arg-type]
        )
        if not any(path.exists() for path in images):  # said before a model is loaded
            raise UserError(f"{images[0]}: no such file")
        detector = LazyDetector(DetectionConfig(threads=threads))
        reader = PageReader(detector, reader_model(model, threads=threads))
        if not print_texts(images, reader, options, json_lines=json_lines, flow=flow):
            raise typer.Exit(2)


def print_texts(
    images: list[Path], reader: Any, options: Any, *, json_lines: bool, flow: bool
) -> bool:
    """Print the text of each page as it is read; return whether every file could be."""
    from manifold_ocr.errors import UserError
    from manifold_ocr.reading.page import read_document

    def note(text: str) -> None:
        typer.echo(f"note: {text}", err=True)

    pages, failed = 0, 0
    for path in images:
        try:
            for label, page in read_document(reader, path, options, note):
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
        typer.echo(
            f"{pages} pages read, {failed} of {len(images)} files could not be read whole", err=True
        )
    return not failed
