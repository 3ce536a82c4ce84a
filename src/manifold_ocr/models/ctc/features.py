"""Frozen features on disk: a line passes the backbone once, for every training and evaluation.

Shards of raw float16 frames with an index each, below cache_root()/features/<fingerprint>/.
A shard appears by renaming, index last, so a killed run loses at most its open shard and
several processes may write at once.
"""

import json
import os
import threading
import uuid
from concurrent.futures import Future
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image

from manifold_ocr.files import atomic_write, cache_root, sha256_file, sha256_json
from manifold_ocr.images import cut_sample, load_page, load_sample
from manifold_ocr.records import Sample

SHARD_BYTES = 16 << 20
DTYPE = np.dtype("<f2")
LARGEST = float(np.finfo(DTYPE).max)
PAGES = 4  # decoded pages that are kept: rows of a page follow each other in a manifest


def round_features(features: np.ndarray) -> np.ndarray:
    """Return features as the cache keeps them (float16), so that cached or not is equal."""
    rounded: np.ndarray = np.clip(features, -LARGEST, LARGEST).astype(DTYPE)
    return rounded


class FeatureCache:
    """Features (C, T) by key; thread-safe; `close` or the context's end keeps what was put."""

    def __init__(self, fingerprint: str, channels: int, root: Path | None = None) -> None:
        """Open the cache of one backbone and preprocessing (`fingerprint`)."""
        self.folder = (root or cache_root()) / "features" / fingerprint[:32]
        self.channels = channels
        self.folder.mkdir(parents=True, exist_ok=True)
        self._where: dict[str, tuple[Path, int, int]] = {}
        self._maps: dict[Path, np.ndarray] = {}
        self._open: dict[str, tuple[int, int]] = {}
        self._pending: dict[str, np.ndarray] = {}
        self._file: IO[bytes] | None = None
        self._lock = threading.Lock()
        for index in sorted(self.folder.glob("*.json")):
            self._read_index(index)

    def __contains__(self, key: str) -> bool:
        return key in self._where or key in self._pending

    def __len__(self) -> int:
        return len(self._where) + len(self._pending)

    def __enter__(self) -> "FeatureCache":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def get(self, key: str) -> np.ndarray | None:
        """Return the features (C, T) of `key` as float16, or None."""
        with self._lock:
            if key in self._pending:
                return self._pending[key]
            if key not in self._where:
                return None
            path, offset, frames = self._where[key]
            if path not in self._maps:
                self._maps[path] = np.memmap(path, dtype=DTYPE, mode="r")
            flat = self._maps[path][offset : offset + self.channels * frames]
        return flat.reshape(self.channels, frames)

    def frames(self, key: str) -> int:
        """Return how many frames the features of `key` have, without reading them."""
        return (self._open[key] if key in self._open else self._where[key][1:])[1]

    def put(self, key: str, features: np.ndarray) -> None:
        """Add the features (C, T) of `key`; a shard is published when it is full."""
        with self._lock:
            if key in self:
                return
            if self._file is None:
                self._name = uuid.uuid4().hex
                self._file = open(self._part(), "wb")  # noqa: SIM115 - lives across calls
            rounded = np.ascontiguousarray(round_features(features))
            self._open[key] = (self._file.tell() // DTYPE.itemsize, rounded.shape[1])
            self._pending[key] = rounded
            self._file.write(rounded.tobytes())
            if self._file.tell() >= SHARD_BYTES:
                self._publish()

    def close(self) -> None:
        """Publish the open shard; the cache may be used on."""
        with self._lock:
            if self._file is not None:
                self._publish()

    def _part(self) -> Path:
        return self.folder / f".{self._name}.part"

    def _publish(self) -> None:
        assert self._file is not None
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._file = None
        data = self.folder / f"{self._name}.f16"
        self._part().replace(data)
        index = data.with_suffix(".json")
        with atomic_write(index) as file:
            json.dump(self._open, file)
        self._open, self._pending = {}, {}
        self._read_index(index)

    def _read_index(self, index: Path) -> None:
        data = index.with_suffix(".f16")
        if not data.is_file():
            return
        for key, (offset, frames) in json.loads(index.read_text(encoding="utf-8")).items():
            self._where.setdefault(key, (data, int(offset), int(frames)))


class SampleKeys:
    """The cache key of a sample: content of the image file, pixel budget and box."""

    def __init__(self, image_root: Path) -> None:
        """Resolve images below `image_root`."""
        self.image_root = image_root
        self._hashes: dict[str, str] = {}

    def __call__(self, sample: Sample) -> str:
        """Return the key; a row without `image_sha256` has its file hashed once."""
        digest = sample.image_sha256 or self._hashes.get(sample.image)
        if not digest:
            digest = self._hashes[sample.image] = sha256_file(self.image_root / sample.image)
        return sha256_json([digest, sample.max_pixels, sample.box])[:32]


class SampleImages:
    """What `images.load_sample` returns, with each page of a run of rows decoded once.

    Thread-safe: a thread that wants a page which another decodes waits for it.
    """

    def __init__(self, image_root: Path) -> None:
        """Read images below `image_root`."""
        self.image_root = image_root
        self._pages: dict[tuple[str, int, int], Future[Image.Image]] = {}
        self._lock = threading.Lock()

    def __call__(self, sample: Sample) -> Image.Image:
        """Return the RGB pixels of `sample`; raises what `load_sample` raises."""
        if sample.box is None:
            return load_sample(sample, self.image_root)
        key = (sample.image, sample.frame, sample.max_pixels)
        with self._lock:
            page = self._pages.get(key)
            decode = page is None
            if page is None:
                page = self._pages[key] = Future()
                while len(self._pages) > PAGES:
                    self._pages.pop(next(iter(self._pages)))
        if decode:
            try:
                page.set_result(load_page(sample, self.image_root))
            except BaseException as error:
                page.set_exception(error)
        return cut_sample(page.result(), sample)
