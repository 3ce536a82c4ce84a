"""`manifold-ocr summary` and `manifold-ocr gate`: what the last run found, in a terminal."""

from pathlib import Path
from typing import Annotated

import typer

EVALUATION = Path("metrics/evaluate.json")


def lines(evaluation: Path = EVALUATION) -> list[str]:
    """Return the table base against adapter, one line a subset, aligned for a terminal."""
    from manifold_ocr.board import groups
    from manifold_ocr.files import read_json
    from manifold_ocr.ranking import percent

    rows = [("subset", "rows", "base CER %", "adapter CER %", "difference, 95 % interval")]
    for name, base, adapter, difference in groups(read_json(evaluation)):
        change = percent(difference, "cer")
        verdict = ""
        if "cer_high" in difference:
            better, worse = difference["cer_high"] < 0, difference["cer_low"] > 0
            verdict = " better" if better else " worse" if worse else " no clear difference"
        rows.append(
            (
                name,
                f"{int(base.get('n', 0)):,}",
                f"{100 * base['cer']:.2f}",
                f"{100 * adapter['cer']:.2f}" if "cer" in adapter else "-",
                change + verdict,
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    text = [
        f"{row[0]:<{widths[0]}}  {row[1]:>{widths[1]}}  {row[2]:>{widths[2]}}  "
        f"{row[3]:>{widths[3]}}  {row[4]}"
        for row in rows
    ]
    return [text[0], "-" * max(map(len, text)), *text[1:]]


def register(app: typer.Typer) -> None:
    """Add both commands."""

    @app.command()
    def summary(
        evaluation: Annotated[Path, typer.Option(help="An evaluation file.")] = EVALUATION,
    ) -> None:
        """Show base against adapter on the test split, by subset, and the gate's verdict."""
        from manifold_ocr.config import load_section
        from manifold_ocr.files import read_json
        from manifold_ocr.gate import GateConfig, describe, judge

        typer.echo("\n".join(lines(evaluation)))
        config = load_section(GateConfig, "gate")
        typer.echo(describe(judge(read_json(evaluation), config), config))

    @app.command()
    def gate(
        evaluation: Annotated[Path, typer.Option(help="An evaluation file.")] = EVALUATION,
        params: Annotated[Path, typer.Option(help="Its section `gate` is used.")] = Path(
            "params.yaml"
        ),
    ) -> None:
        """Refuse (status 1) an adapter that loses more than gate.max_loss of CER in any group."""
        from manifold_ocr.config import load_section
        from manifold_ocr.files import read_json
        from manifold_ocr.gate import GateConfig, describe, judge

        config = load_section(GateConfig, "gate", params)
        verdicts = judge(read_json(evaluation), config)
        typer.echo(describe(verdicts, config))
        raise typer.Exit(0 if all(verdict.passed for verdict in verdicts) else 1)
