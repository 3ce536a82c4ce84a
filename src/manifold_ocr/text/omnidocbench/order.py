"""Reading order: edit distance between the right sequence of blocks and the predicted one."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from manifold_ocr.text import edit


@dataclass(frozen=True, slots=True)
class Distance:
    """Edits of two compared sequences and the length of the longer one."""

    edits: int
    longest: int


@dataclass(frozen=True, slots=True)
class Placed:
    """Reading positions of matched reference blocks and where the prediction begins.

    `predicted_at` is None for reference blocks that nothing was matched to; `positions` may
    hold None (a block without a place in the reading order).
    """

    positions: tuple[float | None, ...]
    predicted_at: float | None


def reading_order_distance(blocks: Iterable[Placed]) -> Distance | None:
    """Distance between the reference positions sorted and as the prediction lists them.

    Unmatched reference blocks count as missing, extra predictions do not count; position 0
    is dropped like None. No block with a position: None.
    """
    blocks = list(blocks)
    expected = sorted(_known(p for block in blocks for p in block.positions))
    found = sorted(
        ((block.predicted_at, block) for block in blocks if block.predicted_at is not None),
        key=lambda item: item[0],
    )
    listed = _known(p for _, block in found for p in block.positions)
    if not expected and not listed:
        return None
    return Distance(edit.distance(expected, listed), max(len(expected), len(listed)))


def _known(positions: Iterable[float | None]) -> Sequence[float]:
    return [position for position in positions if position]
