"""The Fox benchmark's text metrics, with reference and prediction in both orders, named.

The published script passes the field `label` as prediction and `answer` as reference, while
its README stores the truth in `label`: what it prints as precision is recall and vice versa,
and BLEU and METEOR are reversed; F and edit distance do not change. `fox_metrics` has the
right orientation, `fox_metrics_swapped` what the script prints.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from manifold_ocr.metrics import edit

_HAN = re.compile("[\u4e00-\u9fa5]")


@dataclass(frozen=True, slots=True)
class FoxMetrics:
    """Set precision, recall and F over word types, NED, BLEU-4 and METEOR.

    None: undefined for this pair, or (BLEU, METEOR) not computed because nltk or its
    WordNet data is not installed.
    """

    precision: float | None
    recall: float | None
    f_measure: float | None
    edit_distance: float | None
    bleu: float | None
    meteor: float | None


def fox_words(reference: str, prediction: str) -> tuple[list[str], list[str]]:
    """Cut both texts: jieba's words if either holds a Han character, else white space.

    jieba keeps spaces and punctuation as words.
    """
    if not (_HAN.search(reference) or _HAN.search(prediction)):
        return reference.split(), prediction.split()
    import logging

    import jieba

    jieba.setLogLevel(logging.WARNING)
    return jieba.lcut(reference), jieba.lcut(prediction)


def fox_metrics(reference: str, prediction: str, *, translation: bool = True) -> FoxMetrics:
    """Score one page; `translation` False leaves out BLEU and METEOR.

    Both texts empty: everything is undefined (the published script stops there).
    """
    longest = max(len(reference), len(prediction))
    if longest == 0:
        return FoxMetrics(None, None, None, None, None, None)
    words, predicted = fox_words(reference, prediction)
    types, predicted_types = set(words), set(predicted)
    common = len(types & predicted_types)
    precision = common / len(predicted_types) if predicted_types else None
    recall = common / len(types) if types else None
    return FoxMetrics(
        precision=precision,
        recall=recall,
        f_measure=_harmonic(precision, recall),
        edit_distance=edit.distance(reference, prediction) / longest,
        bleu=bleu(words, predicted) if translation else None,
        meteor=meteor(words, predicted) if translation else None,
    )


def fox_metrics_swapped(reference: str, prediction: str, *, translation: bool = True) -> FoxMetrics:
    """What the published script prints for files laid out as its README says."""
    return fox_metrics(prediction, reference, translation=translation)


def fox_mean(pages: Sequence[FoxMetrics]) -> tuple[dict[str, float], dict[str, int]]:
    """Mean of each metric over the pages that have it, and how many pages lack it."""
    means: dict[str, float] = {}
    missing: dict[str, int] = {}
    for name in FoxMetrics.__dataclass_fields__:
        values = [value for page in pages if (value := getattr(page, name)) is not None]
        if values:
            means[name] = sum(values) / len(values)
        if len(values) < len(pages):
            missing[name] = len(pages) - len(values)
    return means, missing


def bleu(reference: Sequence[str], prediction: Sequence[str]) -> float | None:
    """Sentence BLEU-4 without smoothing (fewer than four words give about 0)."""
    try:
        from nltk.translate.bleu_score import sentence_bleu
    except ImportError:
        return None
    import warnings

    with warnings.catch_warnings():  # nltk warns of every n-gram order without a match
        warnings.simplefilter("ignore")
        return float(sentence_bleu([list(reference)], list(prediction)))


def meteor(reference: Sequence[str], prediction: Sequence[str]) -> float | None:
    """METEOR: lower case, Porter stems, WordNet 3.0 synonyms; None without their data."""
    try:
        from nltk.corpus import wordnet
        from nltk.translate.meteor_score import meteor_score

        wordnet.ensure_loaded()  # an empty text asks for no synonym and would score 0
        return float(meteor_score([list(reference)], list(prediction)))
    except (ImportError, LookupError):
        return None


def _harmonic(precision: float | None, recall: float | None) -> float | None:
    if precision is None or recall is None:
        return None
    if precision == 0 or recall == 0:
        return 0.0
    return 1.0 / (0.5 / precision + 0.5 / recall)
