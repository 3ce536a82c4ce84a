"""`manifold-ocr preset NAME`: write a preset's values into params.yaml, so DVC hashes them."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from manifold_ocr.errors import UserError

_MISSING = object()


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield ("section.key", value) for every leaf of a nested mapping."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def preset_values(preset: Path, params: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Return ("section.key", value) of a preset, every key checked against the params.

    Raises:
        UserError: no such preset (the valid ones are named) or a key that the params lack.
    """
    from manifold_ocr.config import load_params

    if not preset.is_file():
        names = ", ".join(sorted(path.stem for path in preset.parent.glob("*.yaml")))
        raise UserError(f"{preset}: no such preset; valid: {names or 'none'}")
    values = list(flatten(load_params(preset)))
    for key, _ in values:
        place: Any = params
        for section in key.split("."):
            place = place.get(section, _MISSING) if isinstance(place, Mapping) else _MISSING
        if place is _MISSING:
            raise UserError(f"{preset}: {key!r} is no key of params.yaml")
    return values


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
