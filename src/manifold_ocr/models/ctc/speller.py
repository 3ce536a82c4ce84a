"""A CTC adapter's own language model: when it is asked, how much it counts (torch-free).

A search by frames and language model together corrects lines that look like the texts that it
is made of, and spoils others: on Chinese pages a model of receipts doubled the errors. So a line is
left alone unless its greedy text is as probable as most of the validation lines' are, and no
character counts less than `floor`. Case is not its business: characters are compared in lower case,
so labels in upper case serve too. Nor are digits: each is as likely as the others.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from rapidfuzz.distance import Levenshtein

from manifold_ocr.errors import UserError
from manifold_ocr.files import read_json, write_json
from manifold_ocr.models.ctc.decode import decode_frames, label_text, other_order
from manifold_ocr.models.ctc.decode_beam import beam_search
from manifold_ocr.models.ctc.language_model import (
    FILE,
    START,
    CharacterModel,
    language_model,
    load_language_model,
)
from manifold_ocr.models.ctc.words import WordModel, word_model
from manifold_ocr.records import Sample

SETTINGS = "language_model.json"
CANDIDATES = 16  # classes per frame that the search may follow
SHARES = ((0.2, 0.5), (0.4, 1.0))  # tried on validation: weight, gain per character
MORE_SHARES = ((0.7, 1.75), (1.0, 2.5))  # with words, too: they are not those of the labels alone
FLOOR = -1.5  # the least that a character adds to a text's score
ALIEN = 5.0  # percent of the validation lines that are left alone as unlike the texts
LEAST = -8.0  # log-probability below which a character is simply unknown
WORDS_SHARE = 0.8  # of the words' probabilities beside those of the labels, where there are both
CAPITAL = 0.2  # share of the ends of words inside a name likeThis
LONGEST_WORD = 16  # letters of a word that its next letter is looked for with
KEPT = 200_000  # log-probabilities that are kept
DIGITS = str.maketrans("123456789", "0" * 9)


@dataclass(frozen=True)
class SpellerSettings:
    """`weight` of the language model's log-probability, `gain` per character, `beam` texts.

    Lines whose greedy text has a mean log-probability below `fit` are left alone. `words` are
    the languages whose words are known beside the texts. `digits_alike` says that the model
    was made of texts whose digits are all 0.
    """

    weight: float
    gain: float
    beam: int
    fit: float
    floor: float = -1e9
    words: Sequence[str] = ()
    digits_alike: bool = False


class Speller:
    """Chooses a line's text by its frames and a language model."""

    def __init__(self, model: CharacterModel, settings: SpellerSettings) -> None:
        self.model = model
        self.settings = settings
        self.words: WordModel | None = None
        if settings.words:
            self.words = word_model(tuple(settings.words))
        self._cached = lru_cache(maxsize=KEPT)(self._log_probability)
        self._reach = max(model.order, LONGEST_WORD if settings.words else 0)

    def __call__(
        self,
        greedy: str,
        classes: np.ndarray,
        probabilities: np.ndarray,
        characters: Sequence[str],
    ) -> str:
        """Return the best text of a line whose frames have these (T, K) classes.

        `greedy` is what the frames say alone; it comes back where the line is of another kind.
        """
        if not greedy or self.fit(other_order(greedy)) < self.settings.fit:
            return greedy
        weight, gain, floor = self.settings.weight, self.settings.gain, self.settings.floor

        def score(text: str, character: str) -> float:
            return max(floor, weight * self.log_probability(text, character) + gain)

        logs = np.log(np.maximum(probabilities, np.finfo(np.float32).tiny))
        found = beam_search(classes, logs, characters, self.settings.beam, score)
        return other_order(found[0][0])

    def fit(self, text: str) -> float:
        """Return the mean log-probability of a text's characters, each at least LEAST."""
        values = [max(LEAST, self.log_probability(text[:n], text[n])) for n in range(len(text))]
        return sum(values) / max(1, len(values))

    def log_probability(self, text: str, character: str) -> float:
        """Return log P(character | the text so far) of labels and words together, natural."""
        if len(text) <= self._reach:
            return self._cached(START, text, character)
        return self._cached("", text[-self._reach :], character)

    def _log_probability(self, start: str, near: str, character: str) -> float:
        probability = self._of_labels(start + near, character)
        if self.words:
            words = self._of_words(near, character)
            probability = (1 - WORDS_SHARE) * probability + WORDS_SHARE * words
        return math.log(probability)

    def _of_labels(self, context: str, character: str) -> float:
        context, character = lowered(context), lowered(character)
        if not self.settings.digits_alike:
            return math.exp(self.model.log_probability(context, character))
        same = self.model.log_probability(context.translate(DIGITS), character.translate(DIGITS))
        return math.exp(same) / (10 if character.isascii() and character.isdigit() else 1)

    def _of_words(self, text: str, character: str) -> float:
        """Return P(character | the word so far); marks follow as they do in the labels."""
        assert self.words is not None
        start = word_start(text)
        probability = 1.0
        if not is_letter(character):
            if start:
                probability = self.words.probability(start, "")
            return probability * self._of_labels(text[-1:], character)
        if start and character.isupper() and text[-1].islower():
            probability, start = CAPITAL * self.words.probability(start, ""), ""
        for letter in character.casefold():  # published words are casefolded: two for a sharp s
            probability *= self.words.probability(start, letter)
            start += letter
        return probability


def is_letter(character: str) -> bool:
    """Return whether a character is part of a word."""
    return character.isalpha() or character == "'"


def word_start(text: str) -> str:
    """Return the letters of the word that a text ends in, casefolded.

    A capital after a small letter begins a word, as in namesLikeThis.
    """
    place = len(text)
    while place and is_letter(text[place - 1]):
        if place < len(text) and text[place].isupper() and text[place - 1].islower():
            break
        place -= 1
    return text[place:].casefold()


def lowered(text: str) -> str:
    """Return a text in lower case, of the same length."""
    low = text.lower()
    if len(low) == len(text):
        return low
    return "".join(c if len(c.lower()) != 1 else c.lower() for c in text)


def load_speller(adapter: Path | None) -> Speller | None:
    """Return the speller that an adapter keeps, None for most.

    Raises:
        UserError: its files are damaged.
    """
    if adapter is None or not (adapter / SETTINGS).is_file():
        return None
    try:
        settings = SpellerSettings(**read_json(adapter / SETTINGS))
    except TypeError as error:
        raise UserError(f"{adapter / SETTINGS}: is damaged ({error}); train again") from None
    return Speller(load_language_model(adapter), settings)


def own_texts(source: str) -> list[str]:
    """Return the lines of the text files in `source`, such as labels+texts/letters.txt.

    Raises:
        UserError: a file cannot be read, or holds no line of text.
    """
    lines: list[str] = []
    for name in source.split("+"):
        if name == "labels":
            continue
        try:
            texts = Path(name).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(
                f"decode.language_model: {name} cannot be read ({error}); name a text file in "
                "UTF-8, labels, labels+FILE or none"
            ) from None
        if not any(map(str.strip, texts)):
            raise UserError(f"decode.language_model: {name} holds no line of text")
        lines += texts
    return lines


def keep_speller(
    adapter: Path,
    texts: Iterable[str],
    model: Any,
    val: Sequence[Sample],
    image_root: Path,
    beam: int,
    words: Sequence[str] = (),
) -> str:
    """Write a language model of `texts` into an adapter's folder, if it helps on `val` rows.

    `model` is the adapter loaded with `searching`; `words` are languages, as in the settings.
    Returns what was done, as a sentence.
    """
    known = language_model(
        lowered(label_text(text)).translate(DIGITS) for text in texts if text.strip()
    )
    lines: list[tuple[np.ndarray, np.ndarray]] = list(model.sample_candidates(val, image_root))
    labels = [lowered(label_text(sample.text)) for sample in val]
    greedy = [decode_frames(c[:, 0], p[:, 0], model.characters).text for c, p in lines]
    settings = SpellerSettings(0.0, 0.0, beam, -math.inf, FLOOR, tuple(words), digits_alike=True)
    speller = Speller(known, settings)
    fits = [speller.fit(other_order(text)) for text in greedy]
    threshold = math.floor(1000 * float(np.percentile(fits, ALIEN))) / 1000
    before = _errors(greedy, labels)
    best, chosen = before, None
    for weight, gain in (*SHARES, *MORE_SHARES) if words else SHARES:
        speller.settings = replace(settings, weight=weight, gain=gain, fit=threshold)
        read = [
            speller(text, *line, model.characters) for text, line in zip(greedy, lines, strict=True)
        ]
        if (errors := _errors(read, labels)) < best:
            best, chosen = errors, speller.settings
    for name in (FILE, SETTINGS):
        (adapter / name).unlink(missing_ok=True)
    if chosen is None:
        return f"train: the language model does not help ({before} validation errors): left out"
    known.save(adapter)
    write_json(adapter / SETTINGS, asdict(chosen))
    beside = f" and the words of {', '.join(words)}" if words else ""
    return (
        f"train: language model of {len(known.grams[-1]):,} {known.order}-grams{beside}, weight "
        f"{chosen.weight}: validation errors without case {before} -> {best}"
    )


def _errors(read: Sequence[str], labels: Sequence[str]) -> int:
    pairs = zip(read, labels, strict=True)
    return sum(Levenshtein.distance(lowered(label_text(a)), b) for a, b in pairs)
