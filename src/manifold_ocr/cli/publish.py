"""What others see: submissions to the leaderboard, and the report of a pull request."""

from pathlib import Path
from typing import Annotated, Any

import typer

SUBMISSIONS = Path("docs/leaderboard/submissions")
TEST = Path("data/manifest/test.jsonl")


def register_submit(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("submit", rich_help_panel="Publish")
    def submit(
        predictions: Annotated[
            Path | None, typer.Argument(help="What the system read: a file or folder, as for eval.")
        ] = None,
        name: Annotated[str, typer.Option(help="Of the system, on the leaderboard.")] = "",
        text_key: Annotated[
            str | None, typer.Option(help="Key of the readings where a row has several texts.")
        ] = None,
        check: Annotated[
            bool, typer.Option("--check", help="Only check and rescore the submissions there are.")
        ] = False,
        manifest: Annotated[Path, typer.Option(help="The test rows.")] = TEST,
        granularity: Annotated[str, typer.Option(help="line or page rows were read.")] = "line",
        folder: Annotated[Path, typer.Option(help="Where submissions are.")] = SUBMISSIONS,
        url: Annotated[str, typer.Option(help="https address of the system.")] = "",
        license: Annotated[str, typer.Option(help="License of its weights.")] = "",
        hardware: Annotated[str, typer.Option(help="What it ran on.")] = "",
        parameters: Annotated[int, typer.Option(help="Of the model; 0: not stated.")] = 0,
        seconds: Annotated[float, typer.Option(help="Per row; 0: not stated.")] = 0.0,
        memory_gib: Annotated[float, typer.Option(help="At the peak; 0: not stated.")] = 0.0,
        cost_usd: Annotated[float, typer.Option(help="Per 1,000 rows; 0: not stated.")] = 0.0,
        contaminated: Annotated[
            str, typer.Option(help="Why its training data may hold these pages; empty: clean.")
        ] = "",
        params: Annotated[Path, typer.Option(help="Its section `evaluate` is used.")] = Path(
            "params.yaml"
        ),
    ) -> None:
        """Score predictions of the test split for the leaderboard, or check submissions."""
        from manifold_ocr.errors import UserError
        from manifold_ocr.evaluation.engine_scores import evaluate_config
        from manifold_ocr.publish.ranking import About

        config = evaluate_config(params)
        if check:
            check_all(folder, manifest, config)
            return
        if predictions is None or not name:
            raise UserError("give the predictions and --name, or --check")
        about = About(
            url=url,
            license=license,
            hardware=hardware,
            parameters=parameters or None,
            seconds=seconds or None,
            memory_gib=memory_gib or None,
            cost_usd=cost_usd or None,
            contaminated=contaminated,
        )
        prepare_one(folder, name, predictions, manifest, granularity, config, about, text_key)


def prepare_one(
    folder: Path,
    name: str,
    predictions: Path,
    manifest: Path,
    granularity: str,
    config: Any,
    about: Any,
    text_key: str | None = None,
) -> None:
    """Join the predictions to the test rows, write the submission, and check it at once."""
    from manifold_ocr.evaluation.engine_scores import import_file
    from manifold_ocr.evaluation.report import load_manifest
    from manifold_ocr.publish.submissions import check, prepare

    loaded = load_manifest(manifest, granularity)
    samples = [sample for sample in loaded.samples if sample.task == "transcribe"]
    reading = import_file(predictions, samples, text_key)
    for line in reading.notes:
        typer.echo(line, err=True)
    path = prepare(folder, name, samples, reading.predictions, loaded.sha256, config, about)
    entry = check(path, manifest, config).entries[0]
    typer.echo(
        f"{path}: {entry.rows:,} {granularity}s, CER {entry.cer:.2%}; commit it with "
        f"{path.with_suffix('.jsonl').name} in a pull request"
    )


def check_all(folder: Path, manifest: Path, config: Any) -> None:
    """Check and rescore every submission; all must be of the present test rows.

    Raises:
        UserError: the first that is refused.
    """
    from manifold_ocr.errors import UserError
    from manifold_ocr.publish.submissions import check_folder

    if not manifest.exists():
        raise UserError(f"{manifest}: no test rows to score with; run `dvc repro manifest`")
    found = check_folder(folder, manifest, config, {})
    for item in found:
        if not item.rescored:
            raise UserError(
                f"{item.path}: manifest_sha256 is not that of {manifest}; it was made for other "
                "test rows"
            )
        typer.echo(
            f"{item.path}: {item.entries[0].name}, scored again, CER {item.entries[0].cer:.2%}"
        )
    typer.echo(f"{len(found)} submissions are fine")


def register_pr_report(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("pr-report", rich_help_panel="Publish")
    def pr_report(
        base: Annotated[str, typer.Option(help="Branch or commit to compare with.")],
        out: Annotated[Path, typer.Option(help="Folder of comment.md and its plots.")] = Path(
            "output/pr-report"
        ),
        manifest: Annotated[
            Path, typer.Option(help="Test rows; without them submissions are not scored again.")
        ] = TEST,
    ) -> None:
        """Say what a branch changes: scores in pairs, params, gates, reruns; status 1: refused.

        Reads git, dvc.lock and metrics/ only: no data, no GPU.
        """
        from manifold_ocr.publish.pull_request import write_report

        report, comment = write_report(base, manifest if manifest.exists() else None, out)
        typer.echo(comment)
        typer.echo(f"{out}/comment.md", err=True)
        if report.failed:
            raise typer.Exit(1)
