"""Rows linked into columns, columns cut into paragraphs."""

import itertools
import re
from collections.abc import Sequence
from statistics import median

from manifold_ocr.reading.layout.lines import WIDE, Paragraph, Row, like_height, middle, overlap
from manifold_ocr.records import Box

LINE_GAP = 0.9  # widest space between rows of one block, in line heights
BETWEEN = 0.25  # a row between two others shares less than this of its height with each
GAP_JUMP = 0.35  # a space this much wider than the block's usual one starts a paragraph
INDENT = 0.8  # an indent or outdent that counts, in line heights

ITEM = re.compile(
    r"\s*(?:[•●■◆▪·*➢✓○–—-]\s*\S|\(?\d{1,2}[.)、．](?!\d)|[(（][\da-zA-Z一二三四五六七八九十]{1,3}[)）]"
    r"|[一二三四五六七八九十]{1,3}、|[①-⑳]|[A-Z][.)]\s)"
)
NUMBERED = re.compile(r"\s*\d{1,2}\s+\D")  # an item whose number has no dot: never splits by itself


def link_rows(rows: Sequence[Row]) -> list[list[Row]]:
    """Chain each row to the one row below that continues it; return the chains.

    A row that stands at a height of its own between the two, however far aside, breaks the
    chain: receipts print the amounts of an item so, below its name.
    """
    boxes = [row.box for row in rows]
    heights = [row.height for row in rows]
    below = [_neighbors(boxes, heights, index, down=True) for index in range(len(rows))]
    above = [_neighbors(boxes, heights, index, down=False) for index in range(len(rows))]
    following = {
        index: found[0]
        for index, found in enumerate(below)
        if len(found) == 1 and above[found[0]] == [index]
        if like_height(heights[index], heights[found[0]])
        if not any(_stands_between(box, boxes[index], boxes[found[0]]) for box in boxes)
    }
    continued = set(following.values())
    chains = []
    for start in range(len(rows)):
        if start not in continued:
            chain = [start]
            while chain[-1] in following:
                chain.append(following[chain[-1]])
            chains.append([rows[index] for index in chain])
    return chains


def _neighbors(boxes: Sequence[Box], heights: Sequence[float], index: int, down: bool) -> list[int]:
    """Return the rows directly below (or above) within reach, nothing lying between."""
    x0, _, x1, _ = boxes[index]
    height = heights[index]
    center = middle(boxes[index])
    reach: list[tuple[float, int]] = []
    for other, box in enumerate(boxes):
        distance = (middle(box) - center) * (1 if down else -1)
        if other == index or distance < 0.5 * min(height, heights[other]):
            continue
        space = distance - (height + heights[other]) / 2
        if space > LINE_GAP * min(height, heights[other]):
            continue
        narrow = min(x1 - x0, box[2] - box[0])
        if overlap(x0, x1, box[0], box[2]) > min(0.3 * narrow, 2 * height):
            reach.append((distance, other))
    reach.sort()
    nearest: list[int] = []
    for distance, other in reach:
        beside = all(
            overlap(boxes[other][0], boxes[other][2], boxes[near][0], boxes[near][2]) <= 0
            for near in nearest
        )
        if beside and distance <= reach[0][0] + 0.6 * height:
            nearest.append(other)
    return nearest


def _stands_between(box: Box, above: Box, below: Box) -> bool:
    height = box[3] - box[1]
    return middle(above) < middle(box) < middle(below) and all(
        overlap(box[1], box[3], other[1], other[3]) < BETWEEN * min(height, other[3] - other[1])
        for other in (above, below)
    )


def split_paragraphs(chain: Sequence[Row]) -> list[Paragraph]:
    """Cut a chain of rows where a paragraph starts."""
    height = median(row.height for row in chain)
    spaces = [middle(b.box) - middle(a.box) for a, b in itertools.pairwise(chain)]
    usual = sorted(spaces)[len(spaces) // 4] if spaces else 0.0
    parts: list[list[Row]] = [[chain[0]]]
    for index, (row, nxt) in enumerate(itertools.pairwise(chain)):
        after = chain[index + 2] if index + 2 < len(chain) else None
        if (
            spaces[index] > usual + GAP_JUMP * height
            or ITEM.match(nxt.text)
            or _starts_indented(parts[-1], nxt, after, height)
            or ends_short(row, nxt, _right_margin(parts[-1][:-1], chain[index + 1 :]), height)
        ):
            parts.append([])
        parts[-1].append(nxt)
    return [Paragraph(tuple(part)) for part in parts]


def _right_margin(before: Sequence[Row], after: Sequence[Row]) -> float:
    """Return the right edge that at least two of the nearest rows reach, if there are two."""
    edges = sorted((row.box[2] for row in [*before[-3:], *after[:2]]), reverse=True)
    return edges[1] if len(edges) > 1 else edges[0]


def _starts_indented(part: Sequence[Row], row: Row, after: Row | None, height: float) -> bool:
    """Tell whether `row` opens a paragraph by its left edge.

    Indented against the row before, with the row after it back at the margin; or, in a
    hanging paragraph (its first row stands out to the left), back out at the first row's edge.
    """
    step = row.box[0] - part[-1].box[0]
    hangs = len(part) == 1 and (ITEM.match(part[0].text) or NUMBERED.match(part[0].text))
    if step > INDENT * height and not hangs:
        return after is None or after.box[0] < row.box[0] - 0.5 * INDENT * height
    hanging = len(part) > 1 and part[1].box[0] - part[0].box[0] > INDENT * height
    return hanging and step < -INDENT * height


def ends_short(row: Row, following: Row, right: float, height: float) -> bool:
    """Tell whether `row` stops although the next row's first word would have fitted on it."""
    room = right - row.box[2]
    text = following.text
    if not text or room < 1.5 * height:
        return False
    per_character = (following.box[2] - following.box[0]) / max(1, len(text))
    word = 2 if WIDE.match(text[0]) else len(text.split(maxsplit=1)[0])
    return room > (word + 1.5) * per_character + 0.5 * height
