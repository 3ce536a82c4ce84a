"""Templates to text: `{slot|modifier}` is replaced by a word of a vocabulary or a number."""

import random
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_LONG_MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
_LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ"


def digits(rng: random.Random, count: int) -> str:
    """Return `count` random digits."""
    return "".join(rng.choice("0123456789") for _ in range(count))


def letters(rng: random.Random, count: int) -> str:
    """Return `count` random capitals without I and O, as printed codes avoid them."""
    return "".join(rng.choice(_LETTERS) for _ in range(count))


def amount(rng: random.Random, largest: int, separator: str = ",") -> str:
    """Return an amount with two decimals below `largest`, small ones more often."""
    whole = rng.randrange(rng.choice((10, 100, largest)))
    return f"{whole:,}.{rng.randrange(100):02d}".replace(",", separator)


def _date(rng: random.Random) -> str:
    year, month, day = rng.randrange(1996, 2030), rng.randrange(1, 13), rng.randrange(1, 29)
    return rng.choice(
        (
            f"{day:02d}/{month:02d}/{year}",
            f"{year}-{month:02d}-{day:02d}",
            f"{day}.{month}.{year}",
            f"{day:02d}-{_MONTHS[month - 1]}-{year % 100:02d}",
            f"{day} {_MONTHS[month - 1]} {year}",
            f"{_LONG_MONTHS[month - 1]} {day}, {year}",
        )
    )


def _time(rng: random.Random) -> str:
    hour, minute, second = rng.randrange(24), rng.randrange(60), rng.randrange(60)
    return rng.choice(
        (
            f"{hour:02d}:{minute:02d}",
            f"{hour:02d}:{minute:02d}:{second:02d}",
            f"{hour % 12 + 1}:{minute:02d} {'AM' if hour < 12 else 'PM'}",
        )
    )


def _phone(rng: random.Random) -> str:
    return rng.choice(
        (
            f"({digits(rng, 3)}) {digits(rng, 3)}-{digits(rng, 4)}",
            f"+{rng.randrange(20, 99)} {digits(rng, 2)} {digits(rng, 4)} {digits(rng, 4)}",
            f"{digits(rng, 2)}-{digits(rng, 4)} {digits(rng, 4)}",
            f"0{digits(rng, 3)}/{digits(rng, 6)}",
        )
    )


def _code(rng: random.Random) -> str:
    return rng.choice(
        (
            f"{letters(rng, 2)}-{digits(rng, 5)}",
            f"{letters(rng, 3)}{digits(rng, 6)}",
            f"{digits(rng, 4)}-{letters(rng, 1)}{digits(rng, 3)}",
            f"{letters(rng, 1)}{digits(rng, 2)}/{digits(rng, 4)}-{letters(rng, 2)}",
            f"{digits(rng, 3)} {digits(rng, 3)} {digits(rng, 3)}",
        )
    )


def _hex(rng: random.Random) -> str:
    return "".join(rng.choice("0123456789abcdef") for _ in range(rng.choice((4, 6, 8))))


def _decimal(rng: random.Random) -> str:
    places = rng.choice((1, 2, 2, 3))
    return f"{rng.randrange(rng.choice((10, 100, 1000)))}.{digits(rng, places)}"


def _card(rng: random.Random) -> str:
    shown = digits(rng, 4)
    return rng.choice((f"**** **** **** {shown}", f"XXXX-XXXX-XXXX-{shown}", f"xxxxxxxx{shown}"))


def _hanzi(rng: random.Random) -> str:
    """Return two or three characters of the first level of GB 2312: the 3,755 most used."""
    return "".join(_gb2312(rng.randrange(3755)) for _ in range(rng.choice((2, 2, 3))))


def _gb2312(index: int) -> str:
    """Return a character of GB 2312's first level (rows 16 to 55, 94 places each)."""
    row, place = divmod(index, 94)
    return bytes((0xA0 + 16 + row, 0xA1 + place)).decode("gb2312")


NUMERALS: dict[str, Callable[[random.Random], str]] = {
    "digit": lambda rng: str(rng.randrange(1, 10)),
    "int": lambda rng: str(rng.randrange(1, rng.choice((10, 100, 1000)))),
    "small": lambda rng: str(rng.randrange(2, 31)),
    "big": lambda rng: f"{rng.randrange(1000, 9_999_999):,}",
    "month_number": lambda rng: str(rng.randrange(1, 13)),
    "day": lambda rng: str(rng.randrange(1, 29)),
    "year": lambda rng: str(rng.randrange(1950, 2031)),
    "percent": lambda rng: f"{rng.randrange(100)}.{rng.randrange(10)}%",
    "decimal": _decimal,
    "amount": lambda rng: amount(rng, 1000),
    "money": lambda rng: amount(rng, 100_000),
    "plain_money": lambda rng: amount(rng, 10_000, ""),
    "date": _date,
    "time": _time,
    "phone": _phone,
    "code": _code,
    "hex": _hex,
    "card": _card,
    "long_number": lambda rng: digits(rng, rng.randrange(8, 15)),
    "spaced_number": lambda rng: " ".join(digits(rng, 4) for _ in range(rng.randrange(2, 5))),
    "zip": lambda rng: digits(rng, 5),
    "letter": lambda rng: rng.choice(_LETTERS),
    "letters": lambda rng: letters(rng, rng.choice((2, 3))),
    "month": lambda rng: rng.choice(_LONG_MONTHS),
    "mon": lambda rng: rng.choice(_MONTHS),
    "quarter": lambda rng: f"Q{rng.randrange(1, 5)}",
    "hanzi": _hanzi,
    "version": lambda rng: f"{rng.randrange(6)}.{rng.randrange(20)}.{rng.randrange(10)}",
}


SLOT = re.compile(r"\{([a-z_]+)((?:\|[a-z]+)*)\}")
MAX_DEPTH = 4


@dataclass(frozen=True, slots=True)
class TextSource:
    """A family of texts: sentence templates by kind, and the words that fill their slots.

    A vocabulary entry may itself hold slots.
    """

    name: str
    templates: Mapping[str, tuple[str, ...]]
    words: Mapping[str, tuple[str, ...]]

    def write(self, rng: random.Random, kind: str) -> str:
        """Return one text of a kind."""
        return expand(rng.choice(self.templates[kind]), self.words, rng)


def expand(
    template: str, vocabulary: Mapping[str, tuple[str, ...]], rng: random.Random, depth: int = 0
) -> str:
    """Replace every slot of `template`; what a numeral or word gives is not read again.

    Raises:
        KeyError: a slot is neither in the vocabulary nor a numeral, or nests too deeply.
    """
    if depth > MAX_DEPTH:
        raise KeyError(f"slots nest deeper than {MAX_DEPTH}: {template}")

    def fill(match: re.Match[str]) -> str:
        name, modifiers = match.group(1), match.group(2).split("|")[1:]
        if name in vocabulary:
            text = expand(rng.choice(vocabulary[name]), vocabulary, rng, depth + 1)
        else:
            text = NUMERALS[name](rng)
        for modifier in modifiers:
            text = MODIFIERS[modifier](text)
        return text

    return str(SLOT.sub(fill, template))


def plural(word: str) -> str:
    """Return the regular English plural."""
    if word.endswith(("s", "x", "z", "ch", "sh")):
        return word + "es"
    if word.endswith("y") and word[-2:-1] not in "aeiou":
        return word[:-1] + "ies"
    return word + "s"


# verbs that double their last consonant
_DOUBLING = """
admit drop equip expel occur permit plan prefer refer rip ship snap step stop submit transfer trap
travel drum drag clap chat grab hug jog rub scan scrub spot stir tap trim wrap control plot patrol
cancel
"""
DOUBLING = frozenset(_DOUBLING.split())


def past(verb: str) -> str:
    """Return the regular English past tense."""
    if verb in DOUBLING:
        return verb + verb[-1] + "ed"
    if verb.endswith("e"):
        return verb + "d"
    if verb.endswith("y") and verb[-2:-1] not in "aeiou":
        return verb[:-1] + "ied"
    return verb + "ed"


def gerund(verb: str) -> str:
    """Return the regular English -ing form."""
    if verb in DOUBLING:
        return verb + verb[-1] + "ing"
    return (verb[:-1] if verb.endswith("e") and not verb.endswith("ee") else verb) + "ing"


def capital(text: str) -> str:
    """Return `text` with its first character in upper case, the rest untouched."""
    return text[:1].upper() + text[1:]


def snake(text: str) -> str:
    """Return words joined by underscores, in lower case."""
    return "_".join(re.findall(r"[A-Za-z0-9]+", text)).lower()


def camel(text: str) -> str:
    """Return words joined with inner capitals."""
    parts: list[str] = re.findall(r"[A-Za-z0-9]+", text)
    return parts[0].lower() + "".join(capital(part) for part in parts[1:])


MODIFIERS: dict[str, Callable[[str], str]] = {
    "cap": capital,
    "upper": str.upper,
    "lower": str.lower,
    "title": lambda text: " ".join(capital(part) for part in text.split(" ")),
    "plural": plural,
    "past": past,
    "ing": gerund,
    "third": plural,
    "snake": snake,
    "camel": camel,
    "pascal": lambda text: capital(camel(text)),
}
