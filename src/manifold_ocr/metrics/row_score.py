"""One sample's score: plain counts that add up, so that any grouping is a sum of rows.

Failure cohorts are predictions that are not merely wrong but broken, each in its own way.
"""

from collections.abc import Hashable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from manifold_ocr.config import CohortConfig
from manifold_ocr.metrics import edit
from manifold_ocr.metrics.normalize import normalize, units
from manifold_ocr.records import Sample

CASE_FOLDED = "nfc_ws+casefold"
WIDTH_FOLDED = "nfc_ws+width"
LONGEST_PERIOD = 200
PIECE = 4
LAGS = 4  # how often a piece may occur in the unit of a loop that is still found


@dataclass(frozen=True, slots=True)
class Cohorts:
    """Which cohorts one prediction belongs to (several are possible)."""

    empty: bool
    looping: bool
    too_long: bool
    too_short: bool
    hallucination: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RowScore:
    """Counts of one sample; characters are code points after the profile.

    `common_*` are lengths of longest common subsequences, `bag_tokens` what both sides hold
    in any order. `probe` holds named scores in [0, 1] of a task other than transcription, whose
    transcription counts are all zero. `case_*` and `width_*` are distance and reference length
    after folding case or width on top of `nfc_ws`; `spaceless_*` the same (and whether the texts
    are equal) with all white space left out of both. `matched_words` are words that the row's
    both sides hold, in any order. `KIND_CLASS` are the operations by the class of their
    character, see `edit.edits_by_class`.
    """

    id: str
    document: str
    corpus: str
    subset: str
    language: str
    granularity: str
    task: str
    missing: bool = False
    reference_characters: int = 0
    predicted_characters: int = 0
    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0
    substitutions_letters: int = 0
    substitutions_digits: int = 0
    substitutions_punctuation: int = 0
    substitutions_spaces: int = 0
    substitutions_cjk: int = 0
    deletions_letters: int = 0
    deletions_digits: int = 0
    deletions_punctuation: int = 0
    deletions_spaces: int = 0
    deletions_cjk: int = 0
    insertions_letters: int = 0
    insertions_digits: int = 0
    insertions_punctuation: int = 0
    insertions_spaces: int = 0
    insertions_cjk: int = 0
    common_characters: int = 0
    reference_spaces: int = 0
    predicted_spaces: int = 0
    spaceless_distance: int = 0
    spaceless_characters: int = 0
    spaceless_exact: bool = False
    case_distance: int = 0
    case_characters: int = 0
    width_distance: int = 0
    width_characters: int = 0
    reference_words: int = 0
    predicted_words: int = 0
    word_distance: int = 0
    matched_words: int = 0
    reference_tokens: int = 0
    predicted_tokens: int = 0
    token_distance: int = 0
    common_tokens: int = 0
    bag_tokens: int = 0
    exact: bool = False
    blank: bool = False
    blank_with_text: bool = False
    empty: bool = False
    looping: bool = False
    too_long: bool = False
    too_short: bool = False
    hallucination: bool = False
    probe: tuple[tuple[str, float], ...] = ()

    @property
    def distance(self) -> int:
        """Levenshtein distance in characters."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def cer(self) -> float | None:
        """Character error rate of this row; None where only the reference is empty."""
        return edit.error_rate(self.distance, self.reference_characters)

    @property
    def ned(self) -> float:
        """Normalized edit distance of this row."""
        return edit.normalized(self.distance, self.reference_characters, self.predicted_characters)

    @property
    def matched_spaces(self) -> int:
        """Spaces of the reference that the alignment pairs with a space."""
        return self.reference_spaces - self.substitutions_spaces - self.deletions_spaces

    @property
    def cohorts(self) -> Cohorts:
        """Failure cohorts of this row."""
        return Cohorts(self.empty, self.looping, self.too_long, self.too_short, self.hallucination)


def score_transcription(
    sample: Sample,
    prediction: str,
    *,
    profile: str,
    tokens: tuple[Sequence[Hashable], Sequence[Hashable]],
    cohorts: CohortConfig,
    missing: bool = False,
) -> RowScore:
    """Score one transcription. `tokens` are those of the normalized reference and prediction."""
    reference, predicted = normalize(sample.text, profile), normalize(prediction, profile)
    characters: tuple[Sequence[str], Sequence[str]] = (reference, predicted)
    if profile.startswith("grapheme"):
        characters = (units(sample.text, profile), units(prediction, profile))
    counts = edit.edit_counts(*characters)
    words, predicted_words = reference.split(), predicted.split()
    spaceless = "".join(words), "".join(predicted_words)
    case = _folded(sample.text, prediction, CASE_FOLDED)
    width = _folded(sample.text, prediction, WIDTH_FOLDED)
    flags = classify(reference, predicted, counts.distance, cohorts)
    return RowScore(
        id=sample.id,
        document=sample.document,
        corpus=sample.corpus,
        subset=sample.subset,
        language=sample.language,
        granularity=sample.granularity,
        task=sample.task,
        missing=missing,
        reference_characters=len(characters[0]),
        predicted_characters=len(characters[1]),
        substitutions=counts.substitutions,
        deletions=counts.deletions,
        insertions=counts.insertions,
        **edit.edits_by_class(*characters),
        common_characters=edit.lcs_length(*characters),
        reference_spaces=sum(map(str.isspace, characters[0])),
        predicted_spaces=sum(map(str.isspace, characters[1])),
        spaceless_distance=edit.distance(*spaceless),
        spaceless_characters=len(spaceless[0]),
        spaceless_exact=spaceless[0] == spaceless[1],
        case_distance=case[0],
        case_characters=case[1],
        width_distance=width[0],
        width_characters=width[1],
        reference_words=len(words),
        predicted_words=len(predicted_words),
        word_distance=edit.distance(words, predicted_words),
        matched_words=edit.bag_overlap(words, predicted_words),
        reference_tokens=len(tokens[0]),
        predicted_tokens=len(tokens[1]),
        token_distance=edit.distance(*tokens),
        common_tokens=edit.lcs_length(*tokens),
        bag_tokens=edit.bag_overlap(*tokens),
        exact=reference == predicted,
        blank=not reference,
        blank_with_text=not reference and any(map(str.isalnum, predicted)),
        **asdict(flags),
    )


def _folded(reference: str, prediction: str, profile: str) -> tuple[int, int]:
    """Return (distance, reference length) under a folding profile."""
    folded = normalize(reference, profile)
    return edit.distance(folded, normalize(prediction, profile)), len(folded)


def classify(reference: str, prediction: str, distance: int, config: CohortConfig) -> Cohorts:
    """Classify one prediction; `distance` is the edit distance of the two texts.

    Predictions that differ from their reference by less than half of the shortest loop are
    not searched for one.
    """
    n, m = len(reference), len(prediction)
    looping = distance >= config.loop_characters // 2 and _loops_more(reference, prediction, config)
    return Cohorts(
        empty=m == 0 and n > 0,
        looping=looping,
        too_long=n > 0 and m > config.too_long * n and m - n > config.slack,
        too_short=0 < m < config.too_short * n and n - m > config.slack,
        hallucination=(
            m >= config.hallucination_characters
            and distance >= config.hallucination * max(n, m)
            and not looping
        ),
    )


def _loops_more(reference: str, prediction: str, config: CohortConfig) -> bool:
    found = longest_loop(prediction, config.loop_repeats, config.loop_characters)
    if found == 0:
        return False
    known = longest_loop(reference, config.loop_repeats, config.loop_characters)
    return found >= known + config.loop_characters


def longest_loop(text: str, repeats: int, shortest: int = 20) -> int:
    """Return the length in characters of the longest run of one unit repeated >= `repeats`.

    A unit is 1 to LONGEST_PERIOD characters; runs shorter than `shortest` count as 0. A run
    of period p and length r is r-p consecutive positions that equal the one p further on.
    Only periods are tried at which enough four-character pieces recur, up to LAGS times
    inside the unit too; a unit that is itself mostly a loop may be seen as that inner loop.
    """
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    best = 0
    for period in _candidate_periods(codes, repeats, shortest):
        changes = np.flatnonzero(codes[period:] != codes[:-period])
        bounds = np.concatenate(([-1], changes, [len(codes) - period]))
        run = int(np.diff(bounds).max()) - 1 + period
        if run >= max(period * repeats, shortest):
            best = max(best, run)
    return best


def _candidate_periods(codes: npt.NDArray[np.uint32], repeats: int, shortest: int) -> list[int]:
    """Distances at which pieces of PIECE characters recur often enough for a loop."""
    if len(codes) < shortest:
        return []
    pieces = np.zeros(len(codes) - PIECE + 1, dtype=np.uint64)
    for offset in range(PIECE):
        pieces = pieces * np.uint64(0x9E3779B97F4A7C15) + codes[offset : offset + len(pieces)]
    order = np.argsort(pieces, kind="stable")
    ranked = pieces[order]
    counts = np.zeros(LONGEST_PERIOD + 1, dtype=np.int64)
    for lag in range(1, min(LAGS, len(order) - 1) + 1):  # a piece may recur inside the unit too
        gaps = (order[lag:] - order[:-lag])[ranked[lag:] == ranked[:-lag]]
        counts += np.bincount(gaps[gaps <= LONGEST_PERIOD], minlength=LONGEST_PERIOD + 1)
    periods = np.arange(LONGEST_PERIOD + 1)
    expected = np.maximum(repeats * periods, shortest) - periods - PIECE + 1
    return [int(p) for p in np.flatnonzero(counts * 4 >= expected) if p > 0]
