"""`manifold-ocr verify TEXT --against manifold.bin`: does a text match an archived page?"""

from pathlib import Path
from typing import Annotated, Any

import typer


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def verify(
        text: Annotated[Path, typer.Argument(help="A UTF-8 text file, for example OCR output.")],
        against: Annotated[Path, typer.Option(help="An archive made by `compress --build`.")],
        percentile: Annotated[
            float,
            typer.Option(
                help="Windows above this hazard percentile are not compared; 100: all are."
            ),
        ] = 100.0,
        tolerance: Annotated[
            int, typer.Option(help="Quantisation steps within which signatures match.")
        ] = 8,
        match_share: Annotated[
            float, typer.Option(help="Share of matching windows that makes a candidate.")
        ] = 0.3,
        max_ned: Annotated[
            float, typer.Option(help="Largest normalised edit distance of the same page.")
        ] = 0.2,
        as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    ) -> None:
        """Say which archived page a text matches; status 0 if one does, 1 if none does."""
        import dataclasses
        import json

        from manifold_ocr.compression.folder import read_text_file
        from manifold_ocr.compression.manifold_file import load
        from manifold_ocr.compression.verifier import Verifier, VerifierSettings

        settings = VerifierSettings(
            percentile=percentile, tolerance=tolerance, match_share=match_share, max_ned=max_ned
        )
        archive = load(against)
        data = read_text_file(text)
        found = Verifier(archive, settings).check(data)
        if as_json:
            typer.echo(json.dumps([dataclasses.asdict(item) for item in found], indent=2))
        else:
            typer.echo(verdict(found, len(archive.documents)))
        if len(data) < archive.config.window:
            typer.echo(
                f"note: the text is shorter than one window ({archive.config.window} bytes), so "
                "its signature only matches archived texts of about its own length",
                err=True,
            )
        raise typer.Exit(0 if any(item.accepted for item in found) else 1)


def verdict(found: list[Any], pages: int) -> str:
    """Return one line: the best accepted candidate, or that none of the archive's pages is it."""
    accepted = [item for item in found if item.accepted]
    if accepted:
        best = accepted[0]
        return (
            f"match: {best.id}: {best.matched} of {best.compared} windows, "
            f"text differs by {100 * (best.ned or 0):.2f} %"
        )
    nearest = f"; nearest by signatures: {found[0].id}" if found else ""
    return f"no match among {pages} archived pages{nearest}"
