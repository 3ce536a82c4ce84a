"""`manifold-ocr compress`: the compression report for any predictions; archives."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from manifold_ocr.errors import UserError

if TYPE_CHECKING:
    from manifold_ocr.config import CompressConfig

PARAMS = Path("params.yaml")
OUR_READINGS = Path("output/predictions")  # what they cost stands in metrics/perf.json


def vision_tokens_of(value: str) -> int | None:
    """Return the positions of a published mode (`tiny`, ...) or a number; empty gives None."""
    from manifold_ocr.compression.optical import modes

    if not value:
        return None
    if value in modes():
        return modes()[value].positions
    if value.isdigit():
        return int(value)
    raise UserError(f"--vision-tokens {value}: a number or one of {', '.join(modes())}")


def compress_config() -> "CompressConfig":
    """Return section `compress` of params.yaml, the defaults outside a project."""
    from manifold_ocr.config import CompressConfig
    from manifold_ocr.settings import load_section

    return load_section(CompressConfig, "compress") if PARAMS.is_file() else CompressConfig()


def check_predictions(
    predictions: list[Path],
    manifest: Path,
    others: list[Path],
    out: Path,
    tokens: int | None,
    costs: Path | None = None,
    baseline: str = "",
    text_key: str | None = None,
) -> dict[str, Any]:
    """Write the report of some prediction files on a manifest below `out`; print a summary.

    Returns what metrics.json holds.
    """
    from manifold_ocr.compression.check import run_check
    from manifold_ocr.compression.optical import Cost, costs_of_perf, read_costs, rows_per_page
    from manifold_ocr.compression.pages import read_replay
    from manifold_ocr.compression.report import metrics, summary, write_check
    from manifold_ocr.files import distinct_names, write_json
    from manifold_ocr.records import iter_manifest
    from manifold_ocr.resources import noted

    config = compress_config()
    names = distinct_names(predictions)
    read = {}
    for name, path in zip(names, predictions, strict=True):
        read[name], repeated = read_replay(path, tokens, text_key)
        if repeated:
            typer.echo(f"{path}: {repeated} rows repeat another; the last one counts", err=True)
    check = run_check(
        config,
        list(iter_manifest(manifest)),
        read,
        [sample for path in others for sample in iter_manifest(path)],
    )
    known = read_costs(costs) if costs else {}
    ours = costs_of_perf(noted(), rows_per_page(check.pages))  # of the files evaluate wrote
    for name, path in zip(names, predictions, strict=True):
        if path.parent == OUR_READINGS and ours[name] != Cost():
            known.setdefault(name, ours[name])
    write_check(check, out, known, baseline)
    values = metrics(check)
    write_json(out / "metrics.json", values)
    typer.echo(summary(check, out))
    if config.enforce and check.failed:
        raise typer.Exit(1)
    return values


def register_optical(app: typer.Typer) -> None:
    """Add the command."""

    @app.command(rich_help_panel="Read and evaluate")
    def optical(
        model: Annotated[Path, typer.Option(help="Checkpoint or adapter folder.")],
        manifest: Annotated[Path, typer.Option(help="The pages to read.")] = Path(
            "data/manifest/test.jsonl"
        ),
        image_root: Annotated[Path, typer.Option(help="Folder that image paths start from.")] = (
            Path("data/raw")
        ),
        out: Annotated[Path, typer.Option(help="Folder of predictions.jsonl and report/.")] = Path(
            "output/optical"
        ),
        vision_tokens: Annotated[
            str, typer.Option(help="Per row where a model has none: a number or tiny ... large.")
        ] = "",
    ) -> None:
        """Read pages with a checkpoint; report token accuracy, F1 and compression in one go."""
        from manifold_ocr.evaluation.engine_scores import import_or_read
        from manifold_ocr.records import read_samples, write_rows

        tokens = vision_tokens_of(vision_tokens)
        reading = import_or_read(tuple(read_samples(manifest)), image_root, model, None)
        for line in reading.notes:
            typer.echo(line, err=True)
        target = out / "predictions.jsonl"
        write_rows(target, reading.predictions)
        values = check_predictions([target], manifest, [], out / "report", tokens)
        typer.echo(read_line(values["predictions"]["overall"]))


def read_line(overall: Mapping[str, float]) -> str:
    """Return how well pages were read, and at what ratio, in one line; `-` where undefined."""

    def shown(key: str, form: str) -> str:
        return format(overall[key], form) if key in overall else "-"

    return (
        f"optical: {shown('pages', '.0f')} pages, token accuracy {shown('token_accuracy', '.2%')}, "
        f"token F1 {shown('token_f1', '.2%')} (precision {shown('token_precision', '.2%')}, recall "
        f"{shown('token_recall', '.2%')}), NED {shown('ned', '.2%')}, "
        f"{shown('optical_ratio', '.2f')} text tokens per vision token"
    )


def build_archive(source: Path, output: Path, effort: str) -> None:
    """Write an archive of the texts in a folder or manifest, and say how large it became."""
    from manifold_ocr.compression.archive import build, save
    from manifold_ocr.compression.pages import read_texts
    from manifold_ocr.compression.signatures import Codec
    from manifold_ocr.resources import progress

    if effort not in ("fast", "best"):
        raise UserError(f"--effort {effort}: fast or best")
    config = compress_config()
    texts = list(read_texts(source))
    if not texts:
        raise UserError(f"{source}: holds no text to archive; name a folder or a manifest")
    archive = build(
        progress(texts, "archiving", len(texts), "text"),
        Codec.of(config),
        keep="best" if effort == "best" else "fast",
    )
    size = save(output, archive)
    original = sum(len(data) for _, data in texts)
    typer.echo(
        f"{output}: {len(texts):,} texts, {original:,} bytes in {size:,} "
        f"({original / size:.2f}x), signatures and exact texts included"
    )


def register_compress(app: typer.Typer) -> None:
    """Add the command."""

    @app.command(rich_help_panel="Read and evaluate")
    def compress(
        predictions: Annotated[
            list[Path] | None,
            typer.Option(help="Prediction rows of any system (JSON Lines); may be repeated."),
        ] = None,
        text_key: Annotated[
            str | None, typer.Option(help="Key of the readings where a row has several texts.")
        ] = None,
        manifest: Annotated[Path, typer.Option(help="The manifest they answer.")] = Path(
            "data/manifest/test.jsonl"
        ),
        other: Annotated[
            list[Path] | None,
            typer.Option(help="Manifests of other splits: unseen pages and dictionaries."),
        ] = None,
        out: Annotated[
            Path | None,
            typer.Option(help="Folder of the report [default: output/compress_replay]."),
        ] = None,
        vision_tokens: Annotated[
            str, typer.Option(help="Per row where a file has none: a number or tiny ... large.")
        ] = "",
        costs: Annotated[
            Path | None,
            typer.Option(help="JSON: seconds_per_page, peak_memory_gib, joules_per_page a system."),
        ] = None,
        baseline: Annotated[
            str, typer.Option(help="System of relative efficiency 1; default: the first deepseek.")
        ] = "",
        build: Annotated[
            Path | None, typer.Option(help="Build an archive of this folder or manifest instead.")
        ] = None,
        output: Annotated[Path, typer.Option("--output", "-o", help="The archive.")] = Path(
            "manifold.bin"
        ),
        effort: Annotated[
            str, typer.Option(help="Of the archive: fast, or best (smaller).")
        ] = "fast",
    ) -> None:
        """Report compression of any predictions, or build an archive."""
        if build is not None:
            build_archive(build, output, effort)
        elif predictions:
            tokens = vision_tokens_of(vision_tokens)
            folder = out or Path("output/compress_replay")
            others = other or []
            check_predictions(
                predictions, manifest, others, folder, tokens, costs, baseline, text_key
            )
        else:
            raise UserError("give --predictions FILE or --build FOLDER")


def register_verify(app: typer.Typer) -> None:
    """Add the command."""

    @app.command(rich_help_panel="Read and evaluate")
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
            int, typer.Option(help="Quantization steps within which signatures match.")
        ] = 8,
        match_share: Annotated[
            float, typer.Option(help="Share of matching windows that makes a candidate.")
        ] = 0.3,
        max_ned: Annotated[
            float, typer.Option(help="Largest normalized edit distance of the same page.")
        ] = 0.2,
        as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    ) -> None:
        """Say which archived page a text matches; status 0 if one does, 1 if none does."""
        import dataclasses
        import json

        from manifold_ocr.compression.archive import load
        from manifold_ocr.compression.pages import read_text_file
        from manifold_ocr.compression.verify import Verifier, VerifierSettings

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
