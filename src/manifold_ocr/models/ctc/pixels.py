"""Lines as 8-bit pixels 48 high: decoded once, each page once, and kept in memory."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from manifold_ocr.images import cut_sample, load_page, load_sample
from manifold_ocr.models.ctc.decode import HEIGHT, line_width
from manifold_ocr.models.ctc.model import ordered_map
from manifold_ocr.models.device import on_gpu
from manifold_ocr.models.prefetch import batches_from_processes
from manifold_ocr.records import Sample

LARGEST = 8 << 30  # bytes that are kept; lines beyond are decoded when they are used
PAGES = 4  # that a worker hands over together


def byte_pixels(image: Image.Image, width: int = 0) -> np.ndarray:
    """Return uint8 (48, W, 3), channels red, green, blue; W is `width` or the line's own."""
    size = (width or line_width(image.size), HEIGHT)
    resized = image.convert("RGB").resize(size, Image.Resampling.BILINEAR)
    pixels: np.ndarray = np.array(resized, dtype=np.uint8)
    return pixels


def float_pixels(lines: Tensor) -> Tensor:
    """Return float32 (N, 3, 48, W) in [-1, 1], blue first, of uint8 (N, 48, W, 3), red first.

    The same values as `decode.line_pixels`, with the channels last in memory.
    """
    return lines.flip(-1).permute(0, 3, 1, 2).to(torch.float32) / 127.5 - 1


@dataclass
class LinePixels:
    """The pixels of samples below `image_root`, by id; `workers` processes decode them first."""

    image_root: Path
    workers: int = 0
    largest: int = LARGEST
    widths: dict[str, int] = field(default_factory=dict)
    _kept: dict[str, np.ndarray] = field(default_factory=dict)
    _bytes: int = 0

    def add(self, samples: Sequence[Sample]) -> Iterator[None]:
        """Decode the samples that are not known; yields once for each."""
        pages: dict[Any, list[Sample]] = defaultdict(list)
        for sample in samples:
            if sample.id not in self.widths:
                self.widths[sample.id] = 0
                pages[(sample.image, sample.frame, sample.max_pixels)].append(sample)
        for same, lines in zip(pages.values(), self._decoded(list(pages.values())), strict=True):
            for sample, pixels in zip(same, lines, strict=True):
                self.widths[sample.id] = pixels.shape[1]
                if self._bytes + pixels.nbytes <= self.largest:
                    self._kept[sample.id] = pixels
                    self._bytes += pixels.nbytes
                yield

    def _decoded(self, pages: list[list[Sample]]) -> Iterator[list[np.ndarray]]:
        cut = partial(lines_of_page, self.image_root)
        if not (self.workers and on_gpu()):
            return ordered_map(cut, pages)
        found = batches_from_processes(pages, cut, PAGES, list, self.workers)
        return (page for batch in found for page in batch)

    def __getitem__(self, sample: Sample) -> np.ndarray:
        """Return uint8 (48, W, 3) at the line's own width."""
        known = self._kept.get(sample.id)
        return byte_pixels(load_sample(sample, self.image_root)) if known is None else known


def lines_of_page(image_root: Path, samples: Sequence[Sample]) -> list[np.ndarray]:
    """Return the pixels of lines of one image, which is opened once."""
    page = load_page(samples[0], image_root)
    return [byte_pixels(cut_sample(page, sample)) for sample in samples]
