"""`manifold-ocr preset NAME`: write a preset's values into params.yaml, so DVC hashes them."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from manifold_ocr.errors import UserError


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield ("section.key", value) for every leaf of a nested mapping."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def apply_preset(preset: Path, params: Path) -> list[tuple[str, Any, Any]]:
    """Write the values of `preset` into `params`, comments kept; return (key, old, new).

    Raises:
        UserError: no such preset (the valid ones are named) or a key that params.yaml lacks.
    """
    from ruamel.yaml import YAML

    from manifold_ocr.config import load_params
    from manifold_ocr.files import atomic_write

    if not preset.is_file():
        names = ", ".join(sorted(path.stem for path in preset.parent.glob("*.yaml")))
        raise UserError(f"{preset}: no such preset; valid: {names or 'none'}")
    yaml = YAML()
    yaml.preserve_quotes = True
    document = yaml.load(params.read_text(encoding="utf-8"))
    changes = []
    for key, new in flatten(load_params(preset)):
        *sections, leaf = key.split(".")
        place = document
        for section in sections:
            place = place.get(section, {})
        if leaf not in place:
            raise UserError(f"{preset}: {key!r} is no key of {params}")
        if place[leaf] != new:
            changes.append((key, place[leaf], new))
            place[leaf] = new
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
