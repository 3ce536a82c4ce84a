"""Which source files a module imports, found by reading them: for fingerprints and DVC deps."""

import ast
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from manifold_ocr.files import sha256_file, sha256_json

PACKAGE = Path(__file__).parent
SOURCE_ROOT = PACKAGE.parent
# Values reach a result through params.yaml and rows, whose hashes count by themselves: how a
# section is parsed, a file written or progress shown changes no result.
PLUMBING = (
    "config", "augment_config", "settings", "errors", "files", "resources", "code_hash",
)  # fmt: skip


def import_closure(modules: Iterable[str]) -> list[Path]:
    """Return the package's own source files that `modules` import, themselves included.

    Imports inside functions count, and so does a data file that a source names and that lies
    beside it. Paths are absolute and sorted; the `__init__.py` files, which hold no code here,
    and PLUMBING with all that only it imports are left out. `modules` are dotted names below
    `manifold_ocr`.

    Raises:
        ModuleNotFoundError: a module has no source file in the package.
    """
    found: set[Path] = set()
    waiting = [_source(module) for module in modules]
    while waiting:
        path = waiting.pop()
        if path in found or covered(path, PLUMBING):
            continue
        found.add(path)
        waiting.extend(_imports(path))
    sources = [path for path in found if path.name != "__init__.py"]
    return sorted({*sources, *(data for path in sources for data in _data_files(path))})


def code_fingerprint(modules: Iterable[str], without: Iterable[str] = ()) -> str:
    """Return one SHA-256 over the closure of `modules`.

    Left out are `without`: dotted modules, or packages with all below them.
    """
    skipped = tuple(module.removeprefix("manifold_ocr.") for module in without)
    return sha256_json(
        [
            [path.relative_to(SOURCE_ROOT).as_posix(), sha256_file(path)]
            for path in import_closure(modules)
            if not covered(path, skipped)
        ]
    )


def installed(package: str) -> str:
    """Return a package's version, or `absent`."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"


def covered(path: Path, modules: Iterable[str]) -> bool:
    """Return whether a source file is one of `modules` (below the package) or in one of them."""
    dotted = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
    return any(dotted == module or dotted.startswith(f"{module}.") for module in modules)


def _data_files(source: Path) -> list[Path]:
    text = source.read_text(encoding="utf-8")
    return [
        path
        for path in source.parent.iterdir()
        if path.is_file() and path.suffix not in {".py", ".pyc"} and path.name in text
    ]


def _source(module: str) -> Path:
    base = SOURCE_ROOT.joinpath(*module.split("."))
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.is_file():
            return path
    raise ModuleNotFoundError(module)


def _imports(path: Path) -> list[Path]:
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    sources = []
    for name in names:
        if name.startswith("manifold_ocr."):  # the package itself is the Python API: no result
            try:
                sources.append(_source(name))
            except ModuleNotFoundError:
                continue  # `from module import function`: the second candidate is no module
    return sources
