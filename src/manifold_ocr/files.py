"""Files that are either whole or absent: atomic writes, hashes, canonical JSON."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from manifold_ocr.errors import UserError

CHUNK = 1 << 20
TEMPORARY = ".tmp"  # git ignores `.NAME.XXXX.tmp`, which only a kill -9 leaves behind


@contextmanager
def atomic_write(path: Path | str, mode: str = "w") -> Iterator[IO[Any]]:
    r"""Open a temporary file beside `path`; rename it over `path` when the block succeeds.

    On any exception (a full disk included) the temporary file is removed and `path` keeps
    its old content. Text is UTF-8 with `\n` line ends.

    Raises:
        UserError: the write failed because of the operating system; names the file.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    text = {} if "b" in mode else {"encoding": "utf-8", "newline": "\n"}
    handle, name = tempfile.mkstemp(TEMPORARY, f".{path.name}.", path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, mode, **text) as file:  # type: ignore[call-overload]
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise UserError(
            f"{path}: could not be written ({error.strerror or error}); "
            "free disk space or check permissions, then run again: the old file is untouched"
        ) from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def atomic_directory(path: Path | str) -> Iterator[Path]:
    """Yield an empty temporary folder beside `path`; swap it in when the block succeeds.

    On any exception the temporary folder is removed and `path` keeps its old content.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(TEMPORARY, f".{path.name}.", path.parent))
    try:
        yield temporary
        temporary.chmod(0o755)
        _swap_in(temporary, path)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise UserError(
            f"{path}: could not be written ({error.strerror or error}); "
            "free disk space or check permissions, then run again"
        ) from error
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _swap_in(new: Path, path: Path) -> None:
    """Rename `new` to `path`; what was there goes afterwards, so that a kill leaves one whole."""
    if not path.exists():
        new.replace(path)
        return
    former = Path(tempfile.mkdtemp(TEMPORARY, f".{path.name}.", path.parent))
    path.replace(former)
    new.replace(path)
    shutil.rmtree(former, ignore_errors=True)


def canonical_json(value: Any) -> str:
    """Return JSON with sorted keys and no spaces: equal values give equal text."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def write_json(path: Path | str, value: Mapping[str, Any]) -> None:
    """Write indented JSON with sorted keys atomically. NaN and infinity raise ValueError."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, indent=2, allow_nan=False)
    with atomic_write(path) as file:
        file.write(text + "\n")


def read_json(path: Path | str) -> Any:
    """Read a JSON file.

    Raises:
        UserError: missing, not UTF-8 or not JSON; names the file and the place.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); name a file") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 (byte {error.start}); save it as UTF-8") from error
    except json.JSONDecodeError as error:
        raise UserError(f"{path}:{error.lineno}: not valid JSON ({error.msg})") from error
    except RecursionError as error:
        raise UserError(f"{path}: JSON that is nested too deeply to be read") from error
    except ValueError as error:  # an integer of thousands of digits
        raise UserError(f"{path}: JSON in which a number is too long to be read") from error


def read_list(path: Path | str) -> list[Any]:
    """Read a JSON file that holds a list.

    Raises:
        UserError: as `read_json`, or something else than a list.
    """
    value = read_json(path)
    if not isinstance(value, list):
        raise UserError(f"{path}: a JSON list is expected, not {type(value).__name__}")
    return value


def sha256_file(path: Path | str) -> str:
    """Return the hex SHA-256 of a file, read in 1 MiB pieces."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def sha256_text(text: str) -> str:
    """Return the hex SHA-256 of the UTF-8 bytes of `text`."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def sha256_json(value: Any) -> str:
    """Return the hex SHA-256 of the canonical JSON of `value`."""
    return sha256_text(canonical_json(value))


def sha256_tree(root: Path | str) -> str:
    """Return one hex SHA-256 over the relative names and contents of all files below `root`."""
    root = Path(root)
    digest = hashlib.sha256()
    for path in sorted(p for p in root.rglob("*") if p.is_file()):
        digest.update(path.relative_to(root).as_posix().encode("utf-8") + b"\0")
        digest.update(sha256_file(path).encode("ascii") + b"\n")
    return digest.hexdigest()


def distinct_names(paths: Sequence[Path]) -> list[str]:
    """Return a name per file: its stem, with as many folders before it as tell all apart."""
    for depth in range(1, max((len(path.parts) for path in paths), default=1) + 1):
        names = ["/".join([*path.parts[-depth:-1], path.stem]) for path in paths]
        if len(set(names)) == len(names):
            return names
    return [f"{path.stem} {number}" for number, path in enumerate(paths, 1)]


def workspace() -> Path:
    """Return the project's folder: the current one, except within an experiment.

    A queued or temporary experiment, which DVC runs in .dvc/tmp/exps/<name> and removes
    afterwards, gets the folder that it was started from.
    """
    here = Path.cwd()
    for parent in (here, *here.parents):
        if parent.parts[-4:-1] == (".dvc", "tmp", "exps"):
            return parent.parents[3]
    return Path()


def cache_root() -> Path:
    """Return the folder of caches that outlive a stage run (never a DVC out).

    `MANIFOLD_OCR_CACHE` wins. Otherwise it is output/cache of the workspace.
    """
    if configured := os.environ.get("MANIFOLD_OCR_CACHE"):
        return Path(configured)
    return workspace() / "output" / "cache"


def read_yaml(path: Path | str) -> dict[str, Any]:
    """Read params, a preset or a pipeline as a mapping (see `parse_yaml`).

    Raises:
        UserError: missing, not YAML, or not a mapping.
    """
    try:
        return parse_yaml(Path(path).read_text(encoding="utf-8"), str(path))
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file; run from the project's root") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); name a file") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8: {error}") from error


def parse_yaml(text: str, where: str) -> dict[str, Any]:
    """Parse YAML as DVC does, which is YAML 1.2: 5e-05 is a number, no is a word.

    Raises:
        UserError: not YAML, a key twice, or not a mapping.
    """
    try:
        value = YAML(typ="safe").load(text)
    except YAMLError as error:
        raise UserError(f"{where}: not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(value, dict):
        raise UserError(f"{where}: must be a mapping")
    return value


@contextmanager
def edited_yaml(path: Path | str) -> Iterator[Any]:
    """Yield the document of a YAML 1.2 file for editing; write it when the block succeeds.

    Comments, quotes and long lines are kept; a block that changes nothing writes nothing.

    Raises:
        UserError: missing, or not YAML.
    """
    before = read_yaml(path)
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 1 << 16
    document = yaml.load(Path(path).read_text(encoding="utf-8"))
    yield document
    if document != before:
        with atomic_write(path) as file:
            yaml.dump(document, file)
