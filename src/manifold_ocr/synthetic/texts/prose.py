"""Running English: reports and letters; and notes as written by hand."""

import random

from manifold_ocr.synthetic.grammar import TextSource, capital
from manifold_ocr.synthetic.texts.base import TEST_WORDS, TRAIN_WORDS, TextLine, paragraph, wrap

REPORTS = TextSource(
    name="reports of a district council",
    words=TRAIN_WORDS,
    templates={
        "heading": (
            "{int}. The {adjective} {noun}",
            "{noun|plural|cap} and {noun|plural}, {year}",
            "Chapter {small}: {adjective|cap} {noun|plural}",
            "NOTES ON THE {noun|upper}",
        ),
        "sentence": (
            "The {adjective} {noun} near {place} was {verb|past} by {first} {surname} in {year}.",
            "Every {noun} that we {verb} must {adverb} {verb} the {noun} of the {noun}.",
            "In {month} {year} the {noun} {verb|past} {percent} of its {adjective} {noun|plural}.",
            "{adverb|cap}, the {noun} and the {noun} {verb|past} {adverb}; the {noun} did not.",
            'Mr. {surname} {verb|past}: "A {adjective} {noun} is no {noun}."',
            "It cost ${money} (about {int} {noun|plural}), which is {adjective} for a {noun}.",
            "No {noun} {verb|past} before the {noun} of {date}, so the {noun|plural} {verb|past}.",
            "A {noun}-{noun} {noun} can {verb} up to {big} {noun|plural} a year.",
            "See table {int}.{digit}: {int} of the {int} {adjective} {noun|plural} {verb|past}.",
            "Her {noun}, {adjective} and {adjective}, {verb|past} the {noun} at {time}.",
            "Why did {first} {verb} the {noun}? Nobody in {place} could {verb} it.",
            "Both {noun|plural} are {adjective}, yet neither is {adjective} enough to {verb}.",
            "{surname} et al. ({year}) {verb|past} a {adjective} {noun} of {decimal} mm.",
            "We {verb} that {adjective} {noun|plural} {adverb} {verb} with the {noun}.",
            "Their {noun} was {verb|past} by the {noun} from {company}, {place}.",
            "Between {year} and {year}, {int} {noun|plural} were {verb|past} [{digit}].",
        ),
    },
)
LETTERS = TextSource(
    name="letters of a shipping office",
    words=TEST_WORDS,
    templates={
        "heading": (
            "Section {letter}.{digit} - {adjective|cap} {noun|plural}",
            "On {noun|plural} of the {adjective} {noun}",
            "Part {digit}, {noun|title} & {noun|title}",
            "{place|upper}, {year}",
        ),
        "sentence": (
            "If you {verb} a {adjective} {noun}, please {verb} our {noun} before {date}.",
            "Dear {first}, your {noun} of {month} {small} has {adverb} {verb|past} us all.",
            "There were {int} {noun|plural}, {int} {adjective} {noun|plural} and one {noun}.",
            "I {adverb} {verb} whether Captain {surname} could {verb} such a {noun}!",
            "About {percent} of {noun|plural} from {place} are {adjective} (see p. {int}).",
            "Although the {noun} {verb|past}, {company} still {verb|third} its {noun|plural}.",
            "What a {adjective} {noun}: it {verb|past} {big} times since {year}.",
            "She would rather {verb} the {noun} than {verb} its {adjective} {noun|plural}.",
            "His {noun|plural} weigh {decimal} kg; ours {verb} {decimal} kg at most.",
            "At {time} the {noun} left {place} with {int} {noun|plural} for Dr. {surname}.",
            "They say '{adjective} {noun|plural} {verb} {adverb}', and {first} agrees.",
            "Enclosed are two {noun|plural} worth {money} euros and a {adjective} {noun}.",
            "The {noun}'s {noun} is {adjective}/{adjective}, never {adjective}.",
            "Until {year} nobody {verb|past} {noun|plural} so {adverb} as {surname} & {surname}.",
        ),
    },
)


def page(rng: random.Random, source: TextSource, count: int) -> list[TextLine]:
    """Return about `count` lines: a heading, then paragraphs of wrapped sentences."""
    width = rng.randrange(30, 46)
    lines = [TextLine((capital(source.write(rng, "heading")),), style="heading")]
    while len(lines) < count:
        sentences = [source.write(rng, "sentence") for _ in range(rng.randrange(2, 4))]
        lines += paragraph(rng, [capital(sentence) for sentence in sentences], width)
    return lines[:count]


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


def note_page(rng: random.Random, source: TextSource, count: int) -> list[TextLine]:
    """Return `count` lines of notes, wrapped where they are long."""
    lines: list[TextLine] = []
    while len(lines) < count:
        note = source.write(rng, "note")
        text = capital(note) if rng.random() < 0.6 else note
        bullet = rng.choice(("", "", "", "- ", "* "))
        lines += [TextLine((line,)) for line in wrap(bullet + text, rng.randrange(26, 40))]
    return lines[:count]
