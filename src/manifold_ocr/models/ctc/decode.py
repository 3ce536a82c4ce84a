"""A line's pixels as CTC recognizers take them, and the reading of their frames (torch-free)."""

import unicodedata
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from PIL import Image

from manifold_ocr.models.base import Audit, Recognition
from manifold_ocr.records import Rejection, Sample

HEIGHT = 48
STRIDE = 8  # pixels of width that one frame covers
MAX_WIDTH = 3200  # 400 frames; a wider line is squeezed to this width, as the hub's processor does
BLANK = 0
GAP_FRAMES = 6  # both chosen on the validation lines of the default corpus: docs/metrics.md
GAP_PITCHES = 1.8


def line_width(size: tuple[int, int]) -> int:
    """Return the width in pixels that an image of (width, height) has at 48 pixels of height.

    It is the multiple of 8 nearest to the true aspect, from 8 to 3,200: exact, so no padding
    ever enters a line and its features do not depend on other lines.
    """
    width, height = size
    return STRIDE * min(max(1, round(HEIGHT * width / height / STRIDE)), MAX_WIDTH // STRIDE)


def frame_count(size: tuple[int, int]) -> int:
    """Return the CTC frames of an image of (width, height): the most labels it can carry."""
    return line_width(size) // STRIDE


def line_pixels(image: Image.Image) -> np.ndarray:
    """Return float32 (1, 3, 48, W) in [-1, 1], channels blue, green, red.

    The resampling of Pillow works in integers: equal on every processor.
    """
    resized = image.convert("RGB").resize(
        (line_width(image.size), HEIGHT), Image.Resampling.BILINEAR
    )
    channels = np.asarray(resized, dtype=np.uint8)[:, :, ::-1].transpose(2, 0, 1)
    return np.ascontiguousarray(channels[None], dtype=np.float32) / np.float32(127.5) - np.float32(
        1
    )


def decode_frames(
    best: np.ndarray,
    probability: np.ndarray,
    characters: list[str],
    *,
    gap_spaces: bool = False,
) -> Recognition:
    """Return the text of greedy CTC: repeats joined, blanks (class 0) dropped.

    `best` and `probability` are (T,): the winning class of each frame and its probability.
    Confidence is the mean over characters of the highest probability among the frames that
    the character spans; a line without characters has confidence 0. `gap_spaces` puts a
    space at each wide gap that the model leaves without one (see `wide_gaps`).
    """
    starts = np.flatnonzero(np.diff(best, prepend=-1))
    kept = [i for i, start in enumerate(starts) if best[start] != BLANK]
    if not kept:
        return Recognition("", 0.0, len(best))
    peaks = np.maximum.reduceat(probability, starts)
    written = [characters[best[starts[i]]] for i in kept]
    if gap_spaces:
        ends = np.append(starts[1:], len(best)) - 1
        for i in reversed(wide_gaps(written, starts[kept], ends[kept])):
            written.insert(i, " ")
    text = other_order("".join(written))
    return Recognition(text, float(np.mean(peaks[kept], dtype=np.float64)), len(best))


def wide_gaps(written: Sequence[str], starts: np.ndarray, ends: np.ndarray) -> list[int]:
    """Return the indices of characters that a wide gap parts from the one before.

    `starts` and `ends` are (n,): the first and last winning frame of each character. A gap is
    wide from max(GAP_FRAMES, GAP_PITCHES x the line's median pitch) frames between two
    characters of which none is a space or full-width (Chinese is set without spaces).
    """
    if len(written) < 3:
        return []
    pitch = float(np.median(np.diff(starts)))
    wide = starts[1:] - ends[:-1] >= max(GAP_FRAMES, GAP_PITCHES * pitch)
    apart = [c != " " and unicodedata.east_asian_width(c[0]) not in "WF" for c in written]
    return [i + 1 for i in np.flatnonzero(wide).tolist() if apart[i] and apart[i + 1]]


UNKNOWN, TOO_LONG, EMPTY = "unknown_character", "label_longer_than_frames", "empty_label"


def label_text(text: str) -> str:
    """Return the text as it is learned: NFC, white space folded, in the order of the frames.

    Frames go from left to right; a line in Hebrew or Arabic is learned as it is printed.
    """
    return other_order(" ".join(unicodedata.normalize("NFC", text).split()))


def other_order(text: str) -> str:
    """Return a line from right to left in the order of print, or print in the order of reading.

    The Unicode bidirectional algorithm (UAX 9) with a right-to-left paragraph; mostly its own
    inverse. A line without a right-to-left character, or with fewer than others, stays.
    """
    kinds = Counter(unicodedata.bidirectional(character) for character in text)
    if not (kinds["R"] + kinds["AL"]) or kinds["R"] + kinds["AL"] < kinds["L"]:
        return text
    from bidi.algorithm import get_display  # few lines need it

    return str(get_display(text, base_dir="R"))


class Vocabulary:
    """Characters to classes; class 0 is the blank and stands for no character."""

    def __init__(self, characters: Sequence[str]) -> None:
        """`characters` is the text of each class, the blank's included."""
        self._classes = {text: index for index, text in enumerate(characters) if index}

    def encode(self, text: str) -> list[int] | None:
        """Return the class of each character, or None if one has no class."""
        classes = [self._classes.get(character) for character in text]
        return None if None in classes else [c for c in classes if c is not None]

    def missing(self, text: str) -> list[str]:
        """Return the characters of `text` that have no class."""
        return [character for character in text if character not in self._classes]


def frames_needed(classes: Sequence[int]) -> int:
    """Return the fewest frames that can carry the labels: one each, and a blank between equals."""
    return len(classes) + sum(a == b for a, b in pairwise(classes))


def audit_labels(samples: Sequence[Sample], frames: Sequence[int], words: Vocabulary) -> Audit:
    """Sort out rows that cannot be learned: unknown characters, too few frames, no text.

    `frames` holds the CTC frames of each sample. Rejected rows keep their reason; counts by
    reason and the missing characters with their frequency are part of the result.
    """
    kept: list[Sample] = []
    rejected: list[Rejection] = []
    absent: Counter[str] = Counter()
    for sample, available in zip(samples, frames, strict=True):
        text = label_text(sample.text)
        classes = words.encode(text)
        if classes is None:
            lost = words.missing(text)
            absent.update(lost)
            rejected.append(_rejection(sample, UNKNOWN, f"the model has no {''.join(lost)!r}"))
        elif not classes:
            rejected.append(_rejection(sample, EMPTY, "the label holds white space only"))
        elif (needed := frames_needed(classes)) > available:
            detail = f"{len(classes)} labels need {needed} frames, the image has {available}"
            rejected.append(_rejection(sample, TOO_LONG, detail))
        else:
            kept.append(sample)
    reasons = Counter(row.reason for row in rejected)
    counts = {"rows": len(samples), "kept": len(kept), "missing_characters": len(absent)}
    counts |= {f"rejected_{reason}": reasons[reason] for reason in (UNKNOWN, TOO_LONG, EMPTY)}
    return Audit(
        kept=kept,
        rejected=rejected,
        counts=counts,
        details={"missing_characters": dict(absent.most_common())},
    )


def _rejection(sample: Sample, reason: str, detail: str) -> Rejection:
    return Rejection(corpus=sample.corpus, source=sample.id, reason=reason, detail=detail)
