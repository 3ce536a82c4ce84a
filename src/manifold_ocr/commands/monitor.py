"""`manifold-ocr monitor`: has the model got worse since an earlier run?"""

from pathlib import Path
from typing import Annotated

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
        from manifold_ocr.files import write_json
        from manifold_ocr.monitor import report as monitor_report
        from manifold_ocr.monitor.checks import MonitorConfig
        from manifold_ocr.monitor.drift import monitor as compare
        from manifold_ocr.monitor.runs import load_evaluation, past_revisions

        config = load_section(MonitorConfig, "monitor", params)
        if write_docs:
            changed = monitor_report.write_docs(document, config)
            typer.echo(f"{document}: {'thresholds written' if changed else 'already up to date'}")
            return
        names = [*past_revisions(history), *(baseline or ([] if history else ["HEAD"]))]
        runs = [(name, load_evaluation(name)) for name in [*names, current]]
        if len(runs) < 2:
            raise typer.BadParameter("no earlier run; name one with --baseline")
        verdict = compare(runs[-1][1], runs[-2][1], config)
        write_json(metrics, monitor_report.metrics(verdict))
        monitor_report.write_report(report, monitor_report.report(verdict, config, runs))
        judged = sum(check.p is not None for check in verdict.checks)
        typer.echo(
            f"monitor: {current} against {runs[-2][0]}: {judged} checks, "
            f"{len(verdict.alerts)} alerts; {report}"
        )
        for alert in verdict.alerts:
            typer.echo(f"ALERT {monitor_report.alert_line(alert)}", err=True)
        if said := monitor_report.post(verdict.alerts, config):
            typer.echo(said, err=True)
        raise typer.Exit(1 if verdict.alerts else 0)
