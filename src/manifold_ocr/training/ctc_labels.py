"""Labels of CTC lines: which texts a model can learn from which image, and their classes."""

import unicodedata
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

from manifold_ocr.records import Rejection, Sample
from manifold_ocr.training.settings import Audit

UNKNOWN, TOO_LONG, EMPTY = "unknown_character", "label_longer_than_frames", "empty_label"


def label_text(text: str) -> str:
    """Return the text as it is learnt: NFC, white space folded to single spaces."""
    return " ".join(unicodedata.normalize("NFC", text).split())


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
    """Sort out rows that cannot be learnt: unknown characters, too few frames, no text.

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
