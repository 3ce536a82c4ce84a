"""Drawn pages with known text, readers that need no model, and the reference programs."""

import shutil
import subprocess
from pathlib import Path

import pytest
from PIL import Image, ImageDraw, ImageFont

from manifold_ocr.reading.layout.lines import Line, Paragraph, Row
from manifold_ocr.reading.page import PageText


def draw_page(rows, size=(800, 500), left=60, top=60, step=60, height=30):
    """Black text on white; returns the image and the box of each row."""
    image = Image.new("RGB", size, "white")
    font = ImageFont.load_default(size=height)
    draw, boxes = ImageDraw.Draw(image), []
    for number, text in enumerate(rows):
        place = (left, top + step * number)
        draw.text(place, text, fill="black", font=font)
        boxes.append(tuple(float(v) for v in draw.textbbox(place, text, font=font)))
    return image, boxes


def page_of_rows(rows, boxes, size=(800, 500), confidence=0.9):
    """The page that a perfect reader gives: one paragraph per row."""
    parts = tuple(
        Paragraph((Row((Line(box, text, confidence),)),))
        for text, box in zip(rows, boxes, strict=True)
    )
    return PageText(parts, size, "page")


class SizeReader:
    """Reads an image as its size and first pixel, so that each answer is known to be its own."""

    def __init__(self):
        self.pages = 0

    def read(self, image, mode="auto"):
        self.pages += 1
        text = f"page {image.width} x {image.height} pixel {image.getpixel((0, 0))[0]}"
        box = (1.0, 1.0, image.width - 1.0, 11.0)
        return page_of_rows([text], [box], image.size)


def plain_pdf(path: Path, pages: int = 1, width: int = 200) -> Path:
    """A PDF of white pages, each a different gray, without any text."""
    images = [Image.new("RGB", (width + n, 120), (n % 256,) * 3) for n in range(pages)]
    images[0].save(path, save_all=True, append_images=images[1:], resolution=72)
    return path


def pdftotext(path: Path, *options: str) -> str:
    """What poppler reads from a PDF; the test is skipped where poppler is not installed."""
    if shutil.which("pdftotext") is None:
        pytest.skip("pdftotext is not installed: apt install poppler-utils")
    command = ["pdftotext", *options, str(path), "-"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
