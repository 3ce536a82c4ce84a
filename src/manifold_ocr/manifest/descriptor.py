"""A page's look in 1,024 bits: near for copies of one scan, far for other pages.

A difference hash (Krawetz, 2013; as in the ImageHash library) on a 33 x 32 grid, with a
dead zone so that blank paper gives no bits. Pillow averages in integers, so equal pixels
give equal bits on every machine. Measured by benchmarks/leakage.py: copies (JPEG, resize,
1-pixel crop) differ by at most 0.10, other pages of one template by at least 0.17.
"""

import numpy as np
from PIL import Image

GRID = 32
BYTES = GRID * GRID // 8
DEAD_ZONE = 2  # grey levels
PREFIX = 4  # words compared first: other pages mostly differ enough in these


def page_descriptor(image: Image.Image) -> bytes:
    """Return the 128-byte descriptor of an RGB or grey image."""
    small = image.convert("L").resize((GRID + 1, GRID), Image.Resampling.BILINEAR)
    grid = np.asarray(small, dtype=np.int16)
    return np.packbits(grid[:, 1:] - grid[:, :-1] > DEAD_ZONE).tobytes()


def _differing(rows: np.ndarray, descriptor: np.ndarray) -> np.ndarray:
    counts: np.ndarray = np.bitwise_count(rows ^ descriptor).sum(axis=1, dtype=np.uint16)
    return counts


class DescriptorIndex:
    """Descriptors of evaluation pages, searched exhaustively in order of their bit counts."""

    def __init__(self, descriptors: np.ndarray) -> None:
        self._bits = np.bitwise_count(descriptors).sum(axis=1, dtype=np.int64)
        self._order = np.argsort(self._bits, kind="stable")
        self._bits = self._bits[self._order]
        self._descriptors = np.ascontiguousarray(descriptors[self._order])
        self._prefixes = np.ascontiguousarray(self._descriptors[:, :PREFIX].T)

    def near(self, descriptor: np.ndarray, limit: float) -> list[tuple[float, int]]:
        """Return (distance, row) of index rows within `limit`, nearest first.

        The distance is the number of differing bits over the sum of both bit counts (1 -
        Dice coefficient), in [0, 1]; it cannot be small unless the counts are close.
        """
        own = int(np.bitwise_count(descriptor).sum())
        widest = (1 + limit) / (1 - limit)
        low = np.searchsorted(self._bits, own / widest, "left")
        high = np.searchsorted(self._bits, own * widest, "right")
        if not own or low == high:
            return []
        total = self._bits[low:high] + own
        first = np.bitwise_count(self._prefixes[:, low:high] ^ descriptor[:PREFIX, None])
        first = first.sum(axis=0, dtype=np.uint16)
        rows = low + np.flatnonzero(first <= limit * total)  # a part cannot differ in more
        differing = _differing(self._descriptors[rows], descriptor)
        distance = differing / (self._bits[rows] + own)
        hits = np.flatnonzero(distance <= limit)
        found = [(float(distance[i]), int(self._order[rows[i]])) for i in hits]
        return sorted(found)
