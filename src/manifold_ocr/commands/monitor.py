"""`manifold-ocr monitor`: has the model got worse since an earlier run?"""

from pathlib import Path
from typing import Annotated, Any

import typer

DOCUMENT = Path("docs/optical_structural_compression.md")


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
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
        write_docs: Annotated[
            bool,
            typer.Option(
                "--write-docs", help="Only write the thresholds of params.yaml into the document."
            ),
        ] = False,
        document: Annotated[Path, typer.Option(help="Where --write-docs writes.")] = DOCUMENT,
    ) -> None:
        """Compare runs by corpus, subset and language; status 1 when something got worse."""
        from manifold_ocr.config import load_section
        from manifold_ocr.monitor.checks import MonitorConfig
        from manifold_ocr.monitor.report import write_docs as write_thresholds
        from manifold_ocr.monitor.runs import load_evaluation, past_revisions

        config = load_section(MonitorConfig, "monitor", params)
        if write_docs:
            changed = write_thresholds(document, config)
            typer.echo(f"{document}: {'thresholds written' if changed else 'already up to date'}")
            return
        names = [*past_revisions(history), *(baseline or ([] if history else ["HEAD"]))]
        runs = [(name, load_evaluation(name)) for name in [*names, current]]
        if len(runs) < 2:
            raise typer.BadParameter("no earlier run; name one with --baseline")
        if judge(runs, config, metrics, report):
            raise typer.Exit(1)


def judge(runs: list[tuple[str, Any]], config: Any, metrics: Path, report: Path) -> int:
    """Compare the last run with the one before, write and say what was found; return alerts."""
    from manifold_ocr.files import write_json
    from manifold_ocr.monitor import report as monitor_report
    from manifold_ocr.monitor.drift import monitor as compare

    (before, baseline), (name, current) = runs[-2:]
    verdict = compare(current, baseline, config)
    write_json(metrics, monitor_report.metrics(verdict))
    monitor_report.write_report(report, monitor_report.report(verdict, config, runs))
    judged = sum(check.p is not None for check in verdict.checks)
    found = f"{judged} checks, {len(verdict.alerts)} alerts"
    typer.echo(f"monitor: {name} against {before}: {found}; {report}")
    for alert in verdict.alerts:
        typer.echo(f"ALERT {monitor_report.alert_line(alert)}", err=True)
    if said := monitor_report.post(verdict.alerts, config):
        typer.echo(said, err=True)
    return len(verdict.alerts)
