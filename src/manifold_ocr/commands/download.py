"""`manifold-ocr download`: add corpora to params.yaml and fetch them through DVC."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from manifold_ocr.errors import UserError


def add_corpora(
    params: Path, names: Sequence[str], options: Mapping[str, Any] | None = None
) -> list[str]:
    """Add corpora to `download.corpora` of a params file, comments kept; return the new ones.

    `options` are set for each of them. Every corpus is checked (name, kind, options,
    licence) before the file is written.

    Raises:
        UserError: unknown corpus, or a licence the run does not allow; nothing is written.
    """
    from ruamel.yaml import YAML

    from manifold_ocr.corpora.registry import select_corpora
    from manifold_ocr.files import atomic_write

    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096
    if not params.is_file():
        raise UserError(f"{params}: no such file; run from the project's root")
    document = yaml.load(params.read_text(encoding="utf-8"))
    listed = document["download"]["corpora"]
    added = [name for name in names if name not in listed]
    for name in names:
        entry = document["corpora"].setdefault(name, {})
        entry.update(options or {})
    listed.extend(added)
    wanted = {
        "download": {"corpora": list(names)},
        "corpora": document["corpora"],
    }
    select_corpora(wanted)
    with atomic_write(params) as file:
        yaml.dump(document, file)
    return added


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def download(
        datasets: Annotated[
            list[str] | None, typer.Option("--datasets", help="Corpora to add; several may follow.")
        ] = None,
        more: Annotated[list[str] | None, typer.Argument(help="More corpora.")] = None,
        path: Annotated[
            str, typer.Option(help="Local folder or archive (for a single corpus).")
        ] = "",
        kind: Annotated[
            str, typer.Option(help="Layout of your own data: folder, manifest, icdar_sroie ...")
        ] = "",
        force: Annotated[bool, typer.Option(help="Fetch again even if nothing changed.")] = False,
        fetch: Annotated[bool, typer.Option(help="Fetch now, through DVC.")] = True,
    ) -> None:
        """Add corpora to params.yaml (download.corpora) and fetch them.

        Without names, fetches all that are selected and missing, and those whose local
        folder or archive has other content than when it was copied.
        """
        from manifold_ocr.commands.experiments import run_dvc
        from manifold_ocr.config import load_params
        from manifold_ocr.corpora.local_sources import changed

        names = [*(datasets or ()), *(more or ())]
        if (path or kind) and len(names) != 1:
            raise UserError("--path and --kind describe one corpus: name exactly one")
        options = {key: value for key, value in (("kind", kind), ("path", path)) if value}
        if names:
            added = add_corpora(Path("params.yaml"), names, options)
            typer.echo(f"params.yaml: added {', '.join(added) or 'nothing new'}")
        params = load_params()
        for name in names or params["download"]["corpora"]:
            if not fetch:
                continue
            entry = (params.get("corpora") or {}).get(name) or {}
            again = force or changed(name, entry)
            if again and not force:
                typer.echo(f"{name}: its local source has changed; fetching it again")
            run_dvc("repro", f"download@{name}", *(["--force"] if again else []))
