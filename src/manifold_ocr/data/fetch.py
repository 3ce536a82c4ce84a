"""Bring a corpus's raw files into data/raw: from a local path, an address or the hub.

The download stage uses this module and the sources only, so that fixing a parser
never fetches anything again.

They lie outside the project, where DVC does not look. So a download notes the hash of its
source, the download command compares by content, and the manifest stage looks quickly.
"""

import dataclasses
import hashlib
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from manifold_ocr.data.archives import is_archive, unpack
from manifold_ocr.data.download import download_dataset_files, download_file
from manifold_ocr.data.sources import SOURCES, CommonOptions, Source
from manifold_ocr.errors import UserError, build
from manifold_ocr.files import CHUNK, cache_root, read_json, sha256_file
from manifold_ocr.resources import progress


def copy_tree(
    source: Path, destination: Path, only: Sequence[str] = (), merge: bool = False
) -> int:
    """Copy the files below `source` (or just the relative names `only`); return how many.

    Contents are hashed while they are read and again from the copy. Hidden files are left
    out; a symbolic link is followed to a file inside `source` only, so that a folder
    cannot smuggle in others. Modification times are kept. With `merge`, `destination` may
    hold files already, yet none may be replaced.

    Raises:
        UserError: no file, a link that leaves the folder, a clash, or a copy that differs.
    """
    root = source.resolve()
    names = sorted(only) if only else visible_files(source)
    if not names:
        raise UserError(f"{source}: holds no files")
    for name in progress(names, f"copy {source.name}", total=len(names), unit="file"):
        original = source / name
        if not original.resolve().is_relative_to(root):
            raise UserError(f"{original}: a link that leaves {source}; copy the file itself there")
        copy = destination / name
        if merge and copy.exists():
            raise UserError(f"{copy}: two files of the corpus have this name")
        _copy_verified(original, copy)
    return len(names)


def visible_files(source: Path) -> list[str]:
    """Return the relative names of all files below a folder, hidden ones left out, sorted."""
    found = (path for path in source.rglob("*") if path.is_file())
    relative = (path.relative_to(source) for path in found)
    return sorted(
        path.as_posix() for path in relative if not any(part[0] == "." for part in path.parts)
    )


def _copy_verified(original: Path, copy: Path) -> None:
    copy.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with open(original, "rb") as reader, open(copy, "wb") as writer:
        while chunk := reader.read(CHUNK):
            digest.update(chunk)
            writer.write(chunk)
    shutil.copystat(original, copy)
    if sha256_file(copy) != digest.hexdigest():
        raise UserError(f"{copy}: the copy differs from {original}; check the disk and run again")


def fetch_corpus(
    name: str, destination: Path, options: CommonOptions, known: str | None = None
) -> None:
    """Put the raw files of corpus `name` below `destination`, archives unpacked.

    The options' `path`, `url` or `repo` win over the source known under `known` (default:
    `name`) in `sources.py`. Every copy is compared with its original by SHA-256.

    Raises:
        UserError: nothing says where the corpus is, or the transfer failed for good.
    """
    if options.path:
        fetch_local(name, Path(options.path), destination)
    elif options.url:
        if not options.sha256:
            raise UserError(
                f"params.yaml: corpora.{name}.sha256: a plain address needs the SHA-256 of "
                "its file (sha256sum FILE), so that a changed file is noticed"
            )
        _fetch_url(options.url, options.sha256, destination)
    else:
        _fetch_source(name, destination, options, SOURCES.get(known or name))


def fetch_local(name: str, path: Path, destination: Path) -> None:
    """Copy a local folder, or unpack a local archive."""
    if not path.exists():
        raise UserError(f"params.yaml: corpora.{name}.path: {path} does not exist")
    if path.is_dir():
        copy_tree(path, destination)
    elif is_archive(path):
        unpack(path, destination)
    else:
        raise UserError(f"params.yaml: corpora.{name}.path: {path} is no folder and no archive")


def _fetch_url(url: str, sha256: str, destination: Path) -> None:
    folder = cache_root() / "downloads" / sha256[:16]
    file = download_file(
        url, folder / (url.rsplit("/", 1)[-1].split("?", maxsplit=1)[0] or "file"), sha256
    )
    if is_archive(file):
        unpack(file, destination)
    else:
        copy_tree(folder, destination, only=(file.name,))


def _fetch_source(
    name: str, destination: Path, options: CommonOptions, source: Source | None
) -> None:
    repo = options.repo or (source.repo if source else "")
    if repo:
        pinned = source.revision if source and repo == source.repo else ""
        patterns = source.files if source and repo == source.repo else ()
        _fetch_hub(name, repo, options.revision or pinned, patterns, destination)
    elif source and source.urls:
        for url, sha256 in sorted(source.urls.items()):
            _fetch_url(url, sha256, destination)
    else:
        how = source.manual if source else f"set corpora.{name}.path to its folder"
        raise UserError(f"corpus {name} has no open address: {how}")


def _fetch_hub(
    name: str, repo: str, revision: str, patterns: tuple[str, ...], destination: Path
) -> None:
    cache = cache_root() / "downloads" / repo.replace("/", "--")
    cache.mkdir(parents=True, exist_ok=True)
    where = f"corpora.{name}.revision"
    folder = download_dataset_files(repo, revision, patterns, cache, where)
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        if file.relative_to(folder).parts[0] == ".cache":
            continue
        if is_archive(file):
            with tempfile.TemporaryDirectory(dir=cache) as scratch:
                unpack(file, Path(scratch))
                copy_tree(Path(scratch), destination, merge=True)
        else:
            relative = file.relative_to(folder).as_posix()
            copy_tree(folder, destination, only=(relative,), merge=True)


MOUNT = Path("data/benchmark_corpus")


def fetch(name: str, options: Mapping[str, Any], destination: Path) -> None:
    """Put the raw files of corpus `name` below `destination` (an empty folder)."""
    kind = str(options.get("kind") or name)
    if kind == "synthetic":
        from manifold_ocr.data.readers.synthetic import SyntheticCorpus

        SyntheticCorpus().fetch(destination, options)
    elif kind == "synthetic_text":
        from manifold_ocr.data.readers.synthetic_text import SyntheticText

        SyntheticText(name).fetch(destination, options)
    elif kind == "hf_dataset":
        from manifold_ocr.data.readers.huggingface import fetch_dataset

        fetch_dataset(name, options, destination)
    else:
        fetch_files(name, common_options(name, options), destination, kind)


def fetch_files(name: str, options: CommonOptions, destination: Path, kind: str) -> None:
    """Fetch a corpus of plain files; a mounted data/benchmark_corpus/NAME is found by name."""
    mounted = MOUNT / name
    if not (options.path or options.url or options.repo) and mounted.is_dir():
        fetch_local(name, mounted, destination)
    else:
        fetch_corpus(name, destination, options, kind)


def common_options(name: str, options: Mapping[str, Any]) -> CommonOptions:
    """Return the options that say where a corpus comes from; parser options are left out."""
    known = {field.name for field in dataclasses.fields(CommonOptions)}
    values = {key: value for key, value in options.items() if key in known}
    return build(CommonOptions, values, f"params.yaml: corpora.{name}")


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
