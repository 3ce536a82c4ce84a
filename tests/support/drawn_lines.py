"""Lines of text drawn for tests, and the characters of the tiny CTC model."""

from PIL import Image, ImageDraw, ImageFont

CHARACTERS = ["blank", *"abcdefghijklmnopqrstuvwxyz0123456789", " "]
TEXTS = ["abc 12", "hello", "day 98", "ocr line", "7 seas", "quick fox", "lazy dog", "jumps 42"]


def draw_line(text: str, height: int = 32) -> Image.Image:
    """A line of black text on white."""
    font = ImageFont.load_default(size=height * 0.7)
    width = int(font.getlength(text)) + 12
    image = Image.new("RGB", (width, height), "white")
    ImageDraw.Draw(image).text((6, 2), text, fill="black", font=font)
    return image
