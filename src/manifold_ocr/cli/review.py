"""Look at results: summary, gate, monitor, error explorer, limitations."""

from pathlib import Path
from typing import Annotated, Any

import typer

EVALUATION = Path("metrics/evaluate.json")


def register_monitor(app: typer.Typer) -> None:
    """Add the command."""

    @app.command(rich_help_panel="Read and evaluate")
    def monitor(
        current: Annotated[
            str, typer.Option(help="Evaluation to judge: a file or a git/DVC revision.")
        ] = "metrics/evaluate.json",
        baseline: Annotated[
            list[str] | None,
            typer.Option(
                help="Earlier runs, oldest first: files or revisions; the last one "
                "is compared with, all stand in the trend. Default: HEAD."
            ),
        ] = None,
        history: Annotated[
            int, typer.Option(help="Take the last N commits that changed the evaluation too.")
        ] = 0,
        params: Annotated[Path, typer.Option(help="Its section `monitor` is used.")] = Path(
            "params.yaml"
        ),
        metrics: Annotated[Path, typer.Option(help="Metrics file to write.")] = Path(
            "metrics/monitor.json"
        ),
        report: Annotated[Path, typer.Option(help="Markdown report to write.")] = Path(
            "output/monitor/report.md"
        ),
    ) -> None:
        """Compare runs by corpus, subset and language; status 1 when something got worse."""
        from manifold_ocr.config import MonitorConfig
        from manifold_ocr.evaluation.past_runs import load_evaluation, past_revisions
        from manifold_ocr.settings import load_section

        config = load_section(MonitorConfig, "monitor", params)
        names = [*past_revisions(history), *(baseline or ([] if history else ["HEAD"]))]
        runs = [(name, load_evaluation(name)) for name in [*names, current]]
        if len(runs) < 2:
            raise typer.BadParameter("no earlier run; name one with --baseline")
        if judge(runs, config, metrics, report):
            raise typer.Exit(1)


def judge(runs: list[tuple[str, Any]], config: Any, metrics: Path, report: Path) -> int:
    """Compare the last run with the one before, write and say what was found; return alerts."""
    from manifold_ocr.evaluation import monitor
    from manifold_ocr.files import atomic_write, write_json

    (before, baseline), (name, current) = runs[-2:]
    verdict = monitor.monitor(current, baseline, config)
    write_json(metrics, monitor.metrics(verdict))
    with atomic_write(report) as file:
        file.write(monitor.report(verdict, config, runs))
    judged = sum(check.found.p is not None for check in verdict.checks)
    found = f"{judged} checks, {len(verdict.alerts)} alerts"
    typer.echo(f"monitor: {name} against {before}: {found}; {report}")
    for alert in verdict.alerts:
        typer.echo(f"ALERT {alert.line()}", err=True)
    if said := monitor.post(verdict.alerts, config):
        typer.echo(said, err=True)
    return len(verdict.alerts)


EVALUATED = tuple(Path(f"output/predictions/{name}.jsonl") for name in ("base", "adapter"))


def register_explore(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("explore", rich_help_panel="Read and evaluate")
    def explore(
        predictions: Annotated[
            list[Path] | None,
            typer.Argument(
                help="Prediction files, the first is what others "
                "are compared with; default: base and adapter."
            ),
        ] = None,
        manifest: Annotated[Path, typer.Option(help="The rows that were read.")] = Path(
            "data/manifest/test.jsonl"
        ),
        image_root: Annotated[Path, typer.Option(help="Folder that image paths start from.")] = (
            Path("data/raw")
        ),
        out: Annotated[Path, typer.Option(help="HTML file to write.")] = Path(
            "output/explorer.html"
        ),
        title: Annotated[str, typer.Option(help="Title of the page.")] = "Error explorer",
        max_rows: Annotated[
            int, typer.Option(min=1, help="Keep the rows with the largest loss.")
        ] = 10_000,
        max_megabytes: Annotated[
            float, typer.Option(min=0.0, help="Of all images together.")
        ] = 80.0,
        quality: Annotated[int, typer.Option(min=20, max=95, help="Of the JPEG images.")] = 60,
        profile: Annotated[str, typer.Option(help="Normalization profile.")] = "nfc_ws",
        text_key: Annotated[
            str | None, typer.Option(help="Key of the readings where a row has several texts.")
        ] = None,
    ) -> None:
        """Write a self-contained page: images, differences, filters, confusions."""
        from manifold_ocr.errors import UserError
        from manifold_ocr.evaluation.explorer.build import ExplorerConfig, describe, write_explorer
        from manifold_ocr.metrics import normalize

        try:
            normalize.describe(profile)
        except ValueError as error:
            raise UserError(f"--profile: {error}") from error
        paths = predictions or [path for path in EVALUATED if path.is_file()]
        if not paths:
            raise UserError("no prediction file; name one, or run `dvc repro evaluate` first")
        config = ExplorerConfig(
            title=title,
            max_rows=max_rows,
            max_megabytes=max_megabytes,
            quality=quality,
            profile=profile,
        )
        samples, systems = joined_systems(paths, manifest, profile, text_key)
        typer.echo(describe(write_explorer(out, samples, systems, image_root, config), out))


def joined_systems(
    paths: list[Path], manifest: Path, profile: str, text_key: str | None = None
) -> tuple[Any, list[Any]]:
    """Return the rows that were read and each file's readings of them; say what did not fit."""
    from manifold_ocr.evaluation.explorer.build import build_system
    from manifold_ocr.evaluation.limitations import of_granularities_read
    from manifold_ocr.evaluation.report import load_manifest
    from manifold_ocr.files import distinct_names
    from manifold_ocr.reading.engines.predictions import import_predictions

    paths = list(dict.fromkeys(paths))
    samples = load_manifest(manifest).samples
    joined = {path: import_predictions(path, samples, text_key).joined for path in paths}
    read = [row for found in joined.values() for row in found.found.values()]
    samples = tuple(of_granularities_read(samples, read))
    systems = []
    for name, (path, found) in zip(distinct_names(paths), joined.items(), strict=True):
        missing = sum(sample.id not in found.found for sample in samples)
        if missing or found.unmatched or found.ambiguous:
            typer.echo(
                f"{path}: {found.matched:,} rows joined, {found.unmatched:,} fit no row, "
                f"{found.ambiguous:,} fit several; {missing:,} rows without a prediction",
                err=True,
            )
        systems.append(build_system(name, samples, found.found.values(), profile))
    return samples, systems


def register_limitations(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("limitations", rich_help_panel="Publish")
    def limitations(
        system: Annotated[str, typer.Option(help="adapter or base.")] = "adapter",
        evaluation: Annotated[Path, typer.Option(help="The evaluation.")] = Path(
            "metrics/evaluate.json"
        ),
        predictions: Annotated[
            Path | None, typer.Option(help="Default: output/predictions/SYSTEM.jsonl.")
        ] = None,
        text_key: Annotated[
            str | None, typer.Option(help="Key of the readings where a row has several texts.")
        ] = None,
        manifest: Annotated[Path, typer.Option(help="The rows that were read.")] = Path(
            "data/manifest/test.jsonl"
        ),
        image_root: Annotated[Path, typer.Option(help="Folder that image paths start from.")] = (
            Path("data/raw")
        ),
        document: Annotated[Path, typer.Option(help="Report to write.")] = Path(
            "docs/whitepaper/limitations.md"
        ),
        private: Annotated[Path, typer.Option(help="Where images of real documents go.")] = Path(
            "output/limitations"
        ),
    ) -> None:
        """Report the worst groups, confusions and failures; real images stay under output/."""
        from manifold_ocr.evaluation.engine_scores import evaluate_config
        from manifold_ocr.evaluation.limitations import find, of_granularities_read, write
        from manifold_ocr.evaluation.report import load_manifest
        from manifold_ocr.files import read_json
        from manifold_ocr.reading.engines.predictions import import_predictions

        path = predictions or Path("output/predictions") / f"{system}.jsonl"
        samples = load_manifest(manifest).samples
        read = list(import_predictions(path, samples, text_key).joined.found.values())
        rows = of_granularities_read(samples, read)
        config = evaluate_config(Path("params.yaml"))
        found = find(read_json(evaluation), system, rows, read, config)
        own, kept = write(found, image_root, document, private)
        typer.echo(f"{document}: {own} images published, {kept} kept in {private}")


def lines(evaluation: Path = EVALUATION) -> list[str]:
    """Return the table base against adapter, a line per subset, aligned for a terminal.

    `base+gap` is the base with spaces at wide gaps of its frames; the two columns without
    spaces leave them out of both texts: characters alone.
    """
    from manifold_ocr.evaluation.markdown import interval
    from manifold_ocr.files import read_json
    from manifold_ocr.publish.leaderboard import groups

    found = read_json(evaluation)
    gap = dict(_groups_of(found.get("base+gap", {})))
    rows: list[tuple[str, ...]] = [
        ("subset", "rows", "base", "base+gap", "adapter", "no spaces: base", "adapter",
         "adapter less base, 95 % interval")
    ]  # fmt: skip
    for name, base, adapter, difference in groups(found):
        verdict = ""
        if "cer_high" in difference:
            better, worse = difference["cer_high"] < 0, difference["cer_low"] > 0
            verdict = " better" if better else " worse" if worse else " no clear difference"
        shown = [(base, "cer"), (gap.get(name, {}), "cer"), (adapter, "cer")]
        shown += [(base, "cer_without_spaces"), (adapter, "cer_without_spaces")]
        figures = [f"{100 * part[key]:.2f}" if key in part else "-" for part, key in shown]
        counted = f"{int(base.get('n', 0)):,}"
        rows.append((name, counted, *figures, interval(difference, "cer") + verdict))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    text = [
        "  ".join(
            cell.ljust(width) if place in (0, len(row) - 1) else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    return [
        "CER in percent; without spaces they are left out of both texts",
        text[0],
        "-" * max(map(len, text)),
        *text[1:],
    ]


def _groups_of(part: dict[str, Any]) -> list[tuple[str, dict[str, float]]]:
    return [("overall", part.get("overall", {})), *part.get("by_subset", {}).items()]


def trained_on() -> str:
    """Return a line that says what kind of CPU trained the adapter; empty for a GPU or none."""
    from manifold_ocr.resources import noted

    bits = noted().get("train_loop", {}).get("cpu_vector_bits")
    if bits is None:
        return ""
    return (
        f"trained on a CPU with {bits:.0f}-bit vectors; another kind of CPU gives slightly other "
        "figures (docs/training.md)"
    )


def register_summary(app: typer.Typer) -> None:
    """Add both commands."""

    @app.command(rich_help_panel="Read and evaluate")
    def summary(
        evaluation: Annotated[Path, typer.Option(help="An evaluation file.")] = EVALUATION,
    ) -> None:
        """Show base against adapter on the test split, by subset, and the gate's verdict."""
        from manifold_ocr.config import GateConfig, MonitorConfig
        from manifold_ocr.evaluation.gate import describe, judge
        from manifold_ocr.files import read_json
        from manifold_ocr.settings import load_section

        typer.echo("\n".join(lines(evaluation)))
        if kind := trained_on():
            typer.echo(kind)
        found = judge(read_json(evaluation), load_section(MonitorConfig, "monitor"))
        typer.echo(describe(found, load_section(GateConfig, "gate")))

    @app.command(rich_help_panel="Publish")
    def gate(
        evaluation: Annotated[Path, typer.Option(help="An evaluation file.")] = EVALUATION,
        params: Annotated[
            Path, typer.Option(help="Its sections `gate` and `monitor` are used.")
        ] = Path("params.yaml"),
    ) -> None:
        """Refuse (status 1) an adapter that loses more than gate.max_loss of CER in any group."""
        from manifold_ocr.config import GateConfig, MonitorConfig
        from manifold_ocr.evaluation.gate import describe, judge, refused
        from manifold_ocr.files import read_json
        from manifold_ocr.settings import load_section

        config = load_section(GateConfig, "gate", params)
        found = judge(read_json(evaluation), load_section(MonitorConfig, "monitor", params))
        typer.echo(describe(found, config))
        raise typer.Exit(1 if refused(found, config) else 0)
