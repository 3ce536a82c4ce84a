"""The one scorer: training, evaluate, the command line, engines and leaderboard use it.

    rows = score_rows(samples, predictions, config)
    section = summarize(rows, config)          # overall, by_corpus, by_subset, by_language, ...
    report = evaluation(adapter_rows, base_rows, config)

Rows of different granularity or task never mix: a group's CER is over its line rows if it
has any, else over its page rows (`by_granularity` has each), and tasks other than
transcription are summed under `by_task` only.
"""

import dataclasses
import itertools
import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from manifold_ocr.config import EvaluateConfig
from manifold_ocr.errors import UserError
from manifold_ocr.metrics import aggregate, normalize, tokens
from manifold_ocr.metrics.aggregate import Indices
from manifold_ocr.metrics.probes import score_probe
from manifold_ocr.metrics.row_score import RowScore, score_transcription
from manifold_ocr.records import Prediction, Sample

TRANSCRIBE = "transcribe"
TOKENIZER_BATCH = 512
PARALLEL_FROM = 10_000_000  # characters: about 20 s of one process
MOST_WORKERS = 16


@dataclass(frozen=True)
class Scores:
    """Rows in the order of the samples; ids that only one side has are counted."""

    rows: list[RowScore]
    missing: int
    unknown: int


def score(
    samples: Iterable[Sample], predictions: Iterable[Prediction], config: EvaluateConfig
) -> Scores:
    """Score predictions against samples, joined by id.

    A sample without prediction is scored as if the empty text had been read, and counted in
    `missing`; predictions for unknown ids are counted in `unknown`.

    Raises:
        UserError: no predictions or no samples at all, or an id twice on either side.
    """
    texts = _by_id(predictions)
    if not texts:
        raise UserError("there is no prediction to score; run the prediction step again")
    seen: set[str] = set()
    batches = _batches(_distinct(samples, seen), TOKENIZER_BATCH)
    rows = [row for batch in _score_batches(batches, texts, config) for row in batch]
    if not rows:
        raise UserError("there is no sample to score; the manifest is empty")
    unknown = len(texts.keys() - seen)
    return Scores(rows, sum(row.missing for row in rows), unknown)


def score_rows(
    samples: Iterable[Sample], predictions: Iterable[Prediction], config: EvaluateConfig
) -> list[RowScore]:
    """Return the rows of `score`."""
    return score(samples, predictions, config).rows


def summarize(rows: Sequence[RowScore], config: EvaluateConfig) -> dict[str, Any]:
    """Return metrics overall and by group: finite numbers only.

    `settings` names profile and tokenizer; `undefined` names, for each group that has any,
    the metrics that cannot be given (an interval of one document, a rate without cases).
    """
    draws = config.bootstrap_samples, config.seed
    texts = aggregate.table_of(rows)

    def probed(group: Indices) -> aggregate.Metrics:
        return aggregate.summarize_probe(_probes(rows, group), *draws)

    return _sections(
        rows,
        config,
        lambda group: aggregate.summarize_group(texts.select(group), *draws),
        probed,
    )


def compare(a: Sequence[RowScore], b: Sequence[RowScore], config: EvaluateConfig) -> dict[str, Any]:
    """Return paired differences a - b, grouped as in `summarize`, with 95 % intervals.

    Raises:
        UserError: the two sides do not score the same samples.
    """
    partner = {row.id: row for row in b}
    if partner.keys() != {row.id for row in a} or len(a) != len(b):
        raise UserError(
            "a comparison needs both systems scored on the same samples; "
            f"one side has {len(a)}, the other {len(b)}: predict again with both"
        )
    draws = config.bootstrap_samples, config.seed
    others = [partner[row.id] for row in a]
    tables = aggregate.table_of(a), aggregate.table_of(others)

    def compared(group: Indices) -> aggregate.Metrics:
        return aggregate.compare_group(tables[0].select(group), tables[1].select(group), *draws)

    def probed(group: Indices) -> aggregate.Metrics:
        return aggregate.compare_probe(_probes(a, group), _probes(others, group), *draws)

    return _sections(a, config, compared, probed)


def _probes(rows: Sequence[RowScore], group: Indices) -> aggregate.Table:
    return aggregate.probe_table([rows[i] for i in group])


def evaluation(
    adapter: Sequence[RowScore], base: Sequence[RowScore], config: EvaluateConfig
) -> dict[str, Any]:
    """Return the content of metrics/evaluate.json: adapter, base and their difference."""
    return {
        "adapter": summarize(adapter, config),
        "base": summarize(base, config),
        "difference": compare(adapter, base, config),
    }


def settings(config: EvaluateConfig) -> dict[str, Any]:
    """Name everything that a number depends on beside the texts."""
    profile = normalize.describe(config.profile)
    return {
        "profile": profile.name,
        "unicode": profile.unicode,
        "whitespace": profile.whitespace,
        "case": profile.case,
        "width": profile.width,
        "unit": profile.unit,
        "metric_tokenizer": tokens.load_tokenizer(config.metric_tokenizer).name,
        "granularity": config.granularity,
        "bootstrap_samples": config.bootstrap_samples,
        "seed": config.seed,
    }


Aggregate = Callable[[Indices], aggregate.Metrics]


def _sections(
    rows: Sequence[RowScore], config: EvaluateConfig, transcribed: Aggregate, probed: Aggregate
) -> dict[str, Any]:
    """Aggregate every group; a group is the numbers of its rows."""
    texts = [i for i, row in enumerate(rows) if row.task == TRANSCRIBE]
    probes = [i for i, row in enumerate(rows) if row.task != TRANSCRIBE]
    undefined: dict[str, str] = {}
    result: dict[str, Any] = {"settings": settings(config)}

    def add(where: str, group: Sequence[int], of: Aggregate) -> dict[str, float]:
        metrics, missing = of(np.array(group, dtype=np.int64))
        if missing:
            undefined[where] = ", ".join(missing)
        return metrics

    def one_granularity(group: Sequence[int]) -> Sequence[int]:
        kept = _granularity({rows[i].granularity for i in group}, config)
        return [i for i in group if rows[i].granularity == kept]

    if texts:
        result["overall"] = add("overall", one_granularity(texts), transcribed)
    for key in ("corpus", "subset", "language", "granularity"):
        result[f"by_{key}"] = {
            value: add(f"by_{key}.{value}", one_granularity(group), transcribed)
            for value, group in _groups(rows, texts, key).items()
        }
    result["by_task"] = {
        value: add(f"by_task.{value}", group, probed)
        for value, group in _groups(rows, probes, "task").items()
    }
    result["undefined"] = undefined
    return result


def _groups(rows: Sequence[RowScore], numbers: Sequence[int], key: str) -> dict[str, list[int]]:
    """Numbers of the rows by one of their fields, groups in sorted order."""
    groups: dict[str, list[int]] = {}
    for i in numbers:
        groups.setdefault(getattr(rows[i], key), []).append(i)
    return dict(sorted(groups.items()))


def _granularity(present: set[str], config: EvaluateConfig) -> str:
    """The one granularity that a group is scored at: as configured if it has such rows."""
    wanted = "line" if config.granularity == "auto" else config.granularity
    return wanted if wanted in present else min(present)


def _score_batch(
    samples: Sequence[Sample], texts: Mapping[str, str], config: EvaluateConfig
) -> list[RowScore]:
    found = [texts.get(sample.id, "") for sample in samples]
    rows = []
    for sample, text, pair in zip(samples, found, _tokens(samples, found, config), strict=True):
        missing = sample.id not in texts
        if sample.task != TRANSCRIBE:
            rows.append(_probe_row(sample, text, missing))
            continue
        rows.append(
            score_transcription(
                sample,
                text,
                profile=config.profile,
                tokens=pair,
                cohorts=config.cohorts,
                missing=missing,
            )
        )
    return rows


def _tokens(
    samples: Sequence[Sample], found: Sequence[str], config: EvaluateConfig
) -> list[tuple[list[Hashable], list[Hashable]]]:
    """Tokens of each normalized reference and prediction; equal texts are cut once."""
    pairs = [
        (normalize.normalize(s.text, config.profile), normalize.normalize(t, config.profile))
        for s, t in zip(samples, found, strict=True)
    ]
    unique = list(dict.fromkeys(text for pair in pairs for text in pair))
    encoded = tokens.load_tokenizer(config.metric_tokenizer).encode_batch(unique)
    known = dict(zip(unique, encoded, strict=True))
    return [(known[reference], known[prediction]) for reference, prediction in pairs]


def _score_batches(
    batches: Iterable[list[Sample]], texts: Mapping[str, str], config: EvaluateConfig
) -> Iterator[list[RowScore]]:
    """Score batches in order, in several processes where there is enough text to pay."""
    workers = config.workers or min(os.cpu_count() or 1, MOST_WORKERS)
    if config.workers == 0 and sum(map(len, texts.values())) < PARALLEL_FROM:
        workers = 1
    if workers == 1:
        for batch in batches:
            yield _score_batch(batch, texts, config)
        return
    context = multiprocessing.get_context("spawn")  # forking a process with threads is unsafe
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        pending: deque[Future[list[RowScore]]] = deque()
        for batch in batches:
            own = {sample.id: texts[sample.id] for sample in batch if sample.id in texts}
            pending.append(pool.submit(_score_batch, batch, own, config))
            if len(pending) > 2 * workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


def _probe_row(sample: Sample, text: str, missing: bool) -> RowScore:
    shared = {f.name for f in dataclasses.fields(Sample)} & {
        f.name for f in dataclasses.fields(RowScore)
    }
    values = {name: getattr(sample, name) for name in shared}
    return RowScore(**values, missing=missing, probe=score_probe(sample, text))


def _distinct(samples: Iterable[Sample], seen: set[str]) -> Iterator[Sample]:
    for sample in samples:
        if sample.id in seen:
            raise UserError(f"sample {sample.id}: the id stands twice in the manifest")
        seen.add(sample.id)
        yield sample


def _by_id(predictions: Iterable[Prediction]) -> dict[str, str]:
    texts: dict[str, str] = {}
    for prediction in predictions:
        if prediction.id in texts:
            raise UserError(f"prediction {prediction.id}: the id stands twice; remove one row")
        texts[prediction.id] = prediction.text
    return texts


def _batches(samples: Iterable[Sample], size: int) -> Iterator[list[Sample]]:
    iterator = iter(samples)
    while batch := list(itertools.islice(iterator, size)):
        yield batch
