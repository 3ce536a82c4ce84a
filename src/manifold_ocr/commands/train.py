"""`manifold-ocr train`: the train stage through DVC, a dry run before it, a self-check."""

from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from manifold_ocr.records import Sample
    from manifold_ocr.training.settings import TrainingSettings

TRAIN = Path("data/augmented/train.jsonl")


def read_settings() -> "TrainingSettings":
    """Return the train stage's settings from params.yaml, combinations and LoRA targets checked."""
    from manifold_ocr.config import load_section
    from manifold_ocr.models.config import LoraSettings, ModelConfig
    from manifold_ocr.models.registry import base_path, family_of
    from manifold_ocr.training.combinations import check_combinations
    from manifold_ocr.training.config import TrainConfig
    from manifold_ocr.training.module_tree import check_targets
    from manifold_ocr.training.settings import TrainingSettings

    model = load_section(ModelConfig, "model")
    settings = TrainingSettings(
        model=model,
        lora=load_section(LoraSettings, "lora"),
        train=load_section(TrainConfig, "train"),
        base=base_path(model),
        image_root=Path("data/raw"),
    )
    check_combinations(settings)
    check_targets(settings, family_of(settings.base))
    return settings


def dry_run(settings: "TrainingSettings", samples: "list[Sample]") -> None:
    """Print the label audit, LoRA's reach and the memory of the longest batch; write nothing."""
    from manifold_ocr.models.registry import family_of
    from manifold_ocr.training.batch_plan import chosen_plan
    from manifold_ocr.training.coverage import adapted_coverage
    from manifold_ocr.training.families import family_for
    from manifold_ocr.training.preflight import estimated_families, run_preflight

    name = family_of(settings.base)
    family = family_for(name, settings)
    audit = family.audit(samples)
    typer.echo("labels: " + ", ".join(f"{key} {value}" for key, value in audit.counts.items()))
    for key, value in audit.details.items():
        if value:
            typer.echo(f"  {key}: {value}")
    if name not in estimated_families():
        typer.echo("LoRA reaches (layers by kind):")
        for line in adapted_coverage(family.build()).lines():
            typer.echo(line)
        return
    plan = chosen_plan(family, audit.kept, settings)
    found = run_preflight(family, audit.kept, settings, plan.micro)
    for line in found.lines():
        typer.echo(line)
    found.require_fit()


def self_check(settings: "TrainingSettings", samples: "list[Sample]", steps: int) -> None:
    """Overfit the samples; exit with status 1 when they are not learnt."""
    from manifold_ocr.models.registry import family_of
    from manifold_ocr.training.families import family_for
    from manifold_ocr.training.overfit import overfit

    result = overfit(family_for(family_of(settings.base), settings), samples, settings, steps)
    typer.echo(
        f"overfit: {len(samples)} samples, CER {result.before:.3f} -> {result.after:.3f} after "
        f"{result.steps} steps, loss {result.loss:.4f}"
    )
    if result.after > 0:
        typer.echo("overfit: not learnt; look at labels and images, then raise learning_rate")
        raise typer.Exit(1)


def register(app: typer.Typer) -> None:
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
            from manifold_ocr.commands.experiments import run_dvc

            run_dvc("repro", *(["--force"] if force else []), "train")
            return
        from manifold_ocr.manifest.shards import iter_manifest

        settings = read_settings()
        rows = list(islice(iter_manifest(TRAIN), overfit or samples))
        if overfit:
            self_check(settings, rows, steps)
        else:
            dry_run(settings, rows)
