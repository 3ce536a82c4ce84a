"""Scores: eval (models, engines, prediction files), robustness, curves over past runs."""

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import typer

Rows = Annotated[
    Path, typer.Option(help="Rows: JSON Lines (ours or the older form), OmniDocBench.json.")
]
ImageRoot = Annotated[Path, typer.Option(help="Folder that image paths start from.")]
Model = Annotated[
    Path | None,
    typer.Option(help="Checkpoint or adapter folder; default: the base of params.yaml."),
]
Predictions = Annotated[
    Path | None, typer.Option(help="Score this file, or folder of Markdown, instead of reading.")
]
TextKey = Annotated[
    str | None, typer.Option(help="Key of the readings where a row has several texts.")
]
Engine = Annotated[
    str,
    typer.Option(
        help="Score for the leaderboard (metrics/engines): tesseract, rapidocr, "
        "faster-paddle, openai, checkpoint or predictions."
    ),
]
Report = Annotated[
    Path | None, typer.Option(help="Folder of the report [default: output/eval]; an engine's file.")
]


def register_eval(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("eval", rich_help_panel="Read and evaluate")
    def evaluate(
        manifest: Rows = Path("data/manifest/test.jsonl"),
        image_root: ImageRoot = Path("data/raw"),
        model: Model = None,
        predictions: Predictions = None,
        text_key: TextKey = None,
        engine: Engine = "",
        label: Annotated[str, typer.Option(help="Name on the leaderboard.")] = "",
        out: Report = None,
        granularity: Annotated[str, typer.Option(help="Keep `line` or `page` rows only.")] = "",
        documents: Annotated[
            int, typer.Option(min=0, help="Read so many documents only; 0: all.")
        ] = 0,
        languages: Annotated[str, typer.Option(help="Of Tesseract, e.g. eng+chi_sim.")] = "eng",
        threads: Annotated[int, typer.Option(help="Of an engine; 0: all cores.")] = 0,
        url: Annotated[
            str, typer.Option(help="Of a server (openai), such as http://localhost:8000/v1.")
        ] = "",
        served: Annotated[
            str, typer.Option(help="Model of the server [its first], or faster-paddle's size.")
        ] = "",
        prompt: Annotated[str, typer.Option(help="What a server is asked about an image.")] = "",
        license: Annotated[str, typer.Option(help="Of an engine's weights.")] = "",
        parameters: Annotated[int, typer.Option(help="Of an engine's model; 0: not stated.")] = 0,
        cost_usd: Annotated[
            float, typer.Option(help="Of an engine per 1,000 rows; 0: not stated.")
        ] = 0.0,
        contaminated: Annotated[
            str, typer.Option(help="Why an engine's training data may hold these pages.")
        ] = "",
        metrics: Annotated[Path, typer.Option(help="Folder of an engine's scores.")] = Path(
            "metrics/engines"
        ),
        params: Annotated[Path, typer.Option(help="Its section `evaluate` is used.")] = Path(
            "params.yaml"
        ),
    ) -> None:
        """Score a model, an engine or a file of predictions on any manifest."""
        from manifold_ocr.evaluation.engine_scores import evaluate_config, some_documents
        from manifold_ocr.evaluation.report import load_manifest

        config = evaluate_config(params)
        loaded = load_manifest(manifest, granularity)
        samples = some_documents(loaded.samples, documents, config.seed)
        loaded = dataclasses.replace(loaded, samples=samples)
        if engine:
            options: dict[str, Any] = {"languages": languages, "model": model, "threads": threads}
            options |= {"url": url, "served": served, "prompt": prompt}
            reading = reading_of(engine, samples, image_root, predictions, options, text_key)
            name = label or (reading.name if engine == "predictions" else engine)
            shown = label or reading.name
            stated = {"license": license, "parameters": parameters, "cost_usd": cost_usd}
            stated |= {"contaminated": contaminated}
            score_engine(name, shown, loaded, reading, config, out, metrics, stated)
        else:
            report_on(loaded, manifest, image_root, model, predictions, config, out, text_key)


def report_on(
    loaded: Any,
    manifest: Path,
    image_root: Path,
    model: Path | None,
    predictions: Path | None,
    config: Any,
    out: Path | None,
    text_key: str | None = None,
) -> None:
    """Write report.json, report.md and predictions.jsonl of a model or of a predictions file."""
    from manifold_ocr.evaluation.engine_scores import import_or_read
    from manifold_ocr.evaluation.report import evaluate_predictions, write_eval

    out = out or Path("output/eval")
    reading = import_or_read(loaded.samples, image_root, model, predictions, text_key)
    report = evaluate_predictions(
        reading.name, loaded, manifest.name, reading.predictions, config, reading.failures
    )
    write_eval(out, report, reading.predictions)
    for line in reading.notes:
        typer.echo(line, err=True)
    typer.echo(report.headline())
    typer.echo(f"{out}/report.md")


def score_engine(
    name: str,
    shown: str,
    loaded: Any,
    reading: Any,
    config: Any,
    out: Path | None,
    metrics: Path,
    stated: dict[str, Any],
) -> None:
    """Write an engine's predictions and the metrics file that the leaderboard reads."""
    from manifold_ocr.evaluation.engine_scores import claim, scores_of, slug, with_about
    from manifold_ocr.files import write_json
    from manifold_ocr.records import write_rows

    key = slug(name)
    claim(metrics / f"{key}.json", shown)
    target = out or Path("output/engines") / f"{key}.jsonl"
    write_rows(target, reading.predictions)
    values = scores_of(shown, loaded, loaded.samples, reading, config)
    kinds = {sample.granularity for sample in loaded.samples}
    values = with_about(values, metrics / f"{key}.json", stated, kinds)
    write_json(metrics / f"{key}.json", values)
    for line in reading.notes:
        typer.echo(line, err=True)
    overall = values["overall"]
    typer.echo(
        f"{shown}: {len(loaded.samples):,} rows, CER {overall['cer']:.2%}, "
        f"insertion rate {overall['insertion_rate']:.2%}; {target}, {metrics / key}.json"
    )


def reading_of(
    name: str,
    samples: Any,
    image_root: Path,
    predictions: Path | None,
    options: dict[str, Any],
    text_key: str | None = None,
) -> Any:
    """Return what the engine reads, or what was read already and is in `predictions`."""
    from manifold_ocr.errors import UserError
    from manifold_ocr.evaluation.engine_scores import import_file, read_samples_with
    from manifold_ocr.reading.engines.base import EngineOptions

    if (name == "predictions") != (predictions is not None):
        raise UserError("--engine predictions needs --predictions, and only it takes one")
    if predictions is not None:
        return import_file(predictions, samples, text_key)
    return read_samples_with(name, samples, image_root, EngineOptions(**options))


TRAINED_ROWS = "metrics/train/metrics.json:rows.kept"
ERRORS = [f"metrics/evaluate.json:{system}.overall.cer" for system in ("adapter", "base")]


def register_robustness(app: typer.Typer) -> None:
    """Add both commands."""
    _register_robustness(app)
    _register_curve(app)


def _register_robustness(app: typer.Typer) -> None:
    @app.command("robustness", rich_help_panel="Read and evaluate")
    def robustness(
        model: Annotated[
            list[Path] | None,
            typer.Option(
                help="Checkpoint or adapter folders; default: output/adapter where it exists."
            ),
        ] = None,
        base: Annotated[bool, typer.Option(help="Read with the base model too.")] = True,
        sweep: Annotated[
            list[str] | None,
            typer.Option(help="blur, noise, rotation, jpeg, downscale; default: all."),
        ] = None,
        lines: Annotated[int, typer.Option(min=1, help="Test lines to damage.")] = 200,
        manifest: Annotated[Path, typer.Option(help="Rows to sample from.")] = Path(
            "data/manifest/test.jsonl"
        ),
        image_root: Annotated[Path, typer.Option(help="Folder that image paths start from.")] = (
            Path("data/raw")
        ),
        out: Annotated[Path, typer.Option(help="Folder of the CSV files.")] = Path(
            "metrics/robustness"
        ),
        metrics: Annotated[Path, typer.Option(help="Metrics file to write.")] = Path(
            "metrics/robustness.json"
        ),
        params: Annotated[Path, typer.Option(help="Its section `evaluate` is used.")] = Path(
            "params.yaml"
        ),
    ) -> None:
        """Damage test lines step by step and read them again."""
        from manifold_ocr.errors import UserError
        from manifold_ocr.evaluation.engine_scores import evaluate_config
        from manifold_ocr.evaluation.report import load_manifest
        from manifold_ocr.evaluation.robustness import (
            SWEEPS,
            as_metrics,
            pick,
            sweep_all,
            write_curves,
        )
        from manifold_ocr.files import write_json

        names = sweep or list(SWEEPS)
        if unknown := [name for name in names if name not in SWEEPS]:
            raise UserError(f"no sweep {unknown[0]!r}; there are {', '.join(SWEEPS)}")
        systems = systems_to_read_with(model, base)
        config = evaluate_config(params)
        samples = pick(load_manifest(manifest, "line").samples, lines, config.seed)
        curves = sweep_all(systems, samples, image_root, names, config)
        write_curves(curves, out)
        write_json(metrics, as_metrics(curves))
        for name, per_system in curves.items():
            for system, rows in per_system.items():
                steps = ", ".join(f"{int(row['level'])}: {100 * row['cer']:.1f}" for row in rows)
                typer.echo(f"{name} ({SWEEPS[name].unit}), {system}, CER %: {steps}")
        typer.echo(f"{out}, {metrics}")


def systems_to_read_with(model: list[Path] | None, base: bool) -> dict[str, Any]:
    """Return the models to damage lines for, by name.

    Raises:
        UserError: there is none.
    """
    from manifold_ocr.errors import UserError
    from manifold_ocr.reading.engines.checkpoint import load_checkpoint, reader_model

    adapter = Path("output/adapter")
    folders = model or ([adapter] if adapter.is_dir() else [])
    systems: dict[str, Any] = {"base": reader_model(None)} if base else {}
    systems |= {folder.name: load_checkpoint(folder) for folder in folders}
    if not systems:
        raise UserError("no model to read with: name one with --model, or leave --no-base out")
    return systems


def _register_curve(app: typer.Typer) -> None:
    @app.command("curve", rich_help_panel="Read and evaluate")
    def curve(
        runs: Annotated[
            list[str] | None, typer.Argument(help="Commits, branches, DVC experiments.")
        ] = None,
        x: Annotated[str, typer.Option(help="FILE:key.key of the horizontal axis.")] = TRAINED_ROWS,
        y: Annotated[
            list[str] | None,
            typer.Option(
                help="FILE:key.key of the vertical axis, one series each; _low and _high are "
                "taken along where they exist. Default: CER of adapter and base."
            ),
        ] = None,
        out: Annotated[Path, typer.Option(help="CSV file to write.")] = Path(
            "metrics/curves/learning.csv"
        ),
        documents: Annotated[
            str,
            typer.Option(
                help="Train on so many documents of the manifest instead, such as 10,20,50,100: "
                "how many to label."
            ),
        ] = "",
    ) -> None:
        """Draw a learning curve: of past runs, or of trainings on more and more documents."""
        from manifold_ocr.errors import UserError

        if bool(runs) == bool(documents):
            raise UserError("name past runs, or numbers with --documents: one of the two")
        if documents:
            _train_curve(documents, out)
            return
        from manifold_ocr.evaluation.past_runs import curve_rows, write_curve

        rows = curve_rows(runs or [], x, y or ERRORS)
        write_curve(out, rows)
        for row in rows:
            typer.echo(f"{row['series']}, {row['run']}: {row['x']:g} -> {row['y']:.4g}")
        typer.echo(f"{out}: {len(runs or [])} runs")


def _train_curve(documents: str, out: Path) -> None:
    from manifold_ocr.config import EvaluateConfig
    from manifold_ocr.errors import UserError
    from manifold_ocr.evaluation.label_curve import (
        advice,
        checked_sizes,
        forecast,
        label_curve,
        table,
    )
    from manifold_ocr.evaluation.past_runs import write_curve
    from manifold_ocr.models.registry import family_of, granularities
    from manifold_ocr.records import iter_manifest
    from manifold_ocr.settings import load_section
    from manifold_ocr.stages.evaluate import TEST
    from manifold_ocr.stages.train import TRAIN, VAL, run_settings

    numbers = [part.strip() for part in documents.split(",")]
    if not all(number.isdecimal() for number in numbers):
        raise UserError(f"--documents {documents}: give whole numbers, such as 10,20,50")
    settings, config, points = run_settings(), load_section(EvaluateConfig, "evaluate"), []
    kinds = granularities(family_of(settings.base))
    paths = {"train": TRAIN, "val": VAL, "test": TEST}
    rows = {
        name: [row for row in iter_manifest(path) if row.granularity in kinds]
        for name, path in paths.items()
    }
    sizes = checked_sizes([int(number) for number in numbers], rows["train"])
    for point in label_curve(sizes, settings, rows, config, Path("output/label_curve")):
        points.append(point)
        typer.echo(str(point))
    write_curve(out, table(points))
    typer.echo(advice(points, forecast(points, config)))
    typer.echo(f"{out}: {len(points)} points; `dvc plots show` draws them")
