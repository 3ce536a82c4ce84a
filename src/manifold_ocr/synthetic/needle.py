"""Needle probes: plant a passcode line on a page, and ask for it.

Made from rows that are there already, so they cost no labels: among a page's lines, one
that is long enough and begins unlike all others is asked for by its first words. The
choice is by hash of the page's name, so it never changes when other pages come or go. A
line that was planted on its page for this (tag `planted`) goes before all others.

The choice and the passcode have a generator of their own, so that pages without a needle
keep every byte.
"""

import hashlib
import random
from collections.abc import Iterator, Sequence

from manifold_ocr.records import RawRow, Rejection
from manifold_ocr.synthetic.texts.base import TextLine

SHORTEST = 16  # characters of a needle
FEWEST_LINES = 5  # a haystack has at least so many
CUE = 8  # characters that the question gives away
PLANTED = "planted"  # tag of a line that stands on its page only to be found


def with_needles(rows: Iterator[RawRow | Rejection]) -> Iterator[RawRow | Rejection]:
    """Pass rows through; after the lines of a page, add its needle row where it has one."""
    page: list[RawRow] = []
    for row in rows:
        if isinstance(row, RawRow) and row.task == "transcribe" and row.granularity == "line":
            if page and page[0].image != row.image:
                yield from needle_rows(page)
                page = []
            page.append(row)
        yield row
    yield from needle_rows(page)


def needle_rows(lines: Sequence[RawRow]) -> Iterator[RawRow]:
    """Yield the needle probe of one page's lines, if the page is a fair haystack.

    The target is the whole line; the question quotes its first characters, which no other
    line of the page begins with.
    """
    if len(lines) < FEWEST_LINES:
        return
    cues = [line.text.strip()[:CUE] for line in lines]
    fair = [
        line
        for line, cue in zip(lines, cues, strict=True)
        if len(line.text.strip()) >= SHORTEST and cues.count(cue) == 1
    ]
    if not fair:
        return
    fair = [line for line in fair if PLANTED in line.tags] or fair
    digest = hashlib.sha256(f"needle\0{lines[0].image}".encode()).digest()
    needle = fair[int.from_bytes(digest[:8], "big") % len(fair)]
    cue = needle.text.strip()[:CUE]
    yield RawRow(
        document=needle.document,
        image=needle.image,
        text=needle.text,
        source=needle.source,
        subset=needle.subset,
        tags=needle.tags,
        language=needle.language,
        split=needle.split,
        granularity="page",
        task="needle",
        question=f"Transcribe the whole line that begins with {cue!r}.",
        license=needle.license,
    )


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
