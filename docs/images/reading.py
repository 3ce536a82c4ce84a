"""Draw docs/images/reading.png: a page, the lines found on it, and the text that was read.

    PYTHONPATH=src python docs/images/reading.py data/raw/synthetic/images/receipts-test-0002.png

Boxes are shaded by confidence. The page comes from the embedded corpus (CC0-1.0).
"""

import json
import subprocess
import sys
from pathlib import Path

from PIL import Image, ImageDraw

from manifold_ocr.synthetic.fonts import load

HEIGHT, MARGIN, SIZE = 900, 24, 19


def main() -> None:
    """Read the page with the command that a user types, and draw what it prints."""
    path = Path(sys.argv[1])
    command = [sys.executable, "-m", "manifold_ocr.cli.main", "read", str(path), "--json"]
    page = json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
    image = Image.open(path).convert("RGB")
    draw = ImageDraw.Draw(image, "RGBA")
    for line in (line for part in page["paragraphs"] for line in part["lines"]):
        shade = int(255 * (1 - line["confidence"]) * 4)
        color = (min(shade, 255), 120, 200)
        x0, y0, x1, y1 = line["box"]
        draw.rectangle((x0, y0, x1, y1), outline=(*color, 255), fill=(*color, 40), width=2)
    scale = HEIGHT / image.height
    image = image.resize((round(image.width * scale), HEIGHT), Image.Resampling.LANCZOS)
    face = load("dejavu-mono", SIZE)
    lines = page["text"].splitlines()
    width = max(round(face.getlength(text)) for text in lines) + 2 * MARGIN
    picture = Image.new("RGB", (image.width + width, HEIGHT), "white")
    picture.paste(image, (0, 0))
    pen = ImageDraw.Draw(picture)
    step = min(2 * SIZE, (HEIGHT - 2 * MARGIN) // max(len(lines), 1))
    for number, text in enumerate(lines):
        place = (image.width + MARGIN, MARGIN + number * step)
        pen.text(place, text, fill=(20, 20, 20), font=face)
    picture.save(Path(__file__).with_name("reading.png"), optimize=True)


if __name__ == "__main__":
    main()
