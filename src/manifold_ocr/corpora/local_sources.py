"""Local folders and archives that corpora were copied from: have they changed since?

They lie outside the project, where DVC does not look. So a download notes the hash of its
source, the download command compares by content, and the manifest stage looks quickly.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from manifold_ocr.corpora.fetchers import MOUNT
from manifold_ocr.downloading.copying import visible_files
from manifold_ocr.files import read_json, sha256_file

METRICS = Path("metrics/download")


def local_source(name: str, options: Mapping[str, Any]) -> Path | None:
    """Return the folder or archive of this machine that corpus `name` comes from, if any."""
    if path := str(options.get("path") or ""):
        return Path(path)
    mounted = not (options.get("url") or options.get("repo")) and (MOUNT / name).is_dir()
    return MOUNT / name if mounted else None


def source_hash(path: Path) -> str:
    """Return the hex SHA-256 of an archive, or of the names and contents of a folder's files.

    A folder's hash is that of its copy (`files.sha256_tree`): hidden files are left out.
    """
    if path.is_file():
        return sha256_file(path)
    digest = hashlib.sha256()
    for relative in sorted(map(Path, visible_files(path))):
        digest.update(relative.as_posix().encode("utf-8") + b"\0")
        digest.update(sha256_file(path / relative).encode("ascii") + b"\n")
    return digest.hexdigest()


def changed(name: str, options: Mapping[str, Any]) -> bool:
    """Say whether the source's content differs from what was fetched; reads all of it.

    False where there is no local source, it is not reachable, or nothing was fetched yet.
    """
    source, metrics = local_source(name, options), METRICS / f"{name}.json"
    if source is None or not source.exists() or not metrics.is_file():
        return False
    known = read_json(metrics)
    return source_hash(source) != str(known.get("source_sha256", known["sha256"]))


def looks_changed(name: str, options: Mapping[str, Any]) -> bool:
    """Say, without reading contents, whether the source was touched after it was fetched."""
    source, metrics = local_source(name, options), METRICS / f"{name}.json"
    if source is None or not source.exists() or not metrics.is_file():
        return False
    fetched = metrics.stat().st_mtime_ns
    if source.is_file():
        return source.stat().st_mtime_ns > fetched
    states = [(source / file).stat() for file in visible_files(source)]
    known = read_json(metrics)
    copied = known.get("source_sha256") == known["sha256"]  # else files and bytes differ anyway
    size = (len(states), sum(state.st_size for state in states))
    if copied and size != (known["files"], known["bytes"]):
        return True
    return any(state.st_mtime_ns > fetched for state in states)
