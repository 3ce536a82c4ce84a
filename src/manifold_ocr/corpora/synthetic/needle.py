"""Plant a needle: one line of a page gives way to a passcode that no text generator writes.

The choice and the passcode have a generator of their own, so that pages without a needle
keep every byte.
"""

import hashlib
import random

from manifold_ocr.corpora.synthetic.texts.lines import TextLine

LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ"  # without I and O, which look like digits
DIGITS = "23456789"


def plant(lines: list[TextLine], name: str, seed: int, share: float) -> tuple[list[TextLine], int]:
    """Return the lines of document `name` and the place of the planted one (-1: none).

    `share` is the share of documents that get one. The first line, often a heading, stays.
    """
    digest = hashlib.sha256(f"{seed}:{name}:needle".encode()).digest()
    rng = random.Random(int.from_bytes(digest[:16], "big"))
    if len(lines) < 2 or rng.random() >= share:
        return lines, -1
    place = rng.randrange(1, len(lines))
    letters = "".join(rng.choice(LETTERS) for _ in range(5))
    digits = "".join(rng.choice(DIGITS) for _ in range(4))
    needle = TextLine((f"Passcode {letters}-{digits}",), indent=lines[place].indent)
    return [*lines[:place], needle, *lines[place + 1 :]], place
