"""Boxes from the shapes that annotation formats use."""

from collections.abc import Sequence

from manifold_ocr.records import Box


def bounding_box(points: Sequence[float]) -> Box:
    """Return (x0, y0, x1, y1) around a flat polygon x1, y1, x2, y2, ...

    Raises:
        ValueError: fewer than two points or an odd count.
    """
    if len(points) < 4 or len(points) % 2:
        raise ValueError(f"a polygon needs pairs x, y, not {len(points)} numbers")
    xs, ys = points[0::2], points[1::2]
    return (min(xs), min(ys), max(xs), max(ys))


def area(box: Box) -> float:
    """Return the area of a box in square pixels (0 for an empty one)."""
    return max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])


def fit_box(box: Box, size: tuple[int, int], tolerance: float) -> Box | None:
    """Clip a box that leaves a (width, height) page by at most `tolerance` pixels a side.

    Returns None where it leaves the page further, or holds no pixel after clipping.
    """
    width, height = size
    x0, y0, x1, y1 = box
    outside = max(-x0, -y0, x1 - width, y1 - height)
    if outside > 0:
        if outside > tolerance:
            return None
        x0, y0, x1, y1 = max(0.0, x0), max(0.0, y0), min(width, x1), min(height, y1)
    return (x0, y0, x1, y1) if x1 - x0 >= 1 and y1 - y0 >= 1 else None
