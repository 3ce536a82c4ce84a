"""Lines made of parts that stand apart, and the two vocabularies that fill them."""

import random
from dataclasses import dataclass
from pathlib import Path


def vocabulary(name: str) -> dict[str, tuple[str, ...]]:
    """Return the words of a file beside this one, by slot: `[slot]`, then words and commas."""
    found: dict[str, tuple[str, ...]] = {}
    text = (Path(__file__).parent / name).read_text(encoding="utf-8")
    for section in text.split("[")[1:]:
        slot, _, words = section.partition("]")
        found[slot] = tuple(word.strip() for word in words.replace(",", "\n").split("\n") if word)
    return found


@dataclass(frozen=True, slots=True)
class TextLine:
    """One line as it will be drawn. Its label is the parts joined by one space.

    `parts` are drawn with a visible gap between them. `style` tells the layout what the line
    is: plain, heading, centre, columns (last part flush right), field (a form's label and
    its value), tick or legend (charts). `indent` counts characters.
    """

    parts: tuple[str, ...]
    style: str = "plain"
    indent: int = 0

    @property
    def label(self) -> str:
        """Return the text that the line's image shows."""
        return " ".join(self.parts)


def wrap(text: str, width: int) -> list[str]:
    """Return the lines of a paragraph, at most `width` characters each (longer words whole).

    A last line of one word joins the line before it: alone, a year or a price says nothing
    of the text it comes from, and would stand in several splits.
    """
    lines: list[str] = []
    for word in text.split():
        if lines and len(lines[-1]) + 1 + len(word) <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    if len(lines) > 1 and " " not in lines[-1]:
        lines[-2:] = [f"{lines[-2]} {lines[-1]}"]
    return lines


def paragraph(rng: random.Random, sentences: list[str], width: int) -> list[TextLine]:
    """Return sentences as wrapped lines; the first is indented now and then."""
    lines = wrap(" ".join(sentences), width)
    first = rng.choice((0, 0, 3))
    return [TextLine((line,), indent=first if i == 0 else 0) for i, line in enumerate(lines)]


TRAIN_WORDS = {
    **vocabulary("english_train.txt"),
    "company": (
        "{surname} & {surname}",
        "{place} {noun|cap} Co.",
        "{surname} Brothers Ltd.",
        "{adjective|cap} {noun|cap} GmbH",
        "{noun|cap}{noun|cap} Inc.",
    ),
    "street": ("{int} {surname} Street", "{int} {place} Road", "{int} {noun|cap} Lane"),
}
TEST_WORDS = {
    **vocabulary("english_test.txt"),
    "company": (
        "{noun|cap} of {place} plc",
        "{surname}, {surname} + Partners",
        "{place} {noun|plural|cap} LLC",
        "{surname} {noun|cap} S.A.",
        "The {adjective|cap} {noun|cap}",
    ),
    "street": (
        "{surname} Avenue {int}",
        "{int}-{int} {place} Terrace",
        "Unit {int}, {noun|cap} Way",
    ),
}
