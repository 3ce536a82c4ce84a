"""How words go on: probabilities of their letters by published word frequencies (torch-free).

Character n-grams within words, each word weighted by its frequency (wordfreq: Speer et al. 2018),
interpolated with shorter ones by fixed shares (Jelinek and Mercer 1980). So words that no label
holds are known too. A word is what stands between spaces, digits and marks.
"""

from functools import lru_cache

import numpy as np

from manifold_ocr.errors import UserError

ORDER = 9  # characters of the longest gram, the word's boundary among them
COUNT = 100_000  # most frequent words of a language
POWER = 0.75  # of a frequency: as labels hold rarer words than running text
SHORT, LONG = 0.9, 0.97  # share of grams of up to three characters, of longer ones
UNSEEN = 1e-5  # probability of a letter that no word holds
UNSPACED = {"ja", "zh"}  # written without spaces between words
KEPT = 100_000  # probabilities that are kept
BITS = 7  # of a character's code: 126 different ones are known

Level = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


class WordModel:
    """Probabilities of the next letter of a word, or of its end."""

    def __init__(self, frequencies: dict[str, float]) -> None:
        """`frequencies` holds words, casefolded, with their shares of running text."""
        letters: dict[str, int] = {}
        for word in frequencies:
            for letter in word:
                letters.setdefault(letter, len(letters) + 1)
        self._codes = {k: code for k, code in letters.items() if code < 2**BITS}
        self._levels = _levels(frequencies, self._codes)
        self._cached = lru_cache(maxsize=KEPT)(self._probability)

    def probability(self, start: str, letter: str) -> float:
        """Return P(letter | a word that starts with `start`); the letter "" is the word's end."""
        return self._cached(start[-ORDER:], letter)

    def _probability(self, start: str, letter: str) -> float:
        known = self._codes.get
        code = known(letter, -1) if letter else 0
        tail = [0, *(known(c, -1) for c in start)][-(ORDER - 1) :]
        found, key = UNSEEN, 0
        if code < 0:
            return found
        for n in range(len(tail) + 1):
            if n:
                if tail[-n] < 0:
                    break
                key += tail[-n] << (BITS * (n - 1))
            share = self._share(n, key, code)
            if share is None:
                break
            own = SHORT if n < 3 else LONG
            found = own * share + (1 - own) * found
        return found

    def _share(self, n: int, context: int, code: int) -> float | None:
        """Return the share of a code after a context of `n`; None for an unknown context."""
        contexts, totals, grams, masses = self._levels[n]
        place = int(contexts.searchsorted(context))
        if place == len(contexts) or contexts[place] != context:
            return None
        gram = (context << BITS) + code
        at = int(grams.searchsorted(gram))
        known = at < len(grams) and grams[at] == gram
        return float(masses[at] / totals[place]) if known else 0.0


def _levels(frequencies: dict[str, float], codes: dict[str, int]) -> list[Level]:
    """Return (contexts, their masses, grams, their masses), sorted, by characters of context."""
    words = [w for w in frequencies if w and all(c in codes for c in w)]
    lengths = np.array([len(w) + 2 for w in words], np.int64)
    flat = np.zeros(lengths.sum(), np.int64)
    starts = np.cumsum(lengths) - lengths
    inside = np.ones(len(flat), bool)
    inside[starts] = inside[starts + lengths - 1] = False
    flat[inside] = [codes[c] for w in words for c in w]
    weights = np.repeat([frequencies[w] ** POWER for w in words], lengths)
    place = np.arange(len(flat)) - np.repeat(starts, lengths)  # of a character in its word
    levels: list[Level] = []
    context = np.zeros(len(flat), np.int64)
    for n in range(ORDER):
        if n:
            context[n:] += flat[:-n] << (BITS * (n - 1))
        chosen = place >= max(n, 1)
        keys, inverse = np.unique((context[chosen] << BITS) + flat[chosen], return_inverse=True)
        masses = np.bincount(inverse, weights[chosen])
        contexts, begins = np.unique(keys >> BITS, return_index=True)
        levels.append((contexts, np.add.reduceat(masses, begins), keys, masses))
    return levels


def known_languages() -> list[str]:
    """Return the languages whose words are known and parted by spaces."""
    import wordfreq

    return sorted(set(wordfreq.available_languages("best")) - UNSPACED)


@lru_cache(maxsize=4)
def word_model(languages: tuple[str, ...]) -> WordModel:
    """Return the model of the most frequent words of languages such as ("en", "de").

    Raises:
        UserError: a language whose words are not known, or are not parted by spaces.
    """
    import wordfreq

    frequencies: dict[str, float] = {}
    for language in languages:
        check_language(language)
        left = COUNT
        for exponent, bucket in enumerate(wordfreq.get_frequency_list(language, "best")):
            words = sorted(w for w in bucket if all(c.isalpha() or c == "'" for c in w))[:left]
            left -= len(words)
            for word in words:
                frequencies[word] = max(frequencies.get(word, 0.0), 10 ** (-exponent / 100))
    return WordModel(frequencies)


def check_language(language: str) -> None:
    """Check that the words of a language are known.

    Raises:
        UserError: they are not, or are not parted by spaces.
    """
    known = known_languages()
    if language not in known:
        raise UserError(f"words of {language!r} are not known; there are {', '.join(known)}")
