"""Prefix beam search over CTC frames with a character language model (torch-free).

A text's probability is the sum over its alignments (Graves et al. 2006). The search goes
through the frames from left to right and keeps the most probable texts, each split by whether
its last frame is a blank (Hannun et al. 2014, algorithm 1). The language model's share is added
once for each character that a text gains.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from manifold_ocr.models.ctc.decode import BLANK

NEVER = -math.inf
FLOOR = math.log(1e-3)  # classes less probable than this in a frame are not followed

Score = Callable[[str, str], float]  # what a text so far gains by one more character


@dataclass(slots=True)
class _Beam:
    """Log-probabilities of the alignments that end in a blank, and in the last character."""

    blank: float = NEVER
    last: float = NEVER
    bonus: float = 0.0

    @property
    def frames(self) -> float:
        return log_add(self.blank, self.last)


def log_add(a: float, b: float) -> float:
    """Return log(exp(a) + exp(b))."""
    if a < b:
        a, b = b, a
    return a if b == NEVER else a + math.log1p(math.exp(b - a))


def beam_search(
    classes: np.ndarray,
    log_probabilities: np.ndarray,
    characters: Sequence[str],
    width: int,
    score: Score | None = None,
    floor: float = FLOOR,
) -> list[tuple[str, float, float]]:
    """Return at most `width` texts, best first: (text, log P(text | frames), language share).

    `classes` and `log_probabilities` are (T, K): the K most probable classes of each frame,
    best first. `score(text, character)` is the weighted share of the language model.
    """
    beams = {"": _Beam(blank=0.0)}
    for row, values in zip(classes.tolist(), log_probabilities.tolist(), strict=True):
        seen = [pair for pair in zip(row, values, strict=True) if pair[1] >= floor]
        beams = _step(beams, seen or [(row[0], values[0])], characters, score)
        if len(beams) > width:
            best = sorted(beams.items(), key=lambda item: -item[1].frames - item[1].bonus)
            beams = dict(best[:width])
    found = [(text, beam.frames, beam.bonus) for text, beam in beams.items()]
    return sorted(found, key=lambda item: (-item[1] - item[2], item[0]))


def _step(
    beams: dict[str, _Beam],
    seen: list[tuple[int, float]],
    characters: Sequence[str],
    score: Score | None,
) -> dict[str, _Beam]:
    after: dict[str, _Beam] = {}
    for text, beam in beams.items():
        whole = beam.frames
        for number, value in seen:
            if number == BLANK:
                same = after.setdefault(text, _Beam(bonus=beam.bonus))
                same.blank = log_add(same.blank, whole + value)
                continue
            character = characters[number]
            start = whole
            if text.endswith(character):
                same = after.setdefault(text, _Beam(bonus=beam.bonus))
                same.last = log_add(same.last, beam.last + value)
                start = beam.blank  # a repeated character needs a blank between
            if start == NEVER:
                continue
            longer = after.get(text + character)
            if longer is None:
                gain = score(text, character) if score else 0.0
                longer = after[text + character] = _Beam(bonus=beam.bonus + gain)
            longer.last = log_add(longer.last, start + value)
    return after
