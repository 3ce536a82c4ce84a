"""Rows for `placement.py`: lines joined in pairs, and lines with labels that an adapter reads."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from manifold_ocr.models.base import RunSpec
from manifold_ocr.models.ctc import rows, train
from manifold_ocr.models.ctc.decode import Vocabulary
from manifold_ocr.models.ctc.vocabulary import character_list
from manifold_ocr.records import Prediction, Sample

MOST_FRAMES = 200  # of two lines that are joined


def join_rows(share: float) -> None:
    """Let a share of the training lines be trained in pairs, side by side (RecConAug of PaddleOCR).

    A space is between them, but not between Chinese ones. As many lines are trained as without.
    """
    space = Vocabulary(character_list(Path("data/base/pp-ocrv6-small"))).encode(" ") or []

    class Joined(rows.PixelRows):
        """Rows of which the first ones are two lines each."""

        def __init__(self, samples: Any, classes: Any, lengths: Any, pixels: Any) -> None:
            order = np.random.default_rng(0).permutation(len(samples)).tolist()
            pairs = int(len(order) * share / 2)
            self.parts = [(one,) for one in order[2 * pairs :]]
            for first, last in zip(order[:pairs], order[pairs : 2 * pairs], strict=True):
                fits = lengths[first] + lengths[last] <= MOST_FRAMES
                self.parts += [(first, last)] if fits else [(first,), (last,)]
            texts = []
            for first, *others in self.parts:
                gap = [] if samples[first].language == "zh" else space
                texts.append(sum(([*gap, *classes[i]] for i in others), [*classes[first]]))
            frames = [sum(lengths[i] for i in part) for part in self.parts]
            super().__init__(samples, texts, frames, pixels)

        def __len__(self) -> int:
            return len(self.parts)

        def __getitem__(self, index: int) -> rows.Row:
            images = [self.pixels[self.samples[i]] for i in self.parts[index]]
            return np.concatenate(images, axis=1), self.classes[index]

    train.PixelRows = Joined  # type: ignore[misc]


def pseudo_labelled(
    spec: RunSpec, samples: Sequence[Sample], adapter: Path, least: float
) -> list[Sample]:
    """Return the lines that an adapter reads with a confidence of `least`, so labelled.

    The labels follow the adapter's convention, as those that it was trained on do.
    """
    import torch

    from manifold_ocr.models.conventions import applied, read_conventions
    from manifold_ocr.models.family import family_for

    family = family_for("ctc", spec)
    model = family.build()
    family.restore(model, adapter)
    model = model.to("cuda" if torch.cuda.is_available() else "cpu").eval()
    readings = list(family.read(model, samples))
    read = [Prediction(id=s.id, text=r.text) for s, r in zip(samples, readings, strict=True)]
    texts = [row.text for row in applied(read, samples, read_conventions(adapter))]
    return [
        replace(sample, text=text)
        for sample, text, reading in zip(samples, texts, readings, strict=True)
        if text.strip() and reading.confidence is not None and reading.confidence >= least
    ]
