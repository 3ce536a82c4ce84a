"""`manifold-ocr preset NAME`: write a preset's values into params.yaml, so DVC hashes them."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from manifold_ocr.errors import UserError

_MISSING = object()
POSITIONS = "decoder_positions"  # a preset's note on its own model; no param
LENGTHS = ("train.max_target_length", "train.generation_max_length")


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield ("section.key", value) for every leaf of a nested mapping."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def preset_values(preset: Path, params: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Return ("section.key", value) of a preset, every key checked against the params.

    Lengths that the decoder has no positions for become what it holds, and a line says so.

    Raises:
        UserError: no such preset (the valid ones are named) or a key that the params lack.
    """
    from manifold_ocr.config import load_params

    if not preset.is_file():
        names = ", ".join(sorted(path.stem for path in preset.parent.glob("*.yaml")))
        raise UserError(f"{preset}: no such preset; valid: {names or 'none'}")
    content = dict(load_params(preset))
    declared = content.pop(POSITIONS, None)
    values = list(flatten(content))
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
    from manifold_ocr.files import read_json
    from manifold_ocr.models.config import ModelConfig
    from manifold_ocr.models.registry import base_path
    from manifold_ocr.training.combinations import decoder_positions

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
            typer.echo(
                f"{key}: {limit}, not the preset's {value}: the decoder of {model} ends there"
            )
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


def apply_preset(preset: Path, params: Path) -> list[tuple[str, Any, Any]]:
    """Write the values of `preset` into `params`, comments kept; return (key, old, new).

    Raises:
        UserError: no such preset (the valid ones are named) or a key that params.yaml lacks.
    """
    from ruamel.yaml import YAML

    from manifold_ocr.files import atomic_write

    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 1 << 16  # lines stay as they are
    document = yaml.load(params.read_text(encoding="utf-8"))
    values = preset_values(preset, document)
    changes = [(key, set_value(document, key, new), new) for key, new in values]
    changes = [change for change in changes if change[1] != change[2]]
    if changes:
        with atomic_write(params) as file:
            yaml.dump(document, file)
    return changes


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def preset(
        name: Annotated[str, typer.Argument(help="A file name in presets/, without .yaml.")],
        params: Annotated[Path, typer.Option(help="The params file to change.")] = Path(
            "params.yaml"
        ),
        folder: Annotated[Path, typer.Option(help="Where presets lie.")] = Path("presets"),
    ) -> None:
        """Write a preset's values into params.yaml; run `dvc repro` afterwards."""
        changes = apply_preset(folder / f"{name}.yaml", params)
        for key, old, new in changes:
            typer.echo(f"{key}: {old} -> {new}")
        typer.echo(
            f"{len(changes)} values changed in {params}; `dvc repro` runs what depends on them"
        )
