"""Speed of the structural codec and of verification, and memory when streaming.

    OMP_NUM_THREADS=1 python benchmarks/codec_speed.py --stream-gb 5

Prints windows/s on one core beside the plain Python loop and beside zstd (levels 3 and 19) on
the same text, the time to verify 1,000,000 windows against 10,000 documents, and the peak
memory while a generated stream of --stream-gb GB is summarised (no file is written).
"""

import argparse
import io
import random
import resource
import time
from collections.abc import Callable

import numpy as np
import zstandard

from manifold_ocr.compression.index import SignatureIndex
from manifold_ocr.compression.manifold import build_document, summarise_stream
from manifold_ocr.compression.signatures import (
    CodecConfig,
    encode,
    measure,
    pack_code,
    window_starts,
)

WORDS = [f"{a}{b}" for a in ("der", "in", "of", "to", "the", "and") for b in ("", "s", "ing")]


def text_of(size: int, seed: int) -> bytes:
    """Return about `size` bytes of space-separated words and numbers."""
    rng = random.Random(seed)
    piece = " ".join(rng.choice(WORDS) + str(rng.randrange(1000)) for _ in range(50_000)).encode()
    return (piece * (size // len(piece) + 1))[:size]


def best(run: Callable[[], object], repeats: int = 3) -> float:
    """Return the shortest of some runs, in seconds."""
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        run()
        times.append(time.perf_counter() - begin)
    return min(times)


class GeneratedStream(io.RawIOBase):
    """A readable stream of `size` bytes made from one block, rotated so that windows differ."""

    def __init__(self, size: int, block: bytes) -> None:
        self.left, self.block, self.turn = size, block, 0

    def read(self, size: int = -1) -> bytes:
        """Return the next piece."""
        size = min(size, self.left, len(self.block))
        self.left -= size
        self.turn = (self.turn + 7919) % len(self.block)
        return (self.block[self.turn :] + self.block[: self.turn])[:size]


def by_loop(data: bytes, config: CodecConfig) -> list[int]:
    """Encode one window after the other, bit by bit."""
    starts = window_starts(len(data), config)
    return [pack_code(measure(data[s : s + config.window]), config) for s in starts]


def encoding(config: CodecConfig) -> None:
    """Print encoding rates."""
    data = text_of(200_000_000, 1)
    windows = len(encode(data, config).codes)
    seconds = best(lambda: encode(data, config))
    sample = data[:400_000]
    loop = len(window_starts(len(sample), config)) / best(lambda: by_loop(sample, config), 1)
    rate = windows / seconds
    print(f"encode: {rate:,.0f} windows/s, {len(data) / seconds / 1e6:,.0f} MB/s of text, one core")
    print(f"  plain Python loop: {loop:,.0f} windows/s; ours is {rate / loop:,.0f} times as fast")
    for level, size in ((3, 50_000_000), (19, 2_000_000)):
        encoder = zstandard.ZstdCompressor(level=level)
        zstd = size / best(lambda e=encoder, n=size: e.compress(data[:n]), 1) / 1e6
        print(
            f"  zstd -{level}: {zstd:,.0f} MB/s; ours is {len(data) / seconds / 1e6 / zstd:,.1f} "
            "times as fast (and keeps no text: zstd does more)"
        )


def verification(config: CodecConfig, windows: int, documents: int, tolerance: int) -> None:
    """Print the time to compare many windows with many documents."""
    rng = random.Random(2)
    base = text_of(4_000_000, 3)
    places = [rng.randrange(len(base) - 4000) for _ in range(documents)]
    archive = [
        build_document(str(i), base[place : place + 3000], config) for i, place in enumerate(places)
    ]
    begin = time.perf_counter()
    index = SignatureIndex(archive, config, percentile=100, tolerance=tolerance)
    indexed = time.perf_counter() - begin
    query = text_of(config.stride * (windows - 1) + config.window, 4)
    encoded = encode(query, config)
    whole = best(lambda: index.scores(encode(query, config)))
    lookup = best(lambda: index.scores(encoded))
    scores = index.scores(encoded)
    print(
        f"verify (tolerance {tolerance}): {len(encoded.codes):,} windows against "
        f"{documents:,} documents in {whole:.2f} s, of which {lookup:.2f} s look-up and the "
        f"rest encoding (index built once in {indexed:.2f} s; mean share "
        f"{np.mean(scores.shares):.2f})"
    )


def streaming(config: CodecConfig, gigabytes: float) -> None:
    """Print rate and memory while a long stream is summarised."""
    block = random.Random(5).randbytes(1 << 20) + text_of(7 << 20, 6)
    size = int(gigabytes * 1e9)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begin = time.perf_counter()
    document = summarise_stream("stream", GeneratedStream(size, block), config)
    seconds = time.perf_counter() - begin
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(
        f"stream: {size / 1e9:g} GB, {document.windows:,} windows, "
        f"{len(document.entries):,} signatures in {seconds:.1f} s ({size / seconds / 1e6:,.0f} "
        f"MB/s, generating included); peak memory {before / 1024:,.0f} MiB before, "
        f"{after / 1024:,.0f} MiB after"
    )


def main() -> None:
    """Run the three measurements; streaming first, so that its peak memory is its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stream-gb", type=float, default=1.0)
    parser.add_argument("--windows", type=int, default=1_000_000)
    parser.add_argument("--documents", type=int, default=10_000)
    options = parser.parse_args()
    config = CodecConfig()
    streaming(config, options.stream_gb)
    encoding(config)
    for tolerance in (0, 8):
        verification(config, options.windows, options.documents, tolerance)


if __name__ == "__main__":
    main()
