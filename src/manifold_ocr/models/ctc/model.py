"""The `ctc` family: convolutional line recognizers read greedily (PP-OCRv6).

Reading through onnxruntime imports no torch: that alone takes longer than a hundred lines.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image

from manifold_ocr.code_hash import code_fingerprint
from manifold_ocr.config import ModelConfig, Spaces
from manifold_ocr.files import sha256_json
from manifold_ocr.models.base import ImageSource, Recognition, opened
from manifold_ocr.models.ctc.decode import decode_frames, frame_count, line_pixels
from manifold_ocr.models.ctc.features import (
    FeatureCache,
    SampleImages,
    SampleKeys,
    round_features,
)
from manifold_ocr.models.ctc.speller import CANDIDATES, Speller, load_speller
from manifold_ocr.models.ctc.vocabulary import character_list
from manifold_ocr.records import Sample
from manifold_ocr.resources import gpu_present

Item = TypeVar("Item")
Result = TypeVar("Result")
Backbone = Callable[[np.ndarray], np.ndarray]
Head = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
Candidates = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


class CtcModel:
    """A line recognizer in two parts: frozen `backbone`, and `head` that an adapter changes.

    A line wider than 3,200 pixels at 48 pixels of height is squeezed to that width.
    """

    family = "ctc"

    def __init__(
        self,
        name: str,
        backbone: Backbone,
        head: Head,
        characters: list[str],
        fingerprint: str,
        *,
        gap_spaces: bool = False,
        candidates: Candidates | None = None,
        speller: Speller | None = None,
    ) -> None:
        """`fingerprint` identifies the backbone's weights: features are cached under it.

        `gap_spaces` puts spaces at wide gaps (see `decode.wide_gaps`). With a `speller` and the
        head's `candidates` a text is the one that both find most probable together.
        """
        self.name = name
        self.backbone = backbone
        self.head = head
        self.characters = characters
        self.gap_spaces = gap_spaces
        self.candidates = candidates
        self.speller = speller
        self.threads = 0  # lines read at once; 0: see worker_count
        self.features_fingerprint = features_fingerprint(fingerprint)

    def recognize(
        self, images: Iterable[ImageSource], prompts: Sequence[str] | None = None
    ) -> Iterator[Recognition]:
        """Yield the text of each line image, in order; prompts are ignored."""
        yield from ordered_map(
            lambda image: self.read(self.features(opened(image))), images, self.threads
        )

    def recognize_samples(
        self, samples: Iterable[Sample], image_root: Path
    ) -> Iterator[Recognition]:
        """Yield the text of each sample, in order; features come from the cache where known."""
        with self.open_cache() as cache:
            one = self._sample_features(image_root, cache)
            yield from ordered_map(lambda sample: self.read(one(sample)), samples, self.threads)

    def sample_candidates(
        self, samples: Iterable[Sample], image_root: Path
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield the most probable classes of each sample's frames and their probabilities."""
        assert self.candidates is not None
        found = self.candidates
        with self.open_cache() as cache:
            one = self._sample_features(image_root, cache)
            yield from ordered_map(lambda sample: found(one(sample)), samples, self.threads)

    def cache_samples(
        self, samples: Iterable[Sample], image_root: Path, cache: FeatureCache
    ) -> Iterator[str]:
        """Yield the cache key of each sample, in order, once its features are in `cache`."""
        keys = SampleKeys(image_root)
        one = self._sample_features(image_root, cache)

        def known(sample: Sample) -> str:
            if (key := keys(sample)) not in cache:
                one(sample)
            return key

        yield from ordered_map(known, samples, self.threads)

    def _sample_features(
        self, image_root: Path, cache: FeatureCache
    ) -> Callable[[Sample], np.ndarray]:
        keys, images = SampleKeys(image_root), SampleImages(image_root)

        def one(sample: Sample) -> np.ndarray:
            key = keys(sample)
            found = cache.get(key)
            if found is None:
                found = self.features(images(sample))
                cache.put(key, found)
            return found

        return one

    def open_cache(self) -> FeatureCache:
        """Return the feature cache of this backbone and preprocessing."""
        channels = self.features(Image.new("RGB", (16, 48))).shape[0]
        return FeatureCache(self.features_fingerprint, channels)

    def features(self, image: Image.Image) -> np.ndarray:
        """Return the frozen features (C, T) of a line image, rounded as the cache keeps them."""
        return round_features(self.backbone(line_pixels(image)))

    def read(self, features: np.ndarray) -> Recognition:
        """Return the text of a line from its features (C, T)."""
        if self.speller is not None and self.candidates is not None and not self.gap_spaces:
            return self._spelled(*self.candidates(features))
        best, probability = self.head(features)
        found = decode_frames(best, probability, self.characters, gap_spaces=self.gap_spaces)
        if self.gap_spaces:
            return found
        spaced = decode_frames(best, probability, self.characters, gap_spaces=True)
        return replace(found, gap_text=spaced.text)

    def _spelled(self, classes: np.ndarray, probabilities: np.ndarray) -> Recognition:
        """Return the speller's text; confidence stays that of the frames alone."""
        assert self.speller is not None
        found = decode_frames(classes[:, 0], probabilities[:, 0], self.characters)
        text = self.speller(found.text, classes, probabilities, self.characters)
        return found if text == found.text else replace(found, text=text)

    def vision_tokens(self, size: tuple[int, int]) -> int:
        """Return the CTC frames of an image of (width, height)."""
        return frame_count(size)


def features_fingerprint(backbone: str) -> str:
    """Return what decides a cached feature: weights, preprocessing code and its libraries."""
    code = code_fingerprint(
        ["manifold_ocr.models.ctc.decode", "manifold_ocr.images"],
        without=["manifold_ocr.records", "manifold_ocr.files", "manifold_ocr.models.base"],
    )
    libraries = {name: version(name) for name in ("onnxruntime", "pillow")}
    return sha256_json({"backbone": backbone, "code": code, "libraries": libraries})


def load(
    config: ModelConfig,
    base: Path,
    adapter: Path | None,
    device: str | None,
    spaces: Spaces = "model",
    *,
    searching: bool = False,
) -> CtcModel:
    """Load a CTC recognizer; through onnxruntime where the checkpoint carries its graphs.

    `spaces` is `decode.spaces` of params.yaml; `searching` gives the model its head's
    `candidates`, whether or not the adapter keeps a speller that needs them.

    Raises:
        UserError: files are missing, or the adapter does not fit the base model.
    """
    from manifold_ocr.models.ctc import onnx
    from manifold_ocr.models.ctc.onnx_weights import has_onnx

    characters = character_list(base, adapter)
    name = adapter.name if adapter else config.id
    gaps = spaces == "gap" or (spaces == "auto" and adapter is None)
    speller = load_speller(adapter or base)  # a merged checkpoint has its own
    exact = config.precision == "fp32" or not gpu_present()  # a CPU trains in bf16, not more
    fast = has_onnx(base) and exact and device in (None, "cpu")
    if fast:
        backbone = onnx.OnnxBackbone(base, adapter)
        head = onnx.OnnxHead(base, adapter)
        found: Candidates | None = None
        if searching or speller:
            found = onnx.OnnxCandidates(base, adapter, min(CANDIDATES, len(characters)))
        return CtcModel(
            name, backbone, head, characters, backbone.fingerprint,
            gap_spaces=gaps, candidates=found, speller=speller,
        )  # fmt: skip

    from manifold_ocr.models.ctc.torch_parts import load_torch

    parts = load_torch(config, base, adapter, device)
    return CtcModel(
        name, parts.backbone, parts.head, characters, parts.fingerprint,
        gap_spaces=gaps, speller=speller,
        candidates=lambda features: parts.candidates(features, min(CANDIDATES, len(characters))),
    )  # fmt: skip


def worker_count() -> int:
    """Return how many lines run at once: the cores this process may use."""
    allowed = len(os.sched_getaffinity(0))
    limit = os.environ.get("OMP_NUM_THREADS", "")
    return max(1, min(allowed, int(limit))) if limit.isdigit() else allowed


def ordered_map(
    function: Callable[[Item], Result], items: Iterable[Item], threads: int = 0
) -> Iterator[Result]:
    """Yield `function(item)` in order, on a few threads, holding a bounded number of items."""
    workers = threads or worker_count()
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) >= 4 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
