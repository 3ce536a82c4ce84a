"""Integer arithmetic on grey images: equal bytes on every x86-64 processor.

numpy's floating-point exp, log and pow differ between vector units, and so do its normal
deviates; everything here is integers, or Pillow's own compiled code, which has one path.
"""

import hashlib

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Grey = NDArray[np.uint8]
Signed = NDArray[np.int16]


def generator(*parts: object) -> np.random.Generator:
    """Return a generator seeded by the SHA-256 of the parts' text, joined by `:`."""
    digest = hashlib.sha256(":".join(map(str, parts)).encode("utf-8")).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16], "big")))


def chance(rng: np.random.Generator, probability: float) -> bool:
    """Return True with `probability` (resolved to one in a million)."""
    return int(rng.integers(1_000_000)) < round(probability * 1_000_000)


def between(rng: np.random.Generator, low: int, high: int) -> int:
    """Return an integer of [low, high], both included; `low` where the range is empty."""
    return int(rng.integers(low, high + 1)) if high > low else low


def to_array(image: Image.Image) -> Grey:
    """Return the pixels of a grey copy of `image`: (height, width) uint8."""
    return np.array(image if image.mode == "L" else image.convert("L"), dtype=np.uint8)


def to_image(values: NDArray[np.generic]) -> Image.Image:
    """Clip to 0..255 and return a grey image."""
    return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8), mode=None)


def bell_noise(rng: np.random.Generator, shape: tuple[int, int], deviation: int) -> Signed:
    """Return a bell-shaped noise field of the given standard deviation in grey levels.

    The sum of four uniform bytes has mean 510 and standard deviation 148.
    """
    raw = rng.integers(0, 256, size=(4, *shape), dtype=np.uint8)
    total = raw.sum(axis=0, dtype=np.int32) - 510
    scaled: Signed = (total * deviation // 148).astype(np.int16)
    return scaled


def smooth_field(rng: np.random.Generator, shape: tuple[int, int], cell: int) -> Grey:
    """Return random values 0..255 that vary smoothly over about `cell` pixels."""
    height, width = shape
    rows, columns = max(2, height // cell + 2), max(2, width // cell + 2)
    coarse = rng.integers(0, 256, size=(rows, columns), dtype=np.uint8)
    return to_array(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def blend(first: Grey, second: Grey, weight: int) -> Grey:
    """Return `first` with `weight`/256 of `second` mixed in."""
    mixed = first.astype(np.int32) * (256 - weight) + second.astype(np.int32) * weight
    return ((mixed + 128) >> 8).astype(np.uint8)


def paper_level(values: Grey) -> int:
    """Return the grey level of the background: the 85th percentile, without interpolation."""
    counts = np.bincount(values.ravel(), minlength=256)
    return int(np.searchsorted(np.cumsum(counts), values.size * 85 // 100))
