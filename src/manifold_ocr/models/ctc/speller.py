"""A CTC adapter's own language model: when it is asked, how much it counts (torch-free).

A search by frames and language model together corrects lines that look like the texts that it
is made of, and spoils others: on Chinese pages a model of receipts doubled the errors. So a line is
left alone unless its greedy text is as probable as most of the validation lines' are. Case is not
its business: characters are compared in lower case, so labels in upper case serve too.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
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
from manifold_ocr.records import Sample

SETTINGS = "language_model.json"
CANDIDATES = 16  # classes per frame that the search may follow
SHARES = ((0.1, 0.5), (0.2, 0.5), (0.3, 0.8))  # tried on validation: weight, gain per character
ALIEN = 10.0  # percent of the validation lines that are left alone as unlike the texts
LEAST = -8.0  # log-probability below which a character is simply unknown


@dataclass(frozen=True)
class SpellerSettings:
    """`weight` of the language model's log-probability, `gain` per character, `beam` texts.

    Lines whose greedy text has a mean log-probability below `fit` are left alone.
    """

    weight: float
    gain: float
    beam: int
    fit: float


class Speller:
    """Chooses a line's text by its frames and a language model."""

    def __init__(self, model: CharacterModel, settings: SpellerSettings) -> None:
        self.model = model
        self.settings = settings
        self._known: dict[tuple[str, str], float] = {}

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
        if not greedy or fit(self.model, other_order(greedy)) < self.settings.fit:
            return greedy
        weight, gain = self.settings.weight, self.settings.gain

        def score(text: str, character: str) -> float:
            return weight * self._log_probability(text, character) + gain

        logs = np.log(np.maximum(probabilities, np.finfo(np.float32).tiny))
        found = beam_search(classes, logs, characters, self.settings.beam, score)
        return other_order(found[0][0])

    def _log_probability(self, text: str, character: str) -> float:
        known = text if len(text) < self.model.order else text[-self.model.order :]
        key = known, character
        found = self._known.get(key)
        if found is None:
            context = lowered(START + text) if known == text else lowered(known)
            found = self.model.log_probability(context, lowered(character))
            self._known[key] = found
        return found


def lowered(text: str) -> str:
    """Return a text in lower case, of the same length."""
    return "".join(c if len(c.lower()) != 1 else c.lower() for c in text)


def fit(model: CharacterModel, text: str) -> float:
    """Return the mean log-probability of a text's characters, each at least LEAST."""
    line = START + lowered(text)
    values = [max(LEAST, model.log_probability(line[:n], line[n])) for n in range(1, len(line))]
    return sum(values) / max(1, len(values))


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


def keep_speller(
    adapter: Path,
    texts: Iterable[str],
    model: Any,
    val: Sequence[Sample],
    image_root: Path,
    beam: int,
) -> str:
    """Write a language model of `texts` into an adapter's folder, if it helps on `val` rows.

    `model` is the adapter loaded with `searching`. Returns what was done, as a sentence.
    """
    known = language_model(lowered(label_text(text)) for text in texts if text.strip())
    lines: list[tuple[np.ndarray, np.ndarray]] = list(model.sample_candidates(val, image_root))
    labels = [lowered(label_text(sample.text)) for sample in val]
    greedy = [decode_frames(c[:, 0], p[:, 0], model.characters).text for c, p in lines]
    fits = [fit(known, other_order(text)) for text in greedy]
    threshold = math.floor(1000 * float(np.percentile(fits, ALIEN))) / 1000
    before = _errors(greedy, labels)
    best, chosen = before, None
    for weight, gain in SHARES:
        speller = Speller(known, SpellerSettings(weight, gain, beam, threshold))
        read = [
            speller(text, *line, model.characters) for text, line in zip(greedy, lines, strict=True)
        ]
        if (errors := _errors(read, labels)) < best:
            best, chosen = errors, speller
    for name in (FILE, SETTINGS):
        (adapter / name).unlink(missing_ok=True)
    if chosen is None:
        return f"train: the language model does not help ({before} validation errors): left out"
    known.save(adapter)
    write_json(adapter / SETTINGS, asdict(chosen.settings))
    return (
        f"train: language model of {len(known.grams[-1]):,} {known.order}-grams, weight "
        f"{chosen.settings.weight}: validation errors without case {before} -> {best}"
    )


def _errors(read: Sequence[str], labels: Sequence[str]) -> int:
    pairs = zip(read, labels, strict=True)
    return sum(Levenshtein.distance(lowered(label_text(a)), b) for a, b in pairs)
