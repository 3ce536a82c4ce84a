"""The definition of a signature, bit by bit, and its text form: what the fast kernel equals."""

import itertools

from manifold_ocr.compression.signatures import Codec, WindowMetrics, metrics_of_counts, unpack_code


def measure(window: bytes) -> WindowMetrics:
    """Return the statistics of one window by the definition; an empty window gives zeros.

    This is the reference that the fast kernel must equal bit for bit.
    """
    bits = [byte >> (7 - i) & 1 for byte in window for i in range(8)]
    flips = sum(a != b for a, b in itertools.pairwise(bits))
    return metrics_of_counts(len(bits), sum(bits), flips)


def signature_text(code: int, config: Codec) -> str:
    """Return a packed signature as text, for example `c0.002_s0.462_e0.998`."""
    scale = 10**config.precision
    return "_".join(
        f"{name}{value / scale}"
        for name, value in zip("cse", unpack_code(code, config), strict=True)
    )
