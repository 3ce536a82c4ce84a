"""Data sets that the `datasets` library loads: written as images and one manifest, then read.

Column names come from the options; remote code is never run. The result is a corpus of
plain files, so that everything after the download is the same for all corpora.
"""

import io
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from manifold_ocr.data.download import COMMIT
from manifold_ocr.data.fetch import fetch
from manifold_ocr.data.readers.jsonl import ManifestCorpus
from manifold_ocr.data.sources import CommonOptions, corpus_options
from manifold_ocr.errors import UserError
from manifold_ocr.files import atomic_write, cache_root
from manifold_ocr.records import RawRow, Rejection
from manifold_ocr.resources import progress
from manifold_ocr.settings import Count, Flag, settings

MANIFEST = "manifest.jsonl"
_SPLITS = {"train": "train_val", "validation": "val", "valid": "val", "val": "val", "test": "test"}


@settings
class HfDatasetOptions(CommonOptions):
    """`repo` (pinned by `revision`) or `path` (a folder `datasets` can load), and columns.

    `splits` are the data set's own; train is divided by hash, validation and test are kept
    where `keep_splits`. `document_column` groups rows that must share a split (empty: each
    image is its own). `max_rows` stops early (0: all).
    """

    config: str = ""
    splits: tuple[str, ...] = ("train",)
    image_column: str = "image"
    text_column: str = "text"
    language_column: str = ""
    subset_column: str = ""
    document_column: str = ""
    box_column: str = ""
    granularity: str = ""
    keep_splits: Flag = True
    max_rows: Count = 0


def fetch_dataset(name: str, options: Mapping[str, Any], destination: Path) -> None:
    """Load the data set and write images and manifest.jsonl below `destination`.

    Raises:
        UserError: no source, not pinned by commit, a split or column that is not there.
    """
    parsed = corpus_options(HfDatasetOptions, name, options)
    where = f"params.yaml: corpora.{name}"
    if not (parsed.repo or parsed.path):
        raise UserError(f"{where}: give repo (a data set of the hub) or path (a local folder)")
    if parsed.repo and not COMMIT.fullmatch(parsed.revision):
        raise UserError(f"{where}.revision: must be a commit of {parsed.repo} (40 hex digits)")
    (destination / "images").mkdir(parents=True)
    with atomic_write(destination / MANIFEST) as file:
        for split in parsed.splits:
            for row in _rows(parsed, split, destination, where):
                file.write(json.dumps(row, ensure_ascii=False) + "\n")


def _load(options: HfDatasetOptions, split: str, where: str) -> Any:
    import datasets
    from datasets.exceptions import DatasetsError
    from pyarrow import ArrowException

    source = options.repo or options.path
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    try:
        loaded = datasets.load_dataset(
            source,
            options.config or None,
            split=split,
            revision=options.revision or None,
            cache_dir=str(cache_root() / "datasets"),
        )
    except (DatasetsError, ArrowException, ValueError, KeyError, OSError) as error:
        told = error.__cause__ or error  # its own error only says that there was one
        raise UserError(f"{where}: {source}, split {split}: {told}") from error
    if options.image_column not in loaded.column_names:
        raise _no_column(where, "image", options.image_column, loaded.column_names)
    try:
        return loaded.cast_column(options.image_column, datasets.Image(decode=False))
    except (TypeError, ValueError, NotImplementedError, ArrowException):
        return loaded.with_format("arrow")  # lists and the like: told row by row


def _rows(
    options: HfDatasetOptions, split: str, destination: Path, where: str
) -> Iterator[dict[str, Any]]:
    loaded = _load(options, split, where)
    named = ("text", "language", "subset", "document", "box")
    columns = {key: getattr(options, f"{key}_column") for key in named}
    for key, column in columns.items():
        if column and column not in loaded.column_names:
            raise _no_column(where, key, column, loaded.column_names)
    total = min(len(loaded), options.max_rows or len(loaded))
    for number in progress(range(total), f"{split} rows", total):
        row = loaded[number]
        row = row if isinstance(row, dict) else row.to_pylist()[0]
        try:
            data = _bytes(row[options.image_column], Path(options.path) if options.path else None)
            image = _save(data, destination, f"{split}-{number:07d}")
            values = _values({key: row[column] for key, column in columns.items() if column})
        except (ValueError, OSError) as error:
            yield {"problem": f"{split} row {number}: {error}"}
            continue
        values["image"] = image
        values.setdefault("document", image)
        if options.keep_splits and split in _SPLITS:
            values["split"] = _SPLITS[split]
        if options.granularity:
            values["granularity"] = options.granularity
        yield values


def _no_column(where: str, key: str, column: str, known: list[str]) -> UserError:
    return UserError(f"{where}.{key}_column: {column!r} is none of {', '.join(known)}")


def _values(stated: dict[str, Any]) -> dict[str, Any]:
    """Return a row's values with null left out.

    Raises:
        ValueError: the text is neither a string nor null.
    """
    text = stated.pop("text", None)
    if text is not None and not isinstance(text, str):
        raise ValueError(f"the text is a {type(text).__name__}, not a string: {text!r:.60}")
    values = {key: value for key, value in stated.items() if value is not None}
    return {"text": text or "", **values}


def _save(data: bytes, destination: Path, name: str) -> str:
    """Write one image as the data set holds it (its own bytes), with its own suffix."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            suffix = {"JPEG": "jpg", "TIFF": "tif", "JPEG2000": "jp2"}.get(image.format or "", "")
            suffix = suffix or (image.format or "png").lower()
    except Exception:  # what damaged bytes raise: the manifest stage will reject it by name
        suffix = "png"
    relative = f"images/{name}.{suffix}"
    (destination / relative).write_bytes(data)
    return relative


def _bytes(value: Any, folder: Path | None) -> bytes:
    """Return the bytes of a row's image; a path is taken from the data set's folder.

    Raises:
        ValueError: there is no image, there are several, or the path leads out of the folders
            of data sets.
    """
    if isinstance(value, list):
        if len(value) != 1:
            raise ValueError(f"a list of {len(value)} images; one image per row is expected")
        value = value[0]
    if value is None:
        raise ValueError("the image is null")
    if isinstance(value, bytes):
        return value
    if isinstance(value, dict) and isinstance(value.get("bytes"), bytes):
        return bytes(value["bytes"])
    stated = value.get("path") if isinstance(value, dict) else value
    if not isinstance(stated, str):
        raise ValueError(f"the image is a {type(value).__name__} without bytes and path")
    path = (folder / stated if folder else Path(stated)).resolve()
    if not any(path.is_relative_to(root.resolve()) for root in _roots(folder)):
        raise ValueError(f"the image {stated!r} lies outside of the data set's folder")
    if not path.is_file():
        raise ValueError(f"no image {stated!r} in the data set's folder")
    return path.read_bytes()


def _roots(folder: Path | None) -> list[Path]:
    """Return the folders that a data set's images may lie in: its own and the caches."""
    from datasets import config
    from huggingface_hub import constants

    caches = [config.HF_CACHE_HOME, config.HF_DATASETS_CACHE, constants.HF_HUB_CACHE]
    return [*([folder] if folder else []), cache_root() / "datasets", *map(Path, caches)]


@dataclass(frozen=True)
class HfDataset:
    """Any data set of the hub, or any folder that `datasets` loads."""

    name: str
    role: str = "train"

    def fetch(self, destination: Path, options: Mapping[str, Any]) -> None:
        """Load the data set and write it out (see `hf_fetch.fetch_dataset`)."""
        fetch(self.name, options, destination)

    def rows(self, root: Path, options: Mapping[str, Any]) -> Iterator[RawRow | Rejection]:
        """Stream the rows of the written manifest."""
        yield from self.part_rows(root, options, 0, 1)

    def part_rows(
        self, root: Path, options: Mapping[str, Any], part: int, parts: int
    ) -> Iterator[RawRow | Rejection]:
        """Stream a share of the rows (see `ManifestCorpus.part_rows`)."""
        parsed = corpus_options(HfDatasetOptions, self.name, options)
        shared = {"manifest": MANIFEST, "image_root": "."}
        shared |= {"language": parsed.language, "license": parsed.license}
        yield from ManifestCorpus(self.name).part_rows(root, shared, part, parts)
