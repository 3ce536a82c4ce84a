"""The manifold of a document: each signature with its count, hazard and first raw span."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from manifold_ocr.compression import lossless
from manifold_ocr.compression.signatures import Windows, encode, encode_stream, window_starts
from manifold_ocr.config import CodecConfig


@dataclass(frozen=True, slots=True)
class Entry:
    """A signature of one document.

    `count` windows have it; `flips` is the sum of their bit changes, which fixes the mean
    hazard exactly; `span` is the raw bytes of the first of them (the prototype).
    """

    code: int
    count: int
    flips: int
    span: bytes

    @property
    def hazard(self) -> float:
        """Mean hazard of the windows: bit changes over neighbouring bit pairs."""
        return self.flips / (self.count * max(1, 8 * len(self.span) - 1))


@dataclass(frozen=True, slots=True)
class Document:
    """The manifold of one text of `length` bytes.

    `entries` stand in the order of first appearance; `order` names the entry of each window,
    or is None for a summary that cannot be decoded. `packed` is the text itself in a lossless
    container, where the archive keeps it: then `rebuild` is exact.
    """

    id: str
    length: int
    entries: tuple[Entry, ...]
    order: tuple[int, ...] | None
    packed: bytes | None = None

    @property
    def windows(self) -> int:
        """Number of windows."""
        return sum(entry.count for entry in self.entries)

    @property
    def codes(self) -> frozenset[int]:
        """The set of signatures."""
        return frozenset(entry.code for entry in self.entries)


@dataclass(frozen=True, slots=True)
class Manifold:
    """Documents encoded with one configuration: the content of a manifold.bin."""

    config: CodecConfig
    documents: tuple[Document, ...]


def build_document(
    name: str, data: bytes, config: CodecConfig, *, keep: lossless.Effort | None = None
) -> Document:
    """Return the decodable manifold of one text; `keep` stores the text with that effort."""
    windows = encode(data, config)
    starts = window_starts(len(data), config)
    size = min(len(data), config.window)
    places: dict[int, int] = {}
    order = [places.setdefault(code, len(places)) for code in windows.codes.tolist()]
    counts, flips, spans = [0] * len(places), [0] * len(places), [b""] * len(places)
    for start, place, flip in zip(starts, order, windows.flips.tolist(), strict=True):
        if not counts[place]:
            spans[place] = data[start : start + size]
        counts[place] += 1
        flips[place] += flip
    entries = (Entry(*row) for row in zip(places, counts, flips, spans, strict=True))
    packed = None if keep is None else lossless.compress(data, effort=keep)
    return Document(name, len(data), tuple(entries), tuple(order), packed)


def build(
    documents: Iterable[tuple[str, bytes]],
    config: CodecConfig,
    *,
    keep: lossless.Effort | None = None,
) -> Manifold:
    """Return the manifold of (id, bytes) pairs, in the order given."""
    built = (build_document(name, data, config, keep=keep) for name, data in documents)
    return Manifold(config, tuple(built))


def summarise_stream(name: str, stream: BinaryIO, config: CodecConfig) -> Document:
    """Return the manifold of a text of any length without its window order.

    Memory holds one piece of the stream and one span per distinct signature.
    """
    counted = _CountedStream(stream)
    counts: dict[int, int] = {}
    flips: dict[int, int] = {}
    spans: dict[int, bytes] = {}
    for windows, view in encode_stream(counted, config):  # type: ignore[arg-type]
        codes, first, number, sums = _totals(windows)
        for place in np.argsort(first).tolist():
            code = int(codes[place])
            if code not in counts:
                start = int(first[place]) * config.stride
                counts[code], flips[code] = 0, 0
                spans[code] = bytes(view[start : start + windows.bits // 8])
            counts[code] += int(number[place])
            flips[code] += int(sums[place])
    entries = tuple(Entry(code, counts[code], flips[code], spans[code]) for code in counts)
    return Document(name, counted.length, entries, None)


def rebuild(document: Document, config: CodecConfig) -> bytes:
    """Return the text: exactly where it is kept, else what the prototypes give.

    Each window contributes the bytes of its prototype beyond those already written, which is
    right where no two windows share a signature.

    Raises:
        ValueError: the document is a summary without window order.
    """
    if document.packed is not None:
        return lossless.decompress(document.packed, name=document.id)
    if document.order is None:
        raise ValueError(f"{document.id}: a summary without window order cannot be rebuilt")
    text = bytearray()
    starts = window_starts(document.length, config)
    for start, place in zip(starts, document.order, strict=True):
        text += document.entries[place].span[len(text) - start :]
    return bytes(text)


def _totals(
    windows: Windows,
) -> tuple[NDArray[np.uint64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return distinct codes, the place of the first, how many, and their summed bit changes."""
    codes, first, inverse, number = np.unique(
        windows.codes, return_index=True, return_inverse=True, return_counts=True
    )
    sums = np.bincount(inverse, weights=windows.flips, minlength=len(codes))
    return codes, first, number, sums.astype(np.int64)


class _CountedStream:
    """A stream that knows how many bytes were read from it."""

    def __init__(self, stream: BinaryIO) -> None:
        self.stream, self.length = stream, 0

    def read(self, size: int = -1) -> bytes:
        piece = self.stream.read(size)
        self.length += len(piece)
        return piece
