"""Notes as written by hand: lists, messages, reminders."""

import random

from manifold_ocr.corpora.synthetic.grammar import TextSource, capital
from manifold_ocr.corpora.synthetic.texts.lines import TextLine, wrap
from manifold_ocr.corpora.synthetic.texts.words import TEST_WORDS, TRAIN_WORDS

NOTEBOOK = TextSource(
    name="a teacher's notebook",
    words=TRAIN_WORDS,
    templates={
        "note": (
            "call {first} about the {noun} ({phone})",
            "buy {int} {noun|plural}, {product} and {product}",
            "meeting with {surname} at {time}, {place}",
            "{first} {verb|past} the {adjective} {noun} - don't {verb} it!",
            "homework: {verb} pages {int} to {int} & {verb} the {noun}",
            "the {noun} is {adjective} because the {noun} {verb|past}",
            "{date}: {adjective} {noun}, {noun|plural} {adverb} {verb|past}",
            "paid ${amount} for {noun|plural}, owe {first} {int} more",
            "Q: why do {noun|plural} {verb}? A: {adjective} {noun}",
            "ask {first} & {first} to {verb} before {mon} {small}",
            "{small} x {int} = {int}?? check {noun}",
        ),
    },
)
POSTCARDS = TextSource(
    name="postcards and field diaries",
    words=TEST_WORDS,
    templates={
        "note": (
            "we {verb|past} in {place} for {small} {adjective} days",
            "love to {first}, {first} and the {noun|plural}!",
            "saw {int} {noun|plural} on the {adjective} {noun} today",
            "no {noun}, only {adjective} {noun|plural}... {percent} {noun}",
            "give {surname} my {noun}; he {adverb} {verb|third} it",
            "room {int}, {place} Inn, tel. {phone}",
            "sample {code}: {decimal} g, {adjective}, {noun}-like",
            "{month} {small} - {noun} {verb|past} again :(",
            "I'll {verb} you when the {noun}'s {adjective}",
            "cost: {amount} + {amount} ({noun})",
            "remember: {verb} {noun}, {verb} {noun} / {time}",
        ),
    },
)


def page(rng: random.Random, source: TextSource, count: int) -> list[TextLine]:
    """Return `count` lines of notes, wrapped where they are long."""
    lines: list[TextLine] = []
    while len(lines) < count:
        note = source.write(rng, "note")
        text = capital(note) if rng.random() < 0.6 else note
        bullet = rng.choice(("", "", "", "- ", "* "))
        lines += [TextLine((line,)) for line in wrap(bullet + text, rng.randrange(26, 40))]
    return lines[:count]
