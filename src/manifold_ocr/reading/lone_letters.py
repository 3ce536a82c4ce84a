"""Letters that look alike in both cases, alone in a piece of a row: read again with their row.

The detector cuts a row at wide spaces; in the piece `x 3` nothing tells how high a capital is.
"""

import re
from collections.abc import Sequence
from dataclasses import replace

from PIL import Image

from manifold_ocr.images import crop
from manifold_ocr.models.base import OcrModel
from manifold_ocr.reading.layout.lines import Line, Row, join_rows

ALIKE = frozenset("cosuvwxz")  # lower case is a small capital
LETTERS = re.compile(r"[^\W\d_]")


def with_the_case_of_their_row(
    page: Image.Image, lines: Sequence[Line], recognizer: OcrModel
) -> list[Line]:
    """Return the lines of an upright straight page, in their order, case decided by the row.

    The row counts only where it is read as the same characters but for case.
    """
    rows = [row for row in join_rows(lines) if len(row.pieces) > 1 and any(map(_lone, row.pieces))]
    if not rows:
        return list(lines)
    crops = [crop(page, row.box) for row in rows]
    decided: dict[Line, Line] = {}
    for row, whole in zip(rows, recognizer.recognize(crops), strict=True):
        for piece, text in zip(row.pieces, _shared_out(row, whole.text), strict=True):
            if _lone(piece):
                decided[piece] = replace(piece, text=text)
    return [decided.get(line, line) for line in lines]


def _lone(line: Line) -> bool:
    """Tell whether all letters of a piece are a single one that looks alike in both cases."""
    letters = LETTERS.findall(line.text)
    return len(letters) == 1 and letters[0].lower() in ALIKE


def _shared_out(row: Row, whole: str) -> list[str]:
    """Return the texts of a row's pieces with the case of `whole`, or as they are if it differs."""
    texts = [piece.text for piece in row.pieces]
    found = "".join(whole.split())
    if found.lower() != "".join("".join(texts).split()).lower():
        return texts
    rest = iter(found)
    return ["".join(c if c.isspace() else next(rest, c) for c in text) for text in texts]
