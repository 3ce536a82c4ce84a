"""Layout answers: a list of {label, box} as JSON, compared by overlap of equal labels."""

import json
from typing import Any

import numpy as np

from manifold_ocr.text import edit, stats

OVERLAP = 0.5
Regions = list[tuple[str, tuple[float, float, float, float]]]


def parse_regions(text: str) -> Regions | None:
    """Read regions [{label, box: [x0, y0, x1, y1]}, ...]; None if `text` is not such a list."""
    try:
        return [
            (str(item["label"]), tuple(map(float, item["box"])))  # type: ignore[misc]
            for item in json.loads(text)
            if len(item["box"]) == 4
        ]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


def region_f1(reference: Regions, prediction: Regions, overlap: float = OVERLAP) -> float:
    """F1 of regions matched one to one: same label and intersection over union >= `overlap`."""
    if not reference or not prediction:
        return edit.precision_recall_f1(0, len(reference), len(prediction))[2]
    from scipy.optimize import linear_sum_assignment

    fits = _iou(_boxes(reference), _boxes(prediction)) >= overlap
    labels = np.array([label for label, _ in reference])[:, None]
    fits &= labels == np.array([label for label, _ in prediction])[None, :]
    rows, columns = linear_sum_assignment(fits, maximize=True)
    matched = int(fits[rows, columns].sum())
    return edit.precision_recall_f1(matched, len(reference), len(prediction))[2]


def _boxes(regions: Regions) -> stats.Floats:
    return np.array([box for _, box in regions], dtype=np.float64)


def _iou(a: stats.Floats, b: stats.Floats) -> Any:
    """Intersection over union of every pair of boxes: (len(a), len(b))."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = np.prod(np.clip(high - low, 0, None), axis=2)
    area_a, area_b = (np.prod(np.clip(x[:, 2:] - x[:, :2], 0, None), axis=1) for x in (a, b))
    union = area_a[:, None] + area_b[None, :] - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
