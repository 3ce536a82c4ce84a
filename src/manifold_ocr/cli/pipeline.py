"""The pipeline's commands: corpora, presets, stages through DVC, training and its checks."""

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from manifold_ocr.errors import UserError
from manifold_ocr.files import parse_yaml, read_yaml

if TYPE_CHECKING:
    from manifold_ocr.models.base import RunSpec
    from manifold_ocr.records import Sample


def run_dvc(*arguments: str) -> None:
    """Run DVC with this environment's programs first on PATH.

    Raises:
        SystemExit: it failed: with 2, whichever of its own codes it gave (it has said why), or
            130 where it was interrupted.
    """
    here = str(Path(sys.executable).parent)
    environment = {**os.environ, "PATH": os.pathsep.join([here, os.environ.get("PATH", "")])}
    command = [sys.executable, "-m", "dvc", *arguments]
    if code := subprocess.run(command, env=environment, check=False).returncode:
        raise SystemExit(130 if code in (130, -signal.SIGINT) else 2)


def add_corpora(
    params: Path, names: Sequence[str], options: Mapping[str, Any] | None = None
) -> list[str]:
    """Add corpora to `download.corpora` of a params file, comments kept; return the new ones.

    `options` are set for each of them. Every corpus is checked (name, kind, options,
    license) before the file is written.

    Raises:
        UserError: unknown corpus, or a license the run does not allow; nothing is written.
    """
    from manifold_ocr.files import edited_yaml
    from manifold_ocr.settings import check_corpus_name
    from manifold_ocr.stages.check_params import check_corpora

    try:
        for name in names:
            check_corpus_name(name)
    except ValueError as error:
        raise UserError(str(error)) from error
    with edited_yaml(params) as document:
        listed = document["download"]["corpora"]
        added = [name for name in names if name not in listed]
        for name in names:
            document["corpora"].setdefault(name, {}).update(options or {})
        check_corpora({"download": {"corpora": list(names)}, "corpora": document["corpora"]})
        listed.extend(added)
    return added


def register_download(app: typer.Typer) -> None:
    """Add the command."""

    @app.command(rich_help_panel="Pipeline")
    def download(
        datasets: Annotated[
            list[str] | None, typer.Option("--datasets", help="Corpora to add; several may follow.")
        ] = None,
        more: Annotated[list[str] | None, typer.Argument(help="More corpora.")] = None,
        path: Annotated[
            str, typer.Option(help="Local folder or archive (for a single corpus).")
        ] = "",
        kind: Annotated[
            str, typer.Option(help="Layout of your own data: folder, manifest, synthetic_text ...")
        ] = "",
        option: Annotated[
            list[str] | None,
            typer.Option(help="An option of the corpus, such as language=de; may be repeated."),
        ] = None,
        force: Annotated[bool, typer.Option(help="Fetch again even if nothing changed.")] = False,
        fetch: Annotated[bool, typer.Option(help="Fetch now, through DVC.")] = True,
    ) -> None:
        """Add corpora to params.yaml (download.corpora) and fetch them.

        Without names, fetches all that are selected and missing, and those whose local
        folder or archive has other content than when it was copied.
        """
        from manifold_ocr.data.fetch import changed

        names = [*(datasets or ()), *(more or ())]
        if (path or kind or option) and len(names) != 1:
            raise UserError("--path, --kind and --option describe one corpus: name exactly one")
        options = {key: value for key, value in (("kind", kind), ("path", path)) if value}
        for item in option or ():
            key, equals, value = item.partition("=")
            if not key or not equals:
                raise UserError(f"--option {item}: must be KEY=VALUE, such as language=de")
            options |= parse_yaml(f"{key}: {value}", f"--option {item}")
        if names:
            added = add_corpora(Path("params.yaml"), names, options)
            typer.echo(f"params.yaml: added {', '.join(added) or 'nothing new'}")
        params = read_yaml("params.yaml")
        for name in names or params["download"]["corpora"]:
            if not fetch:
                continue
            entry = (params.get("corpora") or {}).get(name) or {}
            again = force or changed(name, entry)
            if again and not force:
                typer.echo(f"{name}: its local source has changed; fetching it again")
            run_dvc("repro", f"download@{name}", *(["--force"] if again else []))


_MISSING = object()
POSITIONS = "decoder_positions"  # a preset's note on its own model; no param
CARDS = "cards"  # what a preset changes for cards of other sizes, GB: {section.key: value}
LENGTHS = ("train.max_target_length", "train.generation_max_length")


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield ("section.key", value) for every leaf of a nested mapping."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def preset_values(
    preset: Path, params: Mapping[str, Any], card: int | None = None
) -> list[tuple[str, Any]]:
    """Return ("section.key", value) of a preset, every key checked against the params.

    `card` (GB) takes what the preset sets for cards of that size. Lengths that the decoder
    has no positions for become what it holds, and a line says so.

    Raises:
        UserError: no such preset or card (the valid ones are named), or a key that the
            params lack.
    """
    if not preset.is_file():
        names = ", ".join(sorted(path.stem for path in preset.parent.glob("*.yaml")))
        raise UserError(f"{preset}: no such preset; valid: {names or 'none'}")
    content = dict(read_yaml(preset))
    declared = content.pop(POSITIONS, None)
    cards = content.pop(CARDS, None) or {}
    if card is not None and card not in cards:
        known = ", ".join(map(str, cards)) or "none, the preset is the same for every card"
        raise UserError(f"{preset}: no values for a card of {card} GB; known: {known}")
    values = list({**dict(flatten(content)), **(cards.get(card) or {})}.items())
    for key, _ in values:
        place: Any = params
        for section in key.split("."):
            place = place.get(section, _MISSING) if isinstance(place, Mapping) else _MISSING
        if place is _MISSING:
            raise UserError(f"{preset}: {key!r} is no key of params.yaml")
    model = dict(values).get("model.id", params.get("model", {}).get("id", ""))
    return fitted(values, model, decoder_limit(model, declared))


def decoder_limit(model: str, declared: int | None) -> int | None:
    """Return the positions of a model's decoder, from its config.json once it is fetched.

    Before that, what the preset has `declared` for its own model counts.
    """
    from manifold_ocr.config import ModelConfig
    from manifold_ocr.files import read_json
    from manifold_ocr.models.registry import base_path
    from manifold_ocr.training.checks import decoder_positions

    try:
        folder = base_path(ModelConfig(id=model)) if model else None
    except UserError:
        folder = None
    return declared if folder is None else decoder_positions(read_json(folder / "config.json"))


def fitted(values: list[tuple[str, Any]], model: str, limit: int | None) -> list[tuple[str, Any]]:
    """Return the values with lengths bounded by the decoder's positions; print what was cut."""
    result = []
    for key, value in values:
        if limit is not None and key in LENGTHS and value > limit:
            text = f"{key}: {limit}, not the preset's {value}: the decoder of {model} ends there"
            typer.echo(text, err=True)
            value = limit
        result.append((key, value))
    return result


def set_value(params: Any, key: str, value: Any) -> Any:
    """Set `section.key` in nested mappings and return the value that it had."""
    *sections, leaf = key.split(".")
    for section in sections:
        params = params[section]
    before, params[leaf] = params[leaf], value
    return before


def apply_preset(preset: Path, params: Path, card: int | None = None) -> list[tuple[str, Any, Any]]:
    """Write the values of `preset` into `params`, comments kept; return (key, old, new).

    Raises:
        UserError: no such preset or card (the valid ones are named) or a key that
            params.yaml lacks.
    """
    from manifold_ocr.config import SECTIONS
    from manifold_ocr.errors import build
    from manifold_ocr.files import edited_yaml

    with edited_yaml(params) as document:
        values = preset_values(preset, document, card)
        changes = [(key, set_value(document, key, new), new) for key, new in values]
        for name in SECTIONS.keys() & {key.split(".")[0] for key, _ in values}:
            build(SECTIONS[name], document[name], f"{preset}: {name}")
    return [change for change in changes if change[1] != change[2]]


def register_preset(app: typer.Typer) -> None:
    """Add the command."""

    @app.command(rich_help_panel="Pipeline")
    def preset(
        name: Annotated[str, typer.Argument(help="A file name in presets/, without .yaml.")],
        params: Annotated[Path, typer.Option(help="The params file to change.")] = Path(
            "params.yaml"
        ),
        folder: Annotated[Path, typer.Option(help="Where presets lie.")] = Path("presets"),
        card: Annotated[
            int | None, typer.Option(help="Memory of your card in GB: 8, 12, 16 or 24.")
        ] = None,
        options: Annotated[
            bool, typer.Option("--options", help="Print it for `dvc exp run`; change nothing.")
        ] = False,
    ) -> None:
        """Write a preset's values into params.yaml; run `dvc repro` afterwards."""
        if options:
            found = preset_values(folder / f"{name}.yaml", read_yaml(params), card)
            typer.echo(" ".join(f"-S {shlex.quote(f'{k}={json.dumps(v)}')}" for k, v in found))
            return
        changes = apply_preset(folder / f"{name}.yaml", params, card)
        for key, old, new in changes:
            typer.echo(f"{key}: {old} -> {new}")
        typer.echo(
            f"{len(changes)} values changed in {params}; `dvc repro` runs what depends on them"
        )
        model = read_yaml(params)["model"]
        if "/" in model["id"] and not model["revision"] and not Path(model["id"]).is_dir():
            typer.echo(f"first: manifold-ocr pin {model['id']} (the hub's commit to fetch)")


def register_stage(app: typer.Typer) -> None:
    """Add the command."""

    @app.command(rich_help_panel="Pipeline")
    def stage(
        names: Annotated[
            list[str] | None,
            typer.Argument(
                help="Stages of dvc.yaml (download, manifest, augment, train, evaluate, "
                "compress_check, leaderboard); none: all."
            ),
        ] = None,
        force: Annotated[bool, typer.Option(help="Run even where nothing changed.")] = False,
    ) -> None:
        """Run the pipeline, or some stages and what they need, where inputs changed."""
        run_dvc("repro", *(["--force"] if force else []), *(names or []))


TRAIN = Path("data/augmented/train.jsonl")


def read_settings() -> "RunSpec":
    """Return the train stage's settings from params.yaml, combinations and LoRA targets checked."""
    from manifold_ocr.config import LoraConfig, ModelConfig, TrainConfig
    from manifold_ocr.models.base import RunSpec
    from manifold_ocr.models.registry import base_path, family_of
    from manifold_ocr.settings import load_section
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
    check_start(settings.train, settings.lora, Path("output/adapter"))
    check_targets(settings, family_of(settings.base))
    return settings


def training_rows(settings: "RunSpec", limit: int) -> "tuple[list[Sample], int]":
    """Return `limit` of the rows that a run would train on, and how many those are."""
    from manifold_ocr.models.registry import family_of, granularities
    from manifold_ocr.records import iter_manifest
    from manifold_ocr.training.run import chosen_by_hash, select

    kind, config = family_of(settings.base), settings.train
    sorts = granularities(kind)
    rows = select(iter_manifest(TRAIN), config, sorts, config.max_train_samples, family=kind)
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

    @app.command(rich_help_panel="Pipeline")
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
