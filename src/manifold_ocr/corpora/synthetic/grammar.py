"""Templates to text: `{slot|modifier}` is replaced by a word of a vocabulary or a number."""

import random
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from manifold_ocr.corpora.synthetic.numerals import NUMERALS
from manifold_ocr.corpora.synthetic.vocabulary.lists import words

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


DOUBLING = frozenset(
    words(
        "admit drop equip expel occur permit plan prefer refer rip ship snap step stop submit "
        "transfer trap travel drum drag clap chat grab hug jog rub scan scrub spot stir tap trim "
        "wrap control plot patrol cancel"
    )
)  # verbs that double their last consonant


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
