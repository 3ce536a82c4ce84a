"""Bring a corpus's raw files into data/raw from a local path, an address or the hub."""

import tempfile
from pathlib import Path

from manifold_ocr.corpora.options import CommonOptions
from manifold_ocr.corpora.sources import SOURCES, Source
from manifold_ocr.downloading.archives import is_archive, unpack
from manifold_ocr.downloading.copying import copy_tree
from manifold_ocr.downloading.http import download_file
from manifold_ocr.downloading.hub import download_dataset_files
from manifold_ocr.errors import UserError
from manifold_ocr.files import cache_root


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
