"""The one scorer: training, evaluate, the command line, engines and leaderboard use it.

    rows = score_rows(samples, predictions, config)
    section = summarise(rows, config)          # overall, by_corpus, by_subset, by_language, ...
    report = evaluation(adapter_rows, base_rows, config)

Rows of different granularity or task never mix: a group's CER is over its line rows if it
has any, else over its page rows (`by_granularity` has each), and tasks other than
transcription are summed under `by_task` only.
"""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from manifold_ocr.errors import UserError
from manifold_ocr.records import Prediction, Sample
from manifold_ocr.text import aggregate, normalize, tokens
from manifold_ocr.text.cohorts import CohortConfig
from manifold_ocr.text.probes import score_probe
from manifold_ocr.text.rows import RowScore, score_transcription

TRANSCRIBE = "transcribe"
TOKENIZER_BATCH = 1024


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """The `evaluate` section of params.yaml.

    `metric_tokenizer` is `deepseek`, `whitespace`, a local folder or a hub id; `profile` the
    normalisation profile of every metric; `granularity` `auto` prefers lines. Inference runs
    with `batch_size` and cuts generated text at `generation_max_length` tokens. `max_samples`
    > 0 evaluates a seeded share of documents. `workers` 0 decides from the amount of text.
    """

    metric_tokenizer: str = "deepseek"
    profile: str = normalize.DEFAULT_PROFILE
    granularity: Literal["auto", "line", "page"] = "auto"
    bootstrap_samples: int = 2000
    seed: int = 20240601
    batch_size: int = 32
    generation_max_length: int = 1024
    max_samples: int = 0
    workers: int = 0
    cohorts: CohortConfig = field(default_factory=CohortConfig)

    def __post_init__(self) -> None:
        normalize.describe(self.profile)
        if self.bootstrap_samples < 0 or self.batch_size < 1 or self.workers < 0:
            raise ValueError("bootstrap_samples, workers >= 0 and batch_size >= 1 are required")


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
    rows: list[RowScore] = []
    seen: set[str] = set()
    for batch in _batches(samples, TOKENIZER_BATCH):
        for sample in batch:
            if sample.id in seen:
                raise UserError(f"sample {sample.id}: the id stands twice in the manifest")
            seen.add(sample.id)
        rows.extend(_score_batch(batch, texts, config))
    if not rows:
        raise UserError("there is no sample to score; the manifest is empty")
    unknown = len(texts.keys() - seen)
    return Scores(rows, sum(row.missing for row in rows), unknown)


def score_rows(
    samples: Iterable[Sample], predictions: Iterable[Prediction], config: EvaluateConfig
) -> list[RowScore]:
    """Return the rows of `score`."""
    return score(samples, predictions, config).rows


def summarise(rows: Sequence[RowScore], config: EvaluateConfig) -> dict[str, Any]:
    """Return metrics overall and by group: finite numbers only.

    `settings` names profile and tokenizer; `undefined` names, for each group that has any,
    the metrics that cannot be given (an interval of one document, a rate without cases).
    """
    return _sections(
        rows,
        config,
        lambda group: aggregate.summarise_group(group, config.bootstrap_samples, config.seed),
        lambda group: aggregate.summarise_probe(group, config.bootstrap_samples, config.seed),
    )


def compare(a: Sequence[RowScore], b: Sequence[RowScore], config: EvaluateConfig) -> dict[str, Any]:
    """Return paired differences a - b, grouped as in `summarise`, with 95 % intervals.

    Raises:
        UserError: the two sides do not score the same samples.
    """
    partner = {row.id: row for row in b}
    if partner.keys() != {row.id for row in a} or len(a) != len(b):
        raise UserError(
            "a comparison needs both systems scored on the same samples; "
            f"one side has {len(a)}, the other {len(b)}: predict again with both"
        )

    def paired(
        group: Sequence[RowScore],
        of: Callable[..., tuple[dict[str, float], list[str]]],
    ) -> tuple[dict[str, float], list[str]]:
        others = [partner[row.id] for row in group]
        return of(group, others, config.bootstrap_samples, config.seed)

    return _sections(
        a,
        config,
        lambda group: paired(group, aggregate.compare_group),
        lambda group: paired(group, aggregate.compare_probe),
    )


def evaluation(
    adapter: Sequence[RowScore], base: Sequence[RowScore], config: EvaluateConfig
) -> dict[str, Any]:
    """Return the content of metrics/evaluate.json: adapter, base and their difference."""
    return {
        "adapter": summarise(adapter, config),
        "base": summarise(base, config),
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


Aggregate = Callable[[Sequence[RowScore]], tuple[dict[str, float], list[str]]]


def _sections(
    rows: Sequence[RowScore], config: EvaluateConfig, transcribed: Aggregate, probed: Aggregate
) -> dict[str, Any]:
    texts = [row for row in rows if row.task == TRANSCRIBE]
    undefined: dict[str, str] = {}
    result: dict[str, Any] = {"settings": settings(config)}

    def add(where: str, group: Sequence[RowScore], of: Aggregate) -> dict[str, float]:
        metrics, missing = of(group)
        if missing:
            undefined[where] = ", ".join(missing)
        return metrics

    if texts:
        result["overall"] = add("overall", _one_granularity(texts, config), transcribed)
    for name, key in (
        ("by_corpus", "corpus"),
        ("by_subset", "subset"),
        ("by_language", "language"),
        ("by_granularity", "granularity"),
    ):
        result[name] = {
            value: add(f"{name}.{value}", _one_granularity(group, config), transcribed)
            for value, group in group_rows(texts, key).items()
        }
    probes = [row for row in rows if row.task != TRANSCRIBE]
    result["by_task"] = {
        value: add(f"by_task.{value}", group, probed)
        for value, group in group_rows(probes, "task").items()
    }
    result["undefined"] = undefined
    return result


def group_rows(rows: Sequence[RowScore], key: str) -> dict[str, list[RowScore]]:
    """Group rows by one of their fields, groups in sorted order."""
    groups: dict[str, list[RowScore]] = {}
    for row in rows:
        groups.setdefault(getattr(row, key), []).append(row)
    return dict(sorted(groups.items()))


def _one_granularity(rows: Sequence[RowScore], config: EvaluateConfig) -> Sequence[RowScore]:
    present = {row.granularity for row in rows}
    wanted: str = config.granularity if config.granularity != "auto" else "line"
    if len(present) == 1 or wanted not in present:
        wanted = min(present)
    return [row for row in rows if row.granularity == wanted]


def _score_batch(
    samples: Sequence[Sample], texts: dict[str, str], config: EvaluateConfig
) -> list[RowScore]:
    tokenizer = tokens.load_tokenizer(config.metric_tokenizer)
    found = [texts.get(sample.id, "") for sample in samples]
    references = [normalize.normalise(sample.text, config.profile) for sample in samples]
    predicted = [normalize.normalise(text, config.profile) for text in found]
    encoded = tokenizer.encode_batch(references + predicted)
    rows = []
    for i, (sample, text) in enumerate(zip(samples, found, strict=True)):
        missing = sample.id not in texts
        if sample.task != TRANSCRIBE:
            rows.append(_probe_row(sample, text, missing))
            continue
        pair = (encoded[i], encoded[len(samples) + i])
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


def _probe_row(sample: Sample, text: str, missing: bool) -> RowScore:
    shared = {f.name for f in dataclasses.fields(Sample)} & {
        f.name for f in dataclasses.fields(RowScore)
    }
    values = {name: getattr(sample, name) for name in shared}
    return RowScore(**values, missing=missing, probe=score_probe(sample, text))


def _by_id(predictions: Iterable[Prediction]) -> dict[str, str]:
    texts: dict[str, str] = {}
    for prediction in predictions:
        if prediction.id in texts:
            raise UserError(f"prediction {prediction.id}: the id stands twice; remove one row")
        texts[prediction.id] = prediction.text
    return texts


def _batches(samples: Iterable[Sample], size: int) -> Iterable[list[Sample]]:
    batch: list[Sample] = []
    for sample in samples:
        batch.append(sample)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
