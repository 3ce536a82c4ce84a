"""How the pages of each subset look: faces, sizes, spacing, rules."""

import random

from manifold_ocr.corpora.synthetic.fonts import faces_for
from manifold_ocr.corpora.synthetic.glyphs import Pen
from manifold_ocr.corpora.synthetic.layout import PageStyle

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


def page_style(subset: str, split: str, rng: random.Random) -> PageStyle:
    """Return the style of one document."""
    faces = faces_for(subset, split)
    size = rng.randint(*SIZES[subset])
    body = Pen(rng.choice(faces), size, tracking=_tracking(subset, rng))
    heading = Pen(rng.choice(faces), size + rng.randint(2, 8))
    value = _value_pen(subset, split, size, rng)
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


def _value_pen(subset: str, split: str, size: int, rng: random.Random) -> Pen:
    """Return the pen of filled-in values: handwriting more often than a typewriter."""
    other = "handwriting" if rng.random() < 0.6 else "receipts"
    face = rng.choice(faces_for(other, split))
    return Pen(face, size + (rng.randint(4, 10) if other == "handwriting" else 0))
