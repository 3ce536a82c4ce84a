"""Stretches of a JSON Lines file whose borders follow its content, so that edits stay local.

A line whose checksum ends in zeros asks for a border, which is drawn where the next image
begins: rows of one image are never divided. Lines that come, go or change move only the
borders beside them (content-defined chunking, as in Muthitacharoen et al., LBFS, 2001).
"""

import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from manifold_ocr.files import CHUNK

MEAN_LINES = 128  # short: one changed row costs its whole stretch
MOST_LINES = 4096
ImageOf = Callable[[bytes], str]


class LineStretch(NamedTuple):
    """Consecutive lines with their ends; `first` is the number of the first in its file."""

    first: int
    lines: list[bytes]


def line_stretches(path: Path, part: int, parts: int, image_of: ImageOf) -> Iterator[LineStretch]:
    """Yield the stretches of share `part` of `parts`; the shares are disjoint and complete.

    `image_of` names the image that a line shows, or gives an empty string where none is
    known; such lines stay with those before them.
    """
    size = path.stat().st_size
    with open(path, "rb") as file:
        start = _seam(file, size * part // parts, image_of)
        stop = size if part + 1 == parts else _seam(file, size * (part + 1) // parts, image_of)
        first = 1 + _count_lines(file, start)
        file.seek(start)
        yield from _cut(file, stop - start, first, image_of)


def _cut(file: BinaryIO, length: int, first: int, image_of: ImageOf) -> Iterator[LineStretch]:
    lines: list[bytes] = []
    border = ""  # the image after which a border was asked for
    while length > 0:
        line = file.readline()
        length -= len(line)
        if border and image_of(line) not in ("", border):
            yield LineStretch(first, lines)
            first, lines, border = first + len(lines), [], ""
        lines.append(line)
        if not border and (zlib.crc32(line) % MEAN_LINES == 0 or len(lines) >= MOST_LINES):
            border = image_of(line)
    if lines:
        yield LineStretch(first, lines)


def _seam(file: BinaryIO, position: int, image_of: ImageOf) -> int:
    """Return where the first image begins that starts after the line across `position`."""
    if position == 0:
        return 0
    file.seek(position - 1)
    position += len(file.readline()) - 1
    shown = ""
    while line := file.readline():
        image = image_of(line)
        if shown and image not in ("", shown):
            break
        shown = shown or image
        position += len(line)
    return position


def _count_lines(file: BinaryIO, stop: int) -> int:
    file.seek(0)
    count = position = 0
    while position < stop and (chunk := file.read(min(CHUNK, stop - position))):
        count += chunk.count(b"\n")
        position += len(chunk)
    return count
