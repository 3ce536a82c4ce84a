"""What all processors share: fields with their source, rows as seen, amounts and dates."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any

from manifold_ocr.reading.layout.lines import Line, overlap, union
from manifold_ocr.reading.page import PageText
from manifold_ocr.records import Box

CURRENCIES = {
    "RM": "MYR", "MYR": "MYR", "US$": "USD", "USD": "USD", "$": "USD", "€": "EUR", "EUR": "EUR",
    "£": "GBP", "GBP": "GBP", "¥": "CNY", "CNY": "CNY", "RMB": "CNY", "JPY": "JPY", "S$": "SGD",
    "SGD": "SGD", "CHF": "CHF", "₹": "INR", "INR": "INR", "AUD": "AUD", "CAD": "CAD",
}  # fmt: skip
SIGN = r"(?:US\$|S\$|RM|MYR|USD|EUR|GBP|CNY|RMB|JPY|SGD|CHF|INR|AUD|CAD|[$€£¥₹])"
AMOUNT = re.compile(
    rf"(?<![\w.,/:-])(?P<sign>{SIGN})?\s?(?P<value>-?\d{{1,3}}(?:[,.']\d{{3}})+[.,]\d{{2}}"
    r"|-?\d{1,3}(?: \d{3})+,\d{2}"  # "250 187.50" is a quantity and an amount
    r"|-?\d+\s?[.,]\s?\d{2})(?![\d/:]|[.,]\d)(?!\s?%)",
    re.IGNORECASE,
)
MONTHS = {
    name: number
    for number, names in enumerate(
        ("jan january", "feb february", "mar march", "apr april", "may", "jun june", "jul july",
         "aug august", "sep sept september", "oct october", "nov november", "dec december"), 1
    )
    for name in names.split()
}  # fmt: skip
MONTH = "(?P<word>" + "|".join(sorted(MONTHS, key=len, reverse=True)) + ")"
YEAR = r"(?P<year>(?:19|20)\d{2}|\d{2})(?!\d(?!\d?\s?:))"  # a time may follow without a space
DATES = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"(?<!\d)(?P<year>(?:19|20)\d{2})[-/.](?P<month>\d{1,2})[-/.](?P<day>\d{1,2})(?!\d)",
        r"(?P<year>(?:19|20)\d{2})\s?年\s?(?P<month>\d{1,2})\s?月\s?(?P<day>\d{1,2})\s?日",
        rf"(?<![\d.])(?P<day>\d{{1,2}})(?P<by>\s?[-/.]\s?)(?P<month>\d{{1,2}})(?P=by){YEAR}",
        rf"(?<!\d)(?P<day>\d{{1,2}})(?:st|nd|rd|th)?(?: day of)?[-/\s,.]*{MONTH}[-/\s,.']*{YEAR}",
        rf"\b{MONTH}\.?\s?(?P<day>\d{{1,2}})(?:st|nd|rd|th)?[\s,]+{YEAR}",
    )
)


@dataclass(frozen=True, slots=True)
class VisualRow:
    """Lines that stand side by side on page `page`, left to right."""

    page: int
    lines: tuple[Line, ...]

    @property
    def text(self) -> str:
        """The texts, joined by a space."""
        return " ".join(line.text.strip() for line in self.lines)

    @property
    def box(self) -> Box:
        """The box around the lines."""
        return union([line.box for line in self.lines])

    @property
    def confidence(self) -> float:
        """The least confidence of the lines; 1 where none is known."""
        return min(
            (line.confidence for line in self.lines if line.confidence is not None), default=1.0
        )


@dataclass(frozen=True, slots=True)
class Field:
    """A field: its value exactly as printed, how sure it is in [0, 1], and where it stands.

    The confidence is the reading's least one times the strength of the rule that found it.
    """

    name: str
    value: str
    confidence: float
    page: int
    box: Box


@dataclass(frozen=True, slots=True)
class Item:
    """A line item: what, and the amount as printed."""

    description: str
    amount: str
    page: int
    box: Box


@dataclass(frozen=True, kw_only=True)
class Extraction:
    """What was found; `flags` say where values contradict each other, none is altered."""

    kind: str
    fields: tuple[Field, ...]
    items: tuple[Item, ...] = ()
    flags: tuple[str, ...] = field(default=())

    def value(self, name: str) -> str:
        """Return the first field of a name; empty where there is none."""
        return next((found.value for found in self.fields if found.name == name), "")

    def as_json(self) -> dict[str, Any]:
        """Return plain values; boxes in pixels, one decimal."""
        plain = asdict(self)
        for row in [*plain["fields"], *plain["items"]]:
            row["box"] = [round(value, 1) for value in row["box"]]
            if "confidence" in row:
                row["confidence"] = round(row["confidence"], 4)
        return plain


def visual_rows(number: int, page: PageText) -> list[VisualRow]:
    """Return the rows of a page as the eye sees them, top to bottom, whatever their columns."""
    rows: list[list[tuple[Box, Line]]] = []
    upright = [(_upright(line.box, page), line) for line in page.lines]
    for box, line in sorted(upright, key=lambda pair: pair[0][1] + pair[0][3]):
        for row in rows[-4:]:
            last = row[-1][0]
            shared = overlap(box[1], box[3], last[1], last[3])
            apart = all(overlap(box[0], box[2], other[0], other[2]) < 3 for other, _ in row)
            if apart and shared > 0.5 * min(box[3] - box[1], last[3] - last[1]):
                row.append((box, line))
                break
        else:
            rows.append([(box, line)])
    return [
        VisualRow(number, tuple(line for _, line in sorted(row, key=lambda pair: pair[0][0])))
        for row in rows
        if any(line.text.strip() for _, line in row)
    ]


def _upright(box: Box, page: PageText) -> Box:
    """Return a box of the image on the page as it is after its quarter turns."""
    (x0, y0, x1, y1), (width, height) = box, page.size
    return (
        box,
        (y0, width - x1, y1, width - x0),
        (width - x1, height - y1, width - x0, height - y0),
        (height - y1, x0, height - y0, x1),
    )[page.turn % 4]


def amounts(text: str) -> list[re.Match[str]]:
    """Return the amounts of money of a text: two decimals, thousands grouped or not."""
    return list(AMOUNT.finditer(text))


def amount_value(printed: str) -> Decimal:
    """Return the number of an amount as printed: the last two digits are decimals."""
    digits = re.sub(r"[^\d]", "", printed)
    value = Decimal(digits or "0").scaleb(-2)
    return -value if "-" in printed else value


def dates(text: str) -> Iterator[tuple[int, str, date]]:
    """Yield (place, as printed, date) of valid dates, by place; day before month where unclear."""
    found: dict[int, tuple[str, date]] = {}
    taken: list[tuple[int, int]] = []
    for pattern in DATES:
        for match in pattern.finditer(text):
            if any(match.start() < end and match.end() > start for start, end in taken):
                continue
            parsed = _date(match.groupdict())
            if parsed is not None:
                found[match.start()] = (match[0].strip(), parsed)
                taken.append(match.span())
    for place in sorted(found):
        yield place, *found[place]


def _date(parts: dict[str, str | None]) -> date | None:
    year = int(parts["year"] or 0)
    year += 0 if year > 99 else 2000 if year < 70 else 1900
    day = int(parts["day"] or 0)
    word = parts.get("word")
    month = MONTHS[word.lower()] if word else int(parts.get("month") or 0)
    for d, m in ((day, month), (month, day)):
        try:
            return date(year, m, d)
        except ValueError:
            if word:
                return None
    return None


def joined(rows: Sequence[VisualRow]) -> tuple[str, Box, float]:
    """Return text, box and least confidence of rows of one page."""
    boxes = [row.box for row in rows]
    return " ".join(row.text for row in rows), union(boxes), min(row.confidence for row in rows)
