"""Draw every degradation at its strongest: `PYTHONPATH=src python benchmarks/augment_sheet.py`.

    python benchmarks/augment_sheet.py [--image LINE_OR_PAGE] [--out docs/images/augmentation.png]

Without --image the line is drawn. Look at the sheet after a step was added or changed.
"""

import argparse
import random
from pathlib import Path

from PIL import Image, ImageDraw

from manifold_ocr.augment.ops import generator
from manifold_ocr.augment.recipe import OPERATIONS
from manifold_ocr.augment_config import Recipe
from manifold_ocr.images import open_image
from manifold_ocr.synthetic import fonts

COLUMNS = 3
GAP, LABEL = 8, 16


def drawn_line() -> Image.Image:
    """Return a clean line of print with some room around it."""
    text = "No. 4471  Total 31.50, paid in cash"
    mask = fonts.draw_run(text, fonts.Pen("source-serif", 26), random.Random(1))
    return mask.point([250 - value * 230 // 255 for value in range(256)])


def main() -> None:
    """Write the sheet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--image", type=Path)
    parser.add_argument("--out", type=Path, default=Path("docs/images/augmentation.png"))
    options = parser.parse_args()
    image = open_image(options.image).convert("L") if options.image else drawn_line()
    tiles = []
    for name, operation in OPERATIONS.items():
        step = getattr(Recipe(), name)
        strength = step.low if name in ("coarse", "jpeg") else step.high  # lower is worse there
        tiles.append((name, operation(generator("sheet", name), image, strength)))
    width = max(tile.width for _, tile in tiles) + GAP
    height = max(tile.height for _, tile in tiles) + LABEL + GAP
    rows = -(-len(tiles) // COLUMNS)
    sheet = Image.new("L", (COLUMNS * width, rows * height), 255)
    for place, (name, tile) in enumerate(tiles):
        x, y = place % COLUMNS * width, place // COLUMNS * height
        ImageDraw.Draw(sheet).text((x + 2, y), name, font=fonts.load("roboto", 13), fill=0)
        sheet.paste(tile, (x, y + LABEL))
    sheet.save(options.out, optimize=True)
    print(f"{options.out}: {len(tiles)} steps, {options.out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
