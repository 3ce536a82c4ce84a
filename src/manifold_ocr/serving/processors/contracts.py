"""Contracts: parties, dates, amounts and term, by the phrases that contracts share."""

import bisect
import re
from collections.abc import Iterator, Sequence

from manifold_ocr.reading.layout.lines import Line
from manifold_ocr.reading.page import PageText
from manifold_ocr.serving.processors.fields import SIGN, Extraction, Field, dates

NAME = r"[A-Z0-9][^;()“”\"]{1,90}?"
END = (
    r"(?=\s*(?:\(|,?\s+(?:a|an)\s+(?:[\w-]+\s+){0,4}?(?:company|corporation|partnership|individual|"
    r"entity|person|limited)|,?\s+(?:having|with|whose|located|residing|of\s+\d)|;|\.\s|\.$|$))"
)
BETWEEN = re.compile(
    rf"\b(?:by\s+and\s+)?between:?\s+(?:\(?1\)?\.?\s+)?(?P<first>{NAME})"
    rf"(?P<middle>{END}.{{0,400}}?|\s+)(?:\band\b|\s\(?2\)?\.?\s)\s*(?P<second>{NAME}){END}",
    re.IGNORECASE | re.DOTALL,
)
ROLE = re.compile(
    rf"(?P<name>{NAME})\s*\(\s*(?:hereinafter\s+|each\s+|collectively\s+|referred\s+to\s+as\s+|the\s+)*"
    r"[\"“'‘](?:the\s+)?(?P<role>[A-Z][A-Za-z ]{2,30})[\"”'’]",
    re.DOTALL,
)
NUMBER = r"\d+(?:[,.' ]\d{3})*(?:[.,]\d{1,2})?(?!\d)"
MONEY = re.compile(
    rf"(?P<value>{SIGN}\s?{NUMBER}(?:\s?(?:million|billion|thousand))?|"
    rf"{NUMBER}\s?(?:{SIGN}|dollars|euros?|pounds|ringgit))",
    re.IGNORECASE,
)
NOT_A_NUMBER = r"(?!(?:of|is|for|the|a|an|than|least|most)\b)"
LENGTH = (
    NOT_A_NUMBER + r"(?:[\w-]+\s+)?\(?\d{1,3}\)?[\s-]*(?:\(\w+\)\s*)?"
    r"(?:calendar\s+)?(?:day|week|month|year)s?\b|(?:one|two|three|four|five|six|seven|eight|nine|ten|"
    r"twelve|eighteen|twenty-four|thirty-six)\s+(?:\(\d+\)\s+)?(?:day|week|month|year)s?"
)
TERM = re.compile(
    rf"\b(?:initial\s+term|term|period|duration)\b[^.;]{{0,60}}?\b(?P<value>{LENGTH})",
    re.IGNORECASE,
)
EFFECTIVE = re.compile(
    r"effective|dated|made\s+(?:and\s+entered\s+into\s+)?(?:on|as\s+of|this)|entered\s+into|commenc|"
    r"as\s+of",
    re.IGNORECASE,
)
ENDING = re.compile(
    r"terminat\w*|expir\w*|until|ends?\s+on|through|no\s+later\s+than", re.IGNORECASE
)


class _Text:
    """The pages as one text in which each place knows its line."""

    def __init__(self, pages: Sequence[tuple[int, PageText]]) -> None:
        self._starts: list[int] = []
        self._lines: list[tuple[int, Line]] = []
        parts, length = [], 0
        for number, page in pages:
            for line in page.lines:
                self._starts.append(length)
                self._lines.append((number, line))
                text = line.text.strip() + " "
                parts.append(text)
                length += len(text)
        self.value = "".join(parts)

    def field(self, name: str, value: str, place: int, sure: float) -> Field:
        """Return a field with the line in which it begins as its source."""
        number, line = self._lines[bisect.bisect_right(self._starts, place) - 1]
        confidence = sure * (1.0 if line.confidence is None else line.confidence)
        return Field(name, " ".join(value.split()).strip(" ,:"), confidence, number, line.box)


def extract_contract(pages: Sequence[tuple[int, PageText]]) -> Extraction:
    """Return parties, dates, amounts and term of a contract."""
    text = _Text(pages)
    found = [*_parties(text), *_dates(text), *_amounts(text), *_terms(text)]
    names = {field.name for field in found}
    flags = [f"no {what} was found" for what in ("party", "term") if what not in names]
    return Extraction(kind="contract", fields=tuple(found), flags=tuple(flags))


def _parties(text: _Text) -> Iterator[Field]:
    known: set[str] = set()
    if match := BETWEEN.search(text.value):
        for group in ("first", "second"):
            found = text.field("party", match[group], match.start(group), 0.9)
            known.add(found.value.casefold())
            yield found
    for match in ROLE.finditer(text.value):
        name = re.split(r"\b(?:between|and|agreement is made by)\s+(?=[A-Z])", match["name"])[-1]
        found = text.field("party", name.split(",")[0], match.start("role"), 0.75)
        fresh = found.value.casefold() not in known
        if fresh and len(known) < 6 and not re.search(r"agreement|services|fee|term", name, re.I):
            known.add(found.value.casefold())
            yield found


def _dates(text: _Text) -> Iterator[Field]:
    for place, printed, _ in dates(text.value):
        before = text.value[max(0, place - 60) : place]
        sentence = before.rsplit(". ", 1)[-1]
        ending = ENDING.search(sentence)
        begins = EFFECTIVE.search(sentence) or re.search(r"\bthis\s*$", sentence)  # ... day of
        if ending and not (begins and begins.start() > ending.start()):
            yield text.field("end_date", printed, place, 0.8)
        else:
            yield text.field("effective_date" if begins else "date", printed, place, 0.85)


def _amounts(text: _Text) -> Iterator[Field]:
    for match in MONEY.finditer(text.value):
        yield text.field("amount", match["value"].rstrip(" .,"), match.start(), 0.9)


def _terms(text: _Text) -> Iterator[Field]:
    for match in TERM.finditer(text.value):
        before = text.value[max(0, match.start() - 12) : match.start("value")]
        notice = re.search(r"notice|cure|grace", before, re.IGNORECASE)
        yield text.field("notice" if notice else "term", match["value"], match.start("value"), 0.85)
