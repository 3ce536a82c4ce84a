"""`manifold-ocr merge FOLDER`: the base model with the adapter inside its weights, on its own."""

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def merge(
        folder: Annotated[Path, typer.Argument(help="Folder to write the whole checkpoint to.")],
        adapter: Annotated[Path, typer.Option(help="The adapter.")] = Path("output/adapter"),
    ) -> None:
        """Export one checkpoint that needs neither adapter nor peft; set model.id to it to use it.

        Weights keep the precision of the base model; the folder is replaced as a whole.
        """
        from manifold_ocr.config import load_section
        from manifold_ocr.errors import UserError
        from manifold_ocr.models.adapter_weights import check_origin
        from manifold_ocr.models.adapters import merge_adapter
        from manifold_ocr.models.config import ModelConfig
        from manifold_ocr.models.registry import base_path, load_plain

        base = base_path(load_section(ModelConfig, "model"))
        if folder.exists() and not (folder / "config.json").is_file():
            raise UserError(f"{folder} exists and is no checkpoint; name another folder")
        if folder.resolve() in (base.resolve(), adapter.resolve()):
            raise UserError(f"{folder}: would replace what is merged; name another folder")
        if not adapter.is_dir():
            raise UserError(f"{adapter}: no such adapter folder; run `dvc repro train` first")
        check_origin(adapter, base)
        merge_adapter(load_plain(base), adapter, base, folder)
        typer.echo(f"{folder}: {base} with the weights of {adapter} in it")
