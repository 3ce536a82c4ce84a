"""`manifold-ocr train`: the train stage through DVC, a dry run before it, a self-check."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from manifold_ocr.models.base import RunSpec
    from manifold_ocr.records import Sample


TRAIN = Path("data/augmented/train.jsonl")


def read_settings() -> "RunSpec":
    """Return the train stage's settings from params.yaml, combinations and LoRA targets checked."""
    from manifold_ocr.config import LoraConfig, ModelConfig, TrainConfig, load_section
    from manifold_ocr.models.base import RunSpec
    from manifold_ocr.models.registry import base_path, family_of
    from manifold_ocr.training.checks import check_combinations, check_start, check_targets

    model = load_section(ModelConfig, "model")
    settings = RunSpec(
        model=model,
        lora=load_section(LoraConfig, "lora"),
        train=load_section(TrainConfig, "train"),
        base=base_path(model),
        image_root=Path("data/raw"),
    )
    check_combinations(settings)
    check_start(settings, Path("output/adapter"))
    check_targets(settings, family_of(settings.base))
    return settings


def training_rows(settings: "RunSpec", limit: int) -> "tuple[list[Sample], int]":
    """Return `limit` of the rows that a run would train on, and how many those are."""
    from manifold_ocr.models.registry import family_of, granularities
    from manifold_ocr.records import iter_manifest
    from manifold_ocr.training.run import chosen_by_hash, select

    sorts, config = granularities(family_of(settings.base)), settings.train
    rows = select(iter_manifest(TRAIN), config, sorts, config.max_train_samples)
    return chosen_by_hash(rows, config.seed, limit), len(rows)


def self_check(settings: "RunSpec", samples: "list[Sample]", steps: int) -> None:
    """Overfit the samples; exit with status 1 when they are not learned."""
    from manifold_ocr.models.family import family_for
    from manifold_ocr.models.registry import family_of
    from manifold_ocr.training.preflight import overfit

    family = family_for(family_of(settings.base), settings)
    result = overfit(family, samples, settings, steps, tell=typer.echo)
    typer.echo(
        f"overfit: {result.rows} rows, CER {result.before:.3f} -> {result.after:.3f} after "
        f"{result.steps} steps, loss {result.loss:.4f}"
    )
    if result.after > 0:
        typer.echo(
            "overfit: not learned by heart: look at the labels and images of these rows, then "
            "raise train.learning_rate, lora.rank or --steps"
        )
        raise typer.Exit(1)
    typer.echo("overfit: learned by heart; labels, images and learning rate work together")


def register_train(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def train(
        dry: Annotated[
            bool, typer.Option("--dry-run", help="Check labels, LoRA and memory; train nothing.")
        ] = False,
        overfit: Annotated[
            int, typer.Option(help="Instead: learn so many samples by heart, as a self-check.")
        ] = 0,
        samples: Annotated[int, typer.Option(help="Rows that a dry run looks at.")] = 1000,
        steps: Annotated[int, typer.Option(help="Most steps of the self-check.")] = 300,
        force: Annotated[bool, typer.Option(help="Run even where nothing changed.")] = False,
    ) -> None:
        """Fine-tune an adapter (dvc repro train), or check first what would happen."""
        if not dry and not overfit:
            from manifold_ocr.cli.pipeline import run_dvc

            run_dvc("repro", *(["--force"] if force else []), "train")
            return
        settings = read_settings()
        rows, total = training_rows(settings, overfit or samples)
        if overfit:
            self_check(settings, rows, steps)
            return
        from manifold_ocr.models.registry import family_of
        from manifold_ocr.training.preflight import dry_run

        for line in dry_run(settings, family_of(settings.base), rows, total):
            typer.echo(line)
