"""General English and Chinese for rehearsal: what a reader must not forget while it learns.

The vocabulary is that of the train split, so rehearsal shows no word of the test split.
"""

import random

from manifold_ocr.synthetic.grammar import TextSource, capital
from manifold_ocr.synthetic.texts.base import TRAIN_WORDS
from manifold_ocr.synthetic.texts.chinese import ARTICLES, NO_LINE_START
from manifold_ocr.synthetic.texts.prose import REPORTS

ENGLISH = TextSource(
    name="general English",
    words={
        **TRAIN_WORDS,
        "pronoun": ("he", "she", "it", "they", "we", "you", "I", "one"),
        "preposition": ("in", "on", "of", "to", "for", "with", "from", "by", "under", "between"),
        "link": ("however", "therefore", "moreover", "in fact", "for example", "as a result"),
        "modal": ("can", "could", "may", "might", "must", "should", "will", "would"),
        "which": ("which", "that", "whose {noun}", "where the {noun}"),
        "journal": (
            "J. {noun|cap} Res.",
            "Proc. {place} Soc.",
            "Ann. {noun|cap}",
            "{noun|cap} Lett.",
        ),
    },
    templates={
        "sentence": (
            *REPORTS.templates["sentence"],
            "We {verb} the {noun} of each {noun} {preposition} the {noun} and {verb} its {noun}.",
            "In this {noun}, a {adjective} {noun} for {adjective} {noun} {noun} is {verb|past}.",
            "{link|cap}, {pronoun} {modal} not {verb} that the {noun} is {adjective}.",
            "The {noun}, {which} {verb|past} in {year}, {modal} {verb} the {adjective} {noun}.",
            "Although it is {adjective}, this has been {verb|past} at least {small} times.",
            "As shown in Fig. {digit}, the {noun} is about {decimal} to {decimal} cm.",
            "These {noun|plural} were not as {adjective} as those of {surname} [{small}].",
            "There is, {link}, no {noun} that {modal} {verb} all {noun|plural} at once.",
            "What {modal} {pronoun} {verb} if the {noun} isn't {adjective}? It doesn't {verb}.",
            "{surname}, {letter}. {letter}. ({year}), {journal}, {int}, {int}-{int}.",
            "Table {digit}. {adjective|cap} {noun|plural} of the {noun}, {year}-{year} (in %).",
            '"{pronoun|cap} {modal} {verb} the {noun}," said {first}, "but not {adverb}."',
            "First, let x = {decimal} and y = {int}; then {noun} < {int}% of the {noun}.",
            "The {adjective} {noun} (see Sect. {digit}.{digit}) is then {verb|past} to {noun}.",
            "All {noun|plural} should be sent to {first} {surname}, {street}, {place} {zip}.",
            "It was {adjective} of them to {verb}; it was {adjective} of us to {verb} {adverb}.",
            "{noun|cap} {noun|plural} which {verb} {noun|plural} {verb} {preposition} {month}.",
            "Since {date}, more than {big} {noun|plural} have {verb|past} the {noun} in {place}.",
            "He had a {noun}, a {noun} and two {adjective} {noun|plural}; she had none of these.",
            "{verb|cap} the {noun} {adverb}, then {verb} it for {small} minutes at {int} \u00b0C.",
            "The price of {noun} rose by {percent} to ${money} while the {noun} fell to {amount}.",
        ),
        "heading": (
            *REPORTS.templates["heading"],
            "{digit}.{digit} {adjective|cap} {noun|cap} {preposition} {noun|cap}",
            "ABSTRACT",
            "{noun|upper} {preposition|upper} {adjective|upper} {noun|upper}",
            "{first} {letter}. {surname} and {first} {surname}",
            "Volume {int}, Number {small}, {month} {year}",
        ),
    },
)
CHINESE = TextSource(
    name="general Chinese",
    words={
        **ARTICLES.words,
        "n": (*ARTICLES.words["n"], *("{hanzi}",) * (len(ARTICLES.words["n"]) // 2)),
        "abc": (
            "GDP",
            "CPU",
            "App",
            "VIP",
            "5G",
            "PDF",
            "Windows",
            "API",
            "A股",
            "B2B",
            "DNA",
            "Wi-Fi",
        ),
    },
    templates={
        "heading": (
            *ARTICLES.templates["heading"],
            "{int}.{digit} {n}的{n}",
            "（{digit}）{n}与{n}",
        ),
        "sentence": (
            *ARTICLES.templates["sentence"],
            "{abc}{n}的{n}为{decimal}，同比增长{percent}。",
            "他说：“{n}是我们的{n}，不是{hanzi}。”",
            "例{digit}：把{hanzi}和{n}放在一起，会怎么样？",
            "（{digit}）{n}，即{hanzi}，指的是{a}的{n}；",
            "今天的{n}比昨天更{a}，大家都很高兴！",
            "从{year}年到{year}年，{n}由{big}{unit}减少到{int}{unit}。",
            "{surname}先生在{place}见到了{hanzi}、{hanzi}和{n}。",
            "其中，{n}占{percent}，{hanzi}占{percent}，其余为{n}。",
            "那么，什么是{n}呢？这就是{a}的{hanzi}。",
            "没有{n}就没有{n}，也就没有{hanzi}。",
        ),
        "row": (*ARTICLES.templates["row"], "{n} {int} {amount} {percent}"),
    },
)


def english_line(rng: random.Random) -> str:
    """Return a line of 8 to 88 characters cut at words from running English."""
    if rng.random() < 0.08:
        return ENGLISH.write(rng, "heading")
    words = " ".join(capital(ENGLISH.write(rng, "sentence")) for _ in range(3)).split()
    start = rng.randrange(len(words) // 2)
    width = rng.randrange(8, 89)
    line = words[start]
    for word in words[start + 1 :]:
        if len(line) + 1 + len(word) > width:
            break
        line += f" {word}"
    return line + "-" if rng.random() < 0.05 and line[-1].isalpha() else line


def chinese_line(rng: random.Random) -> str:
    """Return a line of 3 to 36 characters of running Chinese."""
    if rng.random() < 0.15:
        return CHINESE.write(rng, rng.choice(("heading", "row")))
    text = "".join(CHINESE.write(rng, "sentence") for _ in range(3))
    start = rng.randrange(len(text) // 2)
    return text[start : start + rng.randrange(3, 37)].lstrip(NO_LINE_START).strip()
