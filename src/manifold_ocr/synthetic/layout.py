"""Lines of text to a page image with a box per line, and how each subset's pages look."""

import random
from dataclasses import dataclass

from PIL import Image, ImageChops, ImageDraw

from manifold_ocr.synthetic import fonts
from manifold_ocr.synthetic.fonts import PAD, Pen, draw_run, faces_for, line_height
from manifold_ocr.synthetic.texts.base import TextLine

MARGIN = 24  # of the page, in pixels


@dataclass(frozen=True, slots=True)
class PageStyle:
    """How a page is set. `leading` is the line pitch in percent of the font's height.

    `body`, `heading` and `value` are pens of running text, headings and filled-in values;
    `spare` names faces to fall back on for a line that a pen's face cannot draw. `ink` is
    the gray level of the print, `gap` the least gap between the parts of a line in pixels.
    `rules` draws what is around the text: "none", "form", "chart" or "ruled" paper.
    """

    body: Pen
    heading: Pen
    value: Pen
    spare: tuple[str, ...]
    leading: int = 130
    ink: int = 20
    gap: int = 28
    rules: str = "none"


Box = tuple[int, int, int, int]


def around(boxes: list[Box]) -> Box:
    """Return the box that holds all of some."""
    x0, y0 = min(b[0] for b in boxes), min(b[1] for b in boxes)
    return x0, y0, max(b[2] for b in boxes), max(b[3] for b in boxes)


@dataclass(frozen=True, slots=True)
class PlacedLine:
    """A line with its ink box [x0, y0, x1, y1] in pixels of the page, and those of its parts."""

    text: str
    style: str
    box: Box
    parts: tuple[tuple[str, Box], ...] = ()

    def apart(self, gap: float) -> list["PlacedLine"]:
        """Return the line cut where parts are more than `gap` times its height apart."""
        height = self.box[3] - self.box[1]
        found: list[PlacedLine] = []
        for text, box in self.parts:
            if found and box[0] - found[-1].box[2] <= gap * height:
                text, box = f"{found[-1].text} {text}", around([found[-1].box, box])
                found.pop()
            found.append(PlacedLine(text, self.style, box))
        return found


def compose(
    lines: list[TextLine], style: PageStyle, rng: random.Random
) -> tuple[Image.Image, list[PlacedLine]]:
    """Return a white page with the lines below each other, and where each line's ink is.

    Raises:
        ValueError: no face at hand has the glyphs of a line.
    """
    drawn = [[_draw_part(line, i, style, rng) for i in range(len(line.parts))] for line in lines]
    widths = [sum(mask.width for mask in masks) + style.gap * len(masks) for masks in drawn]
    slack = rng.randrange(60, 140) if style.rules == "chart" else 0
    width = max(widths) + 2 * MARGIN + slack
    pitch = [_pitch(line, style) for line in lines]
    page = Image.new("L", (width, sum(pitch) + 2 * MARGIN + PAD), 255)
    _draw_rules(page, style, pitch, rng)
    placed = []
    y = MARGIN
    for line, masks, step in zip(lines, drawn, pitch, strict=True):
        spots = _spots(line, masks, style, width, rng)
        if style.rules == "form" and line.style == "field":
            _underline(page, spots[-1], y + step - 4, rng)
        inked = _ink(page, masks, spots, y, style)
        boxes = [box for box in inked if box]
        parts = tuple((text, box) for text, box in zip(line.parts, inked, strict=True) if box)
        placed.append(PlacedLine(line.label, line.style, around(boxes), parts))
        y += step
    return page, placed


def _draw_part(line: TextLine, part: int, style: PageStyle, rng: random.Random) -> Image.Image:
    pen = style.body
    if line.style == "heading":
        pen = style.heading
    elif line.style == "field" and part > 0:
        pen = style.value
    text = line.parts[part]
    if not fonts.covers(pen.face, text):
        pen = Pen(_spare(style.spare, text), pen.size, pen.tracking, pen.wobble, pen.dots)
    return draw_run(text, pen, rng)


def _spare(faces: tuple[str, ...], text: str) -> str:
    for face in faces:
        if fonts.covers(face, text):
            return face
    raise ValueError(f"no face of {', '.join(faces)} can draw {text!r}")


def _pitch(line: TextLine, style: PageStyle) -> int:
    pens = {"heading": (style.heading,), "field": (style.body, style.value)}
    tallest = max(line_height(pen) for pen in pens.get(line.style, (style.body,)))
    return tallest * style.leading // 100


def _spots(
    line: TextLine, masks: list[Image.Image], style: PageStyle, width: int, rng: random.Random
) -> list[tuple[int, int]]:
    """Return (x, width) of each part."""
    total = sum(mask.width for mask in masks)
    x = MARGIN + line.indent * style.body.size // 2
    if line.style == "centre" or (line.style == "heading" and rng.random() < 0.4):
        x = max(MARGIN, (width - total) // 2)
    elif style.rules == "chart":
        room = max(1, width - 2 * MARGIN - total - style.gap * (len(masks) - 1))
        x = MARGIN + rng.randrange(room)
    x = min(x, max(0, width - total - style.gap * (len(masks) - 1)))
    spots = []
    for mask in masks:
        spots.append((x, mask.width))
        x += mask.width + style.gap - 2 * PAD
    if line.style == "columns":
        spots[-1] = (width - MARGIN - masks[-1].width, masks[-1].width)
    return spots


def _ink(
    page: Image.Image,
    masks: list[Image.Image],
    spots: list[tuple[int, int]],
    y: int,
    style: PageStyle,
) -> list[Box | None]:
    """Print the masks on the page; return the box of each one's ink (None: it left none)."""
    bounds: list[Box | None] = []
    for mask, (x, _) in zip(masks, spots, strict=True):
        region = (x, y - PAD, x + mask.width, y - PAD + mask.height)
        print_ = mask.point([255 - value * (255 - style.ink) // 255 for value in range(256)])
        page.paste(ImageChops.darker(page.crop(region), print_), region[:2])
        ink = mask.point([255 if value > 60 else 0 for value in range(256)]).getbbox()
        box = ink and (x + ink[0], region[1] + ink[1], x + ink[2], region[1] + ink[3])
        bounds.append(box)
    if not any(bounds):
        raise ValueError("a line left no ink on its page")
    return bounds


def _underline(page: Image.Image, spot: tuple[int, int], y: int, rng: random.Random) -> None:
    level = rng.choice((90, 140, 180))
    ImageDraw.Draw(page).line((spot[0], y, page.width - MARGIN, y), fill=level)


def _draw_rules(page: Image.Image, style: PageStyle, pitch: list[int], rng: random.Random) -> None:
    draw = ImageDraw.Draw(page)
    if style.rules == "ruled":
        y = MARGIN
        for step in pitch:
            y += step
            draw.line((0, y - 3, page.width, y - 3), fill=rng.choice((190, 205)))
    elif style.rules == "chart":
        for x in range(MARGIN, page.width, rng.randrange(50, 110)):
            draw.line((x, 0, x, page.height), fill=215)
        y = MARGIN
        for step in pitch:
            y += step
            if rng.random() < 0.3:
                draw.line((MARGIN, y - 2, page.width - MARGIN, y - 2), fill=190)
    elif style.rules == "form":
        draw.rectangle((6, 6, page.width - 7, page.height - 7), outline=120)


SIZES = {
    "printed": (12, 22),
    "receipts": (15, 24),
    "code": (11, 20),
    "forms": (14, 22),
    "handwriting": (22, 36),
    "charts": (13, 22),
    "degraded": (17, 28),
    "chinese": (14, 26),
}
RULES = {"forms": "form", "charts": "chart"}


def page_style(subset: str, split: str, rng: random.Random, many_faces: bool = False) -> PageStyle:
    """Return the style of one document."""
    faces = faces_for(subset, split, many_faces)
    size = rng.randint(*SIZES[subset])
    body = Pen(rng.choice(faces), size, tracking=_tracking(subset, rng))
    heading = Pen(rng.choice(faces), size + rng.randint(2, 8))
    value = _value_pen(subset, split, size, rng, many_faces)
    if subset == "receipts" and rng.random() < 0.45:
        pitch = rng.choice((2, 2, 3))
        body = Pen(body.face, max(10 * pitch, size), tracking=rng.randint(0, 2), dots=pitch)
    if subset == "handwriting":
        body = Pen(body.face, size, tracking=rng.choice((0, 0, 1)), wobble=rng.choice((0, 1, 2)))
    rules = RULES.get(subset, "none")
    if subset == "handwriting" and rng.random() < 0.5:
        rules = "ruled"
    return PageStyle(
        body=body,
        heading=heading if subset != "handwriting" else body,
        value=value,
        spare=faces,
        leading=rng.randint(105, 150),
        ink=rng.randint(0, 90),
        gap=rng.randint(size, 4 * size),
        rules=rules,
    )


def _tracking(subset: str, rng: random.Random) -> int:
    if subset in ("printed", "charts", "degraded"):
        return rng.choice((0, 0, 0, -1, 1, 2))
    if subset in ("receipts", "code"):
        return rng.choice((0, 0, -1, 1))
    if subset == "chinese":
        return rng.choice((0, 0, 1, 3))
    return 0


def _value_pen(subset: str, split: str, size: int, rng: random.Random, many_faces: bool) -> Pen:
    """Return the pen of filled-in values: handwriting more often than a typewriter."""
    other = "handwriting" if rng.random() < 0.6 else "receipts"
    face = rng.choice(faces_for(other, split, many_faces))
    return Pen(face, size + (rng.randint(4, 10) if other == "handwriting" else 0))
