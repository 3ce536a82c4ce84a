"""dvc.yaml's code dependencies, derived from the imports of each stage's module.

`python -m manifold_ocr.dag --write` rewrites the src/ entries of every stage's `deps`; a
test asserts that they are current. What a stage lists under `meta.without` (dotted modules,
a package stands for all below it) is left out on purpose, with the reason beside it; with
`meta.only` nothing but the modules named there counts.
"""

import argparse
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from manifold_ocr.closure import SOURCE_ROOT, import_closure
from manifold_ocr.files import atomic_write

PROJECT = SOURCE_ROOT.parent


def stage_module(stage: Mapping[str, Any]) -> str:
    """Return the dotted module that a stage's command runs (`... -m MODULE ...`)."""
    words = str(stage["cmd"]).split()
    return words[words.index("-m") + 1]


def code_deps(stage: Mapping[str, Any]) -> list[str]:
    """Return the source files, relative to the project, that the stage must depend on."""
    meta = stage.get("meta") or {}
    left_out, only = tuple(meta.get("without", {})), tuple(meta.get("only", {}))
    return [
        path.relative_to(PROJECT).as_posix()
        for path in import_closure([stage_module(stage)])
        if not _covered(path, left_out) and (not only or _covered(path, only))
    ]


def _covered(path: Path, modules: Iterable[str]) -> bool:
    dotted = ".".join(path.relative_to(SOURCE_ROOT).with_suffix("").parts)
    return any(dotted == module or dotted.startswith(f"{module}.") for module in modules)


def rewrite(dvc_yaml: Path) -> bool:
    """Bring the src/ deps of all stages up to date; return whether the file changed."""
    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.width = 4096
    document = yaml.load(dvc_yaml.read_text(encoding="utf-8"))
    changed = False
    for stage in document["stages"].values():
        body = stage.get("do", stage)
        data = [dep for dep in body.get("deps", []) if not dep.startswith("src/")]
        wanted = data + code_deps(body)
        if list(body.get("deps", [])) != wanted:
            body["deps"] = wanted
            changed = True
    if changed:
        with atomic_write(dvc_yaml) as file:
            yaml.dump(document, file)
    return changed


def main() -> None:
    """Command line: report whether dvc.yaml is current, or write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", required=True)
    parser.add_argument("--file", type=Path, default=PROJECT / "dvc.yaml")
    arguments = parser.parse_args()
    print(f"{arguments.file}: {'rewritten' if rewrite(arguments.file) else 'is current'}")


if __name__ == "__main__":
    main()
