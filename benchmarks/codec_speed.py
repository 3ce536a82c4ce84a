"""Speed of the structural codec and of verification.

    OMP_NUM_THREADS=1 python benchmarks/codec_speed.py

Prints windows/s on one core beside the plain Python loop and beside zstd (levels 3 and 19) on
the same text, and the time to verify 1,000,000 windows against 10,000 documents.
"""

import argparse
import itertools
import random
import time
from collections.abc import Callable

import numpy as np
import zstandard

from manifold_ocr.compression.archive import build_document
from manifold_ocr.compression.signatures import (
    Codec,
    encode,
    metrics_of_counts,
    pack_code,
    window_starts,
)
from manifold_ocr.compression.verify import SignatureIndex

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


def by_loop(data: bytes, config: Codec) -> list[int]:
    """Encode one window after the other, bit by bit."""
    starts = window_starts(len(data), config)
    codes = []
    for start in starts:
        bits = [
            byte >> (7 - i) & 1 for byte in data[start : start + config.window] for i in range(8)
        ]
        flips = sum(a != b for a, b in itertools.pairwise(bits))
        codes.append(pack_code(metrics_of_counts(len(bits), sum(bits), flips), config))
    return codes


def encoding(config: Codec) -> None:
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


def verification(config: Codec, windows: int, documents: int, tolerance: int) -> None:
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


def main() -> None:
    """Run both measurements."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--windows", type=int, default=1_000_000)
    parser.add_argument("--documents", type=int, default=10_000)
    options = parser.parse_args()
    config = Codec()
    encoding(config)
    for tolerance in (0, 8):
        verification(config, options.windows, options.documents, tolerance)


if __name__ == "__main__":
    main()
