"""Structural signatures: the bit statistics of sliding byte windows, quantized.

A window of N bits (most significant bit first) with k ones and t changes between
neighboring bits has entropy h = H2(k/N) (binary Shannon entropy, in bits), coherence 1-h,
rupture rate r = t/(N-1), stability 1-r and hazard r. Its signature is the coherence,
stability and entropy rounded to `precision` decimals (half to even); windows that share a
signature are indistinguishable to whoever holds signatures only. A signature is a function
of k and t alone, which is why the fast kernel needs two sums per window and no loop.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from manifold_ocr.config import CompressConfig

Codes = NDArray[np.uint64]
Counts = NDArray[np.int64]

WORD = 8  # bytes that the fast kernel handles at once
SLAB = 1 << 18  # bytes a pass: small enough for the second-level cache


COUNT_BYTES = 4  # repetition count stored with each signature
MAX_PRECISION = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Codec:
    """Window and stride in bytes, and the decimals that a signature keeps of each metric."""

    window: int = 512
    stride: int = 384
    precision: int = 3

    def __post_init__(self) -> None:
        if self.window < 1:
            raise ValueError(f"window must be 1 byte or more, not {self.window}")
        if not 1 <= self.stride <= self.window:
            raise ValueError(f"stride must be 1 to window ({self.window}), not {self.stride}")
        if not 0 <= self.precision <= MAX_PRECISION:
            raise ValueError(f"precision must be 0 to {MAX_PRECISION}, not {self.precision}")

    @classmethod
    def of(cls, config: CompressConfig) -> "Codec":
        """Return the codec that section `compress` asks for."""
        return cls(window=config.window, stride=config.stride, precision=config.precision)

    @property
    def field_bits(self) -> int:
        """Bits that hold one quantized metric: ceil(log2(10^precision + 1))."""
        return math.ceil(math.log2(10**self.precision + 1))

    @property
    def metric_bytes(self) -> int:
        """Bytes that hold the four quantized metrics of a signature."""
        return math.ceil(4 * self.field_bits / 8)

    @property
    def payload_bytes(self) -> int:
        """Bytes of one stored signature: four metrics and a repetition count (9 at 3 decimals)."""
        return self.metric_bytes + COUNT_BYTES


@dataclass(frozen=True, slots=True)
class WindowMetrics:
    """The five statistics of one window, each in [0, 1]; hazard is the rupture rate."""

    coherence: float
    stability: float
    entropy: float
    rupture: float

    @property
    def hazard(self) -> float:
        """The share of neighboring bits that differ."""
        return self.rupture


@dataclass(frozen=True, slots=True)
class Windows:
    """The signatures of consecutive windows: arrays of equal length.

    `codes` are packed signatures (see `pack_code`), `flips` the bit changes of each window,
    `bits` the number of bits N of every window.
    """

    codes: Codes
    flips: Counts
    bits: int

    @property
    def hazards(self) -> NDArray[np.float64]:
        """Hazard of each window."""
        return self.flips / max(1, self.bits - 1)


def metrics_of_counts(bits: int, ones: int, flips: int) -> WindowMetrics:
    """Return the statistics of a window of `bits` bits with `ones` ones and `flips` changes."""
    if bits == 0:
        return WindowMetrics(0.0, 0.0, 0.0, 0.0)
    entropy = 0.0
    for share in (ones / bits, (bits - ones) / bits):
        if share > 0.0:
            entropy -= share * math.log2(share)
    entropy = min(1.0, entropy)
    rupture = flips / (bits - 1) if bits > 1 else 0.0
    return WindowMetrics(1.0 - entropy, 1.0 - rupture, entropy, rupture)


def quantize(value: float, precision: int) -> int:
    """Return `value`, clamped to [0, 1], as an integer count of 10^-precision, half to even."""
    scaled: float = min(1.0, max(0.0, value)) * 10**precision
    return round(scaled)


def pack_code(metrics: WindowMetrics, config: Codec) -> int:
    """Return the signature as one integer: coherence, stability and entropy side by side."""
    width, precision = config.field_bits, config.precision
    code = quantize(metrics.coherence, precision)
    code = code << width | quantize(metrics.stability, precision)
    return code << width | quantize(metrics.entropy, precision)


def unpack_code(code: int, config: Codec) -> tuple[int, int, int]:
    """Return (coherence, stability, entropy) of a packed signature in units of 10^-precision."""
    width = config.field_bits
    mask = (1 << width) - 1
    return code >> 2 * width, code >> width & mask, code & mask


def window_starts(length: int, config: Codec) -> list[int]:
    """Return the byte offsets of the windows of a text of `length` bytes.

    No window for an empty text, one for a text of at most a window, else every stride and,
    where the last of them does not end with the text, one more that does.
    """
    if length <= 0:
        return []
    last = max(0, length - config.window)
    starts = list(range(0, last + 1, config.stride))
    return starts if starts[-1] == last else [*starts, last]


def encode(data: bytes | memoryview, config: Codec) -> Windows:
    """Return the signatures of all windows of `data` (fast kernel)."""
    length = len(data)
    size = min(length, config.window)
    if length == 0:
        return Windows(np.zeros(0, np.uint64), np.zeros(0, np.int64), 0)
    array = np.frombuffer(data, dtype=np.uint8)
    regular = (length - size) // config.stride + 1
    ones, flips = _count_regular(array, size, config.stride, regular)
    if (length - size) % config.stride:
        tail_ones, tail_flips = _count_regular(array[length - size :], size, config.stride, 1)
        ones, flips = np.append(ones, tail_ones), np.append(flips, tail_flips)
    return Windows(_codes(8 * size, ones, flips, config), flips, 8 * size)


def _count_regular(
    array: NDArray[np.uint8], size: int, stride: int, count: int
) -> tuple[Counts, Counts]:
    """Return ones and bit changes of `count` windows of `size` bytes, `stride` bytes apart.

    Sums are taken once over blocks of gcd(size, stride) bytes; a window then costs two
    differences of running totals, whatever its size. A change is counted in the block of
    the later bit, so the change into a window's first bit is taken off again.
    """
    block = math.gcd(size, stride) if count > 1 else size
    blocks = (size + (count - 1) * stride) // block
    ones, flips = _block_sums(array, block, blocks)
    first = np.arange(count, dtype=np.int64) * (stride // block if count > 1 else 0)
    last = first + size // block
    starts = first * block
    before = array[np.maximum(starts - 1, 0)]
    into_first = ((before & 1) != (array[starts] >> 7)) & (starts > 0)
    return ones[last] - ones[first], flips[last] - flips[first] - into_first


def _block_sums(array: NDArray[np.uint8], block: int, blocks: int) -> tuple[Counts, Counts]:
    """Return running totals (length blocks + 1) of ones and bit changes over blocks."""
    per_pass = max(1, SLAB // block)
    ones, flips = np.zeros(blocks + 1, np.int64), np.zeros(blocks + 1, np.int64)
    bulk = _word_counts if block % WORD == 0 else _byte_counts
    for first in range(0, blocks, per_pass):
        last = min(blocks, first + per_pass)
        slab = array[first * block : last * block]
        previous = int(array[first * block - 1]) & 1 if first else int(slab[0]) >> 7
        one, flip = bulk(slab, previous)
        width = len(one) // (last - first)
        np.sum(one.reshape(-1, width), axis=1, dtype=np.int64, out=ones[first + 1 : last + 1])
        np.sum(flip.reshape(-1, width), axis=1, dtype=np.int64, out=flips[first + 1 : last + 1])
    return np.cumsum(ones), np.cumsum(flips)


def _word_counts(
    slab: NDArray[np.uint8], previous: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return ones and bit changes of each 8-byte word; `previous` is the bit before the slab."""
    words = np.ascontiguousarray(slab).view(np.dtype(np.uint64).newbyteorder(">"))
    words = words.astype(np.uint64)
    shifted = words >> np.uint64(1)
    shifted[1:] |= words[:-1] << np.uint64(63)
    shifted[0] |= np.uint64(previous << 63)
    shifted ^= words
    return np.bitwise_count(words), np.bitwise_count(shifted)


def _byte_counts(
    slab: NDArray[np.uint8], previous: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return ones and bit changes of each byte, for window sizes that no word divides."""
    shifted = slab >> 1
    shifted[1:] |= (slab[:-1] & 1) << 7
    shifted[0] |= previous << 7
    shifted ^= slab
    return np.bitwise_count(slab), np.bitwise_count(shifted)


def _codes(bits: int, ones: Counts, flips: Counts, config: Codec) -> Codes:
    by_ones, by_flips = _tables(bits, config.precision)
    return by_ones[ones] | by_flips[flips]


@lru_cache(maxsize=64)
def _tables(bits: int, precision: int) -> tuple[Codes, Codes]:
    """Return the packed coherence and entropy for every k, and the packed stability for every t.

    The logarithm is Python's and the rest is exact to the last bit in any IEEE arithmetic, so that
    a lookup equals the definition (`pack_code` of `metrics_of_counts`).
    """
    width = np.uint64(Codec(precision=precision).field_bits)
    if bits == 0:
        return np.zeros(1, np.uint64), np.zeros(1, np.uint64)
    shares = (np.arange(bits + 1) / bits).tolist()
    terms = np.array([0.0, *(share * math.log2(share) for share in shares[1:])])
    entropy = np.minimum(1.0, 0.0 - terms - terms[::-1])
    coherence = _quantized(1.0 - entropy, precision)
    rupture = np.arange(bits) / max(1, bits - 1)
    stability = _quantized(1.0 - rupture, precision)
    return coherence << 2 * width | _quantized(entropy, precision), stability << width


def _quantized(values: NDArray[np.float64], precision: int) -> Codes:
    """Return what `quantize` does to each value."""
    steps: Codes = np.rint(np.clip(values, 0.0, 1.0) * 10**precision).astype(np.uint64)
    return steps
