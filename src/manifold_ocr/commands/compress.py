"""`manifold-ocr compress`: the compression report for any predictions; archives; preset sweeps."""

from pathlib import Path
from typing import Annotated

import typer

from manifold_ocr.errors import UserError

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


def check_predictions(
    predictions: list[Path],
    manifest: Path,
    others: list[Path],
    out: Path,
    tokens: int | None,
    costs: Path | None = None,
    baseline: str = "",
) -> None:
    """Write the report of some prediction files on a manifest below `out`; print a summary."""
    from manifold_ocr.compression.check import run_check
    from manifold_ocr.compression.config import CompressConfig
    from manifold_ocr.compression.efficiency import costs_of_perf, read_costs, rows_per_page
    from manifold_ocr.compression.figures import metrics, summary
    from manifold_ocr.compression.output import write_check
    from manifold_ocr.compression.replay import read_replay
    from manifold_ocr.config import load_section
    from manifold_ocr.files import read_json, write_json
    from manifold_ocr.manifest.shards import iter_manifest
    from manifold_ocr.perf import PERF_FILE

    config = load_section(CompressConfig, "compress")
    names = [path.stem for path in predictions]
    if len(set(names)) < len(names):
        names = [f"{path.parent.name}/{path.stem}" for path in predictions]
    check = run_check(
        config,
        list(iter_manifest(manifest)),
        {name: read_replay(path, tokens) for name, path in zip(names, predictions, strict=True)},
        [sample for path in others for sample in iter_manifest(path)],
    )
    known = read_costs(costs) if costs else {}
    if PERF_FILE.is_file():  # what evaluate noted of the files it wrote
        noted = costs_of_perf(read_json(PERF_FILE), rows_per_page(check))
        for name, path in zip(names, predictions, strict=True):
            if path.parent == OUR_READINGS:
                known.setdefault(name, noted[name])
    write_check(check, out, known, baseline)
    write_json(out / "metrics.json", metrics(check))
    typer.echo(summary(check, out))
    if config.enforce and check.failed:
        raise typer.Exit(2)


def build_archive(source: Path, output: Path, effort: str) -> None:
    """Write an archive of the texts in a folder or manifest, and say how large it became."""
    from manifold_ocr.compression.config import CompressConfig
    from manifold_ocr.compression.folder import read_texts
    from manifold_ocr.compression.manifold import build
    from manifold_ocr.compression.manifold_file import save
    from manifold_ocr.config import load_section
    from manifold_ocr.progress import progress

    if effort not in ("fast", "best"):
        raise UserError(f"--effort {effort}: fast or best")
    config = CompressConfig()
    if Path("params.yaml").is_file():
        config = load_section(CompressConfig, "compress")
    texts = list(read_texts(source))
    archive = build(
        progress(texts, "archiving", len(texts), "text"),
        config.codec,
        keep="best" if effort == "best" else "fast",
    )
    size = save(output, archive)
    original = sum(len(data) for _, data in texts)
    typer.echo(
        f"{output}: {len(texts):,} texts, {original:,} bytes in {size:,} "
        f"({original / size:.2f}x), signatures and exact texts included"
    )


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def compress(
        predictions: Annotated[
            list[Path] | None,
            typer.Option(help="Prediction rows of any system (JSON Lines); may be repeated."),
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
            typer.Option(
                help="Folder of the report [default: output/compress_replay; with --presets: "
                "output/compress_sweep]."
            ),
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
            str, typer.Option(help="Of the archive: fast, or best (smaller, 15 kB/s).")
        ] = "fast",
        presets: Annotated[
            str, typer.Option(help="Presets to run as queued experiments: tiny,small,dense.")
        ] = "",
        start: Annotated[
            bool, typer.Option(help="With --presets: run the queue now and wait for it.")
        ] = False,
    ) -> None:
        """Report compression of any predictions, build an archive, or sweep presets."""
        if presets:
            from manifold_ocr.commands.sweep import sweep

            sweep(presets.split(","), out or Path("output/compress_sweep"), start)
        elif build is not None:
            build_archive(build, output, effort)
        elif predictions:
            tokens = vision_tokens_of(vision_tokens)
            folder = out or Path("output/compress_replay")
            check_predictions(predictions, manifest, other or [], folder, tokens, costs, baseline)
        else:
            raise UserError("give --predictions FILE, --build FOLDER or --presets tiny,small,dense")
