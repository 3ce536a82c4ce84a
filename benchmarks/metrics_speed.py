"""Speed of the scorer against a pure-Python edit distance and against jiwer.

    PYTHONPATH=src python benchmarks/metrics_speed.py [--pages 10000]

Prints ours, the peer and the ratio from one run, on one process:

1. characters + tokens of page pairs of 2,000 characters: our whole row (character, word and
   token counts, LCS, case and width variants, cohorts) against a two-row dynamic program in
   plain Python over the same characters and tokens (timed on 20 pairs, compared per pair);
2. what jiwer computes (error rates and counts of words and characters) on the same pairs;
3. a bootstrap of 10,000 samples over 100,000 rows in 2,000 documents.
"""

import argparse
import random
import time
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import jiwer
import numpy as np
import reference_conventions as conventions

from manifold_ocr.config import EvaluateConfig
from manifold_ocr.metrics import bootstrap as resampling
from manifold_ocr.metrics import tokens
from manifold_ocr.metrics.score import score_rows
from manifold_ocr.records import Prediction, Sample

CHARACTERS = 2000
SLOW_PAIRS = 20
LETTERS = "abcdefghijklmnopqrstuvwxyz"
Pairs = list[tuple[str, str]]


def make_page(generator: random.Random, vocabulary: list[str]) -> str:
    """One page of CHARACTERS characters, words in lines."""
    text = []
    length = 0
    while length < CHARACTERS:
        word = generator.choice(vocabulary)
        text.append(word)
        length += len(word) + 1
    page = "".join(w + ("\n" if i % 10 == 9 else " ") for i, w in enumerate(text))
    return page[:CHARACTERS]


def misread(page: str, generator: random.Random, rate: float = 0.03) -> str:
    """Substitute, delete and insert characters at `rate`."""
    result = []
    for character in page:
        draw = generator.random()
        if draw < rate / 3:
            continue
        result.append(generator.choice(LETTERS) if draw < 2 * rate / 3 else character)
        if draw > 1 - rate / 3:
            result.append(generator.choice(LETTERS))
    return "".join(result)


def python_distance(a: Sequence[Hashable], b: Sequence[Hashable]) -> int:
    """Levenshtein distance by dynamic programming over two rows."""
    previous = list(range(len(b) + 1))
    for i, left in enumerate(a, 1):
        current = [i]
        for j, right in enumerate(b, 1):
            cost = previous[j - 1] + (left != right)
            current.append(min(previous[j] + 1, current[j - 1] + 1, cost))
        previous = current
    return previous[-1]


def timed(function: Callable[..., Any], *arguments: Any) -> tuple[float, Any]:
    """Seconds that one call takes, and its result."""
    start = time.perf_counter()
    result = function(*arguments)
    return time.perf_counter() - start, result


def python_metrics(pairs: Pairs, tokenizer: tokens.MetricTokenizer) -> None:
    """Character and token distances, the slow way."""
    for reference, prediction in pairs:
        python_distance(reference, prediction)
        python_distance(*tokenizer.encode_batch([reference, prediction]))


def jiwer_measures(pairs: Pairs) -> list[tuple[float, float]]:
    """Word and character measures by jiwer, page by page."""
    return [(jiwer.process_words(r, p).wer, jiwer.process_characters(r, p).cer) for r, p in pairs]


def our_jiwer_measures(pairs: Pairs) -> list[tuple[float, float]]:
    """The same values by our functions."""
    return [
        (conventions.jiwer_wer(r, p).error_rate, conventions.jiwer_cer(r, p).error_rate)
        for r, p in pairs
    ]


def bootstrap(
    rows: resampling.Floats, documents: list[int], samples: int
) -> resampling.Difference | None:
    """A paired difference of two systems: (rows, 4) counts, document of each row."""
    totals = resampling.document_totals(documents, rows)
    a, b = (totals[:, 0], totals[:, 1]), (totals[:, 2], totals[:, 3])
    return resampling.paired_ratio_difference(a, b, samples, seed=1)


def main() -> None:
    """Run the three comparisons and print them."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--pages", type=int, default=10_000)
    pages = parser.parse_args().pages
    generator = random.Random(7)
    vocabulary = [
        "".join(generator.choices(LETTERS, k=generator.randint(2, 9))) for _ in range(5000)
    ]
    references = [make_page(generator, vocabulary) for _ in range(pages)]
    pairs = [(page, misread(page, generator)) for page in references]
    tokenizer = tokens.load_tokenizer("deepseek")
    tokenizer.encode("warm up")

    samples = [
        Sample(id=str(i), document=str(i), corpus="c", subset="s", image="", text=r)
        for i, (r, _) in enumerate(pairs)
    ]
    predictions = [Prediction(id=str(i), text=p) for i, (_, p) in enumerate(pairs)]
    config = EvaluateConfig(workers=1)
    ours, rows = timed(score_rows, samples, predictions, config)
    slow, _ = timed(python_metrics, pairs[:SLOW_PAIRS], tokenizer)
    ours_pair, slow_pair = ours / pages, slow / min(pages, SLOW_PAIRS)
    print(
        f"rows (characters, words, tokens, cohorts): ours {ours:.2f} s for {pages} pages "
        f"({1e3 * ours_pair:.3f} ms a pair), plain Python {1e3 * slow_pair:.0f} ms a pair, "
        f"ratio {slow_pair / ours_pair:.0f}x"
    )
    assert rows[0].reference_characters > 0

    theirs, expected = timed(jiwer_measures, pairs)
    same, found = timed(our_jiwer_measures, pairs)
    assert np.allclose(expected, found, rtol=0, atol=1e-12)
    print(
        f"what jiwer computes: ours {same:.2f} s, jiwer {theirs:.2f} s, ratio {theirs / same:.2f}x"
    )

    counts = np.random.default_rng(3).integers(0, 50, size=(100_000, 4)).astype(float)
    counts[:, 1] += 50
    counts[:, 3] += 50
    documents = [i % 2000 for i in range(100_000)]
    seconds, difference = timed(bootstrap, counts, documents, 10_000)
    assert difference.low < difference.value < difference.high
    print(
        f"bootstrap, 10,000 samples, 100,000 rows, 2,000 documents: {seconds:.2f} s "
        f"(limit 2 s, ratio {2 / seconds:.1f}x)"
    )


if __name__ == "__main__":
    main()
