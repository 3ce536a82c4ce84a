"""Which of our functions reproduces which third-party value, by tool and metric."""

import math
from functools import cache

import reference_compat as compat
import reference_conventions as conventions

from manifold_ocr.metrics import edit, fox, normalize, tokens


@cache
def _jiwer_cer(r, p):
    return conventions.jiwer_cer(r, p)


@cache
def _jiwer_wer(r, p):
    return conventions.jiwer_wer(r, p)


@cache
def _fox(r, p):
    return fox.fox_metrics(r, p)


@cache
def _characters(text):
    return tuple(conventions.dinglehopper_characters(text))


@cache
def _words(text):
    return tuple(conventions.dinglehopper_words(text))


@cache
def _compat(r, p, tokenizer):
    if tokenizer is None:
        return compat.compat_pair(r, p)
    return compat.compat_pair(*tokens.load_tokenizer(tokenizer).encode_batch([r, p]))


@cache
def _one_block(r, p):
    """The evaluator compares raw texts where the normalized one is empty."""
    return normalize.omnidocbench_text(r) or r, normalize.omnidocbench_text(p) or p


def _one_block_distance(r, p):
    r, p = _one_block(r, p)
    return edit.ned(r, p) if r or p else None


def _compat_rows(tool, prefix, tokenizer):
    fields = {
        f"{prefix}_accuracy": "accuracy",
        f"{prefix}_precision": "precision",
        f"{prefix}_recall": "recall",
        f"{prefix}_f1": "f1",
        "edit_distance": "distance",
        "normalized_edit_distance": "normalized_edit_distance",
        "original_tokens": "reference_length",
        "reconstructed_tokens": "prediction_length",
    }
    return {
        (tool, metric): lambda r, p, f=field: getattr(_compat(r, p, tokenizer), f)
        for metric, field in fields.items()
    }


def _jiwer_rows():
    rows = {}
    for unit, measures in (("words", _jiwer_wer), ("chars", _jiwer_cer)):
        for count in ("hits", "substitutions", "deletions", "insertions"):
            rows["jiwer", f"{unit}_{count}"] = lambda r, p, m=measures, c=count: getattr(
                m(r, p).counts, c
            )
    rows["jiwer", "cer"] = lambda r, p: _jiwer_cer(r, p).error_rate
    for metric, field in (
        ("wer", "error_rate"),
        ("mer", "match_error_rate"),
        ("wil", "information_lost"),
        ("wip", "information_preserved"),
    ):
        rows["jiwer", metric] = lambda r, p, f=field: getattr(_jiwer_wer(r, p), f)
    return rows


def _fox_rows():
    fields = {
        "bleu": "bleu",
        "meteor": "meteor",
        "f_measure": "f_measure",
        "precision": "precision",
        "recall": "recall",
        "edit_dist": "edit_distance",
    }
    return {
        ("Fox eval_ocr_test.cal_per_metrics", metric): lambda r, p, f=field: getattr(_fox(r, p), f)
        for metric, field in fields.items()
    }


PAIRS = {
    ("Levenshtein", "distance"): edit.distance,
    ("Levenshtein", "ratio_indel_similarity"): edit.indel_similarity,
    ("rapidfuzz", "Levenshtein.normalized_distance"): edit.ned,
    ("rapidfuzz", "Levenshtein.normalized_similarity"): lambda r, p: 1 - edit.ned(r, p),
    ("dinglehopper", "distance"): lambda r, p: edit.distance(_characters(r), _characters(p)),
    ("dinglehopper", "n_characters"): lambda r, p: len(_characters(r)),
    ("dinglehopper", "n_words"): lambda r, p: len(_words(r)),
    ("dinglehopper", "character_error_rate"): lambda r, p: conventions.dinglehopper_rate(
        _characters(r), _characters(p)
    ),
    ("dinglehopper", "word_error_rate"): lambda r, p: conventions.dinglehopper_rate(
        _words(r), _words(p)
    ),
    ("OmniDocBench", "normalised_reference"): lambda r, p: normalize.omnidocbench_text(r),
    ("OmniDocBench", "normalised_prediction"): lambda r, p: normalize.omnidocbench_text(p),
    ("OmniDocBench", "Edit_dist_one_block"): _one_block_distance,
    **_jiwer_rows(),
    **_fox_rows(),
    **_compat_rows("prototype compute_character_metrics", "character", None),
    **_compat_rows("prototype compute_token_metrics[whitespace]", "token", "whitespace"),
    **_compat_rows("prototype compute_token_metrics[gpt2-bpe]", "token", "gpt2"),
}


def _corpus_compat(tokenizer):
    def totals(references, predictions):
        pairs = list(zip(references, predictions, strict=True))
        if tokenizer is not None:
            load = tokens.load_tokenizer(tokenizer)
            pairs = [tuple(load.encode_batch(pair)) for pair in pairs]
        return compat.compat_corpus(pairs)

    return totals


def _corpus_rows(tool, prefix, total, tokenizer):
    fields = {
        f"{prefix}_accuracy": "accuracy",
        f"{prefix}_precision": "precision",
        f"{prefix}_recall": "recall",
        f"{prefix}_f1": "f1",
        f"{prefix}_edit_distance_total": "distance",
        "normalized_edit_distance": "normalized_edit_distance",
        total[0]: "reference_length",
        total[1]: "prediction_length",
    }
    compute = _corpus_compat(tokenizer)
    return {
        (tool, metric): lambda r, p, f=field: getattr(compute(r, p), f)
        for metric, field in fields.items()
    }


def _jiwer_micro(cut):
    def rate(references, predictions):
        return edit.micro_error_rate(
            (cut(r), cut(p)) for r, p in zip(references, predictions, strict=True)
        )

    return rate


def _odb_average(kind):
    """Here every pair is a page of one block."""

    def value(references, predictions):
        blocks = [_one_block(r, p) for r, p in zip(references, predictions, strict=True)]
        if kind == "edit_whole":
            longest = sum(max(len(r), len(p)) for r, p in blocks)
            return sum(edit.distance(r, p) for r, p in blocks) / longest
        return sum(edit.ned(r, p) for r, p in blocks) / len(blocks)

    return value


def _fox_corpus(field):
    def mean(references, predictions):
        pages = [
            fox.fox_metrics_swapped(r, p) for r, p in zip(references, predictions, strict=True)
        ]
        return fox.fox_mean(pages)[0].get(field)

    return mean


_FOX_FILE = (
    "Fox eval_ocr_test.doc_text_eval (label=reference, answer=prediction, as its README says)"
)
CORPORA = {
    ("jiwer", "wer_micro"): _jiwer_micro(conventions.jiwer_words),
    ("jiwer", "cer_micro"): _jiwer_micro(str.strip),
    ("OmniDocBench", "Edit_dist.ALL_page_avg"): _odb_average("page"),
    ("OmniDocBench", "Edit_dist.edit_sample_avg"): _odb_average("sample"),
    ("OmniDocBench", "Edit_dist.edit_whole"): _odb_average("edit_whole"),
    **{
        (_FOX_FILE, metric): _fox_corpus("edit_distance" if metric == "edit_dist" else metric)
        for metric in ("bleu", "meteor", "f_measure", "precision", "recall", "edit_dist")
    },
    **_corpus_rows(
        "prototype aggregate_metrics",
        "character",
        ("original_characters_total", "reconstructed_characters_total"),
        None,
    ),
    **_corpus_rows(
        "prototype aggregate_metrics[whitespace]",
        "token",
        ("text_tokens_total", "reconstructed_tokens_total"),
        "whitespace",
    ),
}


def equal(ours, theirs, tolerance=1e-9):
    """Equal strings, equal None, infinities of one sign, or floats within the tolerance."""
    if theirs == "inf":
        return ours == math.inf
    if theirs is None or ours is None or isinstance(theirs, (str, list, bool)):
        return ours == theirs
    return math.isclose(ours, theirs, rel_tol=0, abs_tol=tolerance)
