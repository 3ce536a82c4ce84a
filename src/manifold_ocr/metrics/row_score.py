"""One sample's score: plain counts that add up, so that any grouping is a sum of rows."""

from collections.abc import Hashable, Sequence
from dataclasses import asdict, dataclass

from manifold_ocr.config import CohortConfig
from manifold_ocr.metrics import edit
from manifold_ocr.metrics.failures import Cohorts, classify
from manifold_ocr.metrics.normalize import normalise, units
from manifold_ocr.records import Sample

CASE_FOLDED = "nfc_ws+casefold"
WIDTH_FOLDED = "nfc_ws+width"


@dataclass(frozen=True, slots=True, kw_only=True)
class RowScore:
    """Counts of one sample; characters are code points after the profile.

    `common_*` are lengths of longest common subsequences, `bag_tokens` what both sides hold
    in any order. `probe` holds named scores in [0, 1] of a task other than transcription, whose
    transcription counts are all zero. `case_*` and `width_*` are distance and reference length
    after folding case or width on top of `nfc_ws`.
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
    common_characters: int = 0
    case_distance: int = 0
    case_characters: int = 0
    width_distance: int = 0
    width_characters: int = 0
    reference_words: int = 0
    predicted_words: int = 0
    word_distance: int = 0
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
        """Normalised edit distance of this row."""
        return edit.normalised(self.distance, self.reference_characters, self.predicted_characters)

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
    """Score one transcription. `tokens` are those of the normalised reference and prediction."""
    reference, predicted = normalise(sample.text, profile), normalise(prediction, profile)
    characters: tuple[Sequence[str], Sequence[str]] = (reference, predicted)
    if profile.startswith("grapheme"):
        characters = (units(sample.text, profile), units(prediction, profile))
    counts = edit.edit_counts(*characters)
    words, predicted_words = reference.split(), predicted.split()
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
        common_characters=edit.lcs_length(*characters),
        case_distance=case[0],
        case_characters=case[1],
        width_distance=width[0],
        width_characters=width[1],
        reference_words=len(words),
        predicted_words=len(predicted_words),
        word_distance=edit.distance(words, predicted_words),
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
    folded = normalise(reference, profile)
    return edit.distance(folded, normalise(prediction, profile)), len(folded)
