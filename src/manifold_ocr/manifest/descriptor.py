"""A page's look in 1,024 bits: near for copies of one scan, far for other pages.

A difference hash (Krawetz, 2013; as in the ImageHash library) on a 33 x 32 grid. The grid
is averaged in integers by Pillow's box filter, so that equal pixels give equal bits on
every machine.
"""

import numpy as np
from PIL import Image

GRID = 32
BYTES = GRID * GRID // 8


def page_descriptor(image: Image.Image) -> bytes:
    """Return the 128-byte descriptor of an RGB or grey image."""
    small = image.convert("L").resize((GRID + 1, GRID), Image.Resampling.BOX)
    grid = np.asarray(small, dtype=np.int16)
    return np.packbits(grid[:, 1:] > grid[:, :-1]).tobytes()


def distances(query: bytes, index: np.ndarray) -> np.ndarray:
    """Return the Hamming distance of one descriptor to each row of `index` (n x 16 uint64)."""
    bits = np.bitwise_count(index ^ np.frombuffer(query, dtype=np.uint64))
    total: np.ndarray = bits.sum(axis=1, dtype=np.int64)
    return total
