"""Frames that a recognizer might give."""

import numpy as np


def unsure(text: str, place: int, wrong: str) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Frames that spell `text`, a blank after each character; at `place` they prefer `wrong`."""
    characters = ["", *sorted(set(text + wrong))]
    rows = []
    for n, c in enumerate(text):
        row = np.full(len(characters), 1e-4)
        row[characters.index(c)] = 0.9
        if n == place:
            row[characters.index(c)], row[characters.index(wrong)] = 0.4, 0.5
        blank = np.full(len(characters), 1e-4)
        blank[0] = 0.99
        rows += [row, blank]
    order = np.argsort(-np.array(rows), axis=1, kind="stable")
    return order, np.take_along_axis(np.array(rows), order, axis=1), characters
