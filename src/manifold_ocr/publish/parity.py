"""The parity gate: an export must read the same texts as the promoted checkpoint here."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw

from manifold_ocr.errors import UserError
from manifold_ocr.images import load_sample, open_image
from manifold_ocr.models.base import Recognition
from manifold_ocr.records import iter_manifest

TEST, IMAGE_ROOT = Path("data/manifest/test.jsonl"), Path("data/raw")
ROWS = 32
TOLERANCE = 1e-3  # of a probability; another order of float32 sums gives about 1e-6
DRAWN = ("Invoice 2024-11-25", "Total: 1,234.50", "the quick brown fox", "A-17/B (3 pcs)",
         "0123456789", "lorem ipsum dolor", "x = y + 42", "100 % OK")  # fmt: skip


@dataclass(frozen=True)
class Parity:
    """How many rows were compared, how many read the same, and the largest difference."""

    rows: int
    same: int
    largest: float

    def __str__(self) -> str:
        """One line for people."""
        return (
            f"parity: {self.same} of {self.rows} rows read the same, largest difference of a "
            f"probability {self.largest:.1e}"
        )


def parity_images(paths: Sequence[Path]) -> list[Image.Image]:
    """Return the lines to compare on: the files given, test rows, or drawn ones."""
    if paths:
        return [open_image(path) for path in paths]
    if TEST.exists():
        lines = (row for row in iter_manifest(TEST) if row.granularity == "line")
        return [load_sample(row, IMAGE_ROOT) for row, _ in zip(lines, range(ROWS), strict=False)]
    return [drawn_line(text) for text in DRAWN]


def drawn_line(text: str) -> Image.Image:
    """Return a white line with black text in Pillow's own font."""
    image = Image.new("RGB", (16 * len(text) + 16, 40), "white")
    ImageDraw.Draw(image).text((8, 6), text, fill="black", font_size=26)
    return image


def compare(
    what: str,
    ours: Iterable[Recognition],
    theirs: Iterable[Recognition],
    tolerance: float = TOLERANCE,
    differing: float = 0.0,
) -> Parity:
    """Return how near two readings are.

    Raises:
        UserError: more than the share `differing` of the rows have another text, or a
            probability of a row with the same text differs by more than `tolerance`.
    """
    largest, rows, example = 0.0, 0, ""
    same = 0
    for expected, found in zip(ours, theirs, strict=True):
        rows += 1
        if expected.text != found.text:
            example = example or f"row {rows} reads {found.text!r}, here it reads {expected.text!r}"
            continue
        same += 1
        if expected.confidence is not None and found.confidence is not None:
            largest = max(largest, abs(expected.confidence - found.confidence))
    if rows - same > differing * rows:
        raise UserError(f"{what} is refused: {rows - same} of {rows} rows differ; {example}")
    if largest > tolerance:
        raise UserError(
            f"{what} is refused: a probability differs by {largest:.1e}, more than {tolerance:g}"
        )
    return Parity(rows, same, largest)
