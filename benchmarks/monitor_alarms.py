"""Does the monitor alert when it should, and only then?

    PYTHONPATH=src python benchmarks/monitor_alarms.py
    PYTHONPATH=src python benchmarks/monitor_alarms.py \
        --manifest data/manifest/test.jsonl --predictions output/predictions/base.jsonl \
        --group subset:receipts

False alarms: --runs times two equally good models read the same fresh documents; the share of
runs with any alert must stay at or below the significance of params (5 %). Documents are
simulated: three languages over four subsets, each document with an error rate of its own (Beta
distributed), so that documents are correlated inside as real ones are. Detection: the labels of
one language, subset or corpus are scrambled at 3 %, then an alert must name it, and no alert a
group without a row of it; on the simulated documents, or on the readings of a manifest.
"""

import argparse
import random
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from manifold_ocr.config import EvaluateConfig, MonitorConfig
from manifold_ocr.evaluation.monitor import Verdict, monitor
from manifold_ocr.metrics.paired import document_sums
from manifold_ocr.metrics.score import RowScore, score_rows, summarize
from manifold_ocr.records import Prediction, Sample, read_predictions, read_samples

LATIN = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
HAN = (
    "的一是在不了有和人这中大为上个国我以要他时来用们生到作地于出就分对成会可主发年动同"
    "工也能下过子说产种面而方后多定行学法所"
)
LANGUAGES = {"en": LATIN, "de": LATIN + "äöüß", "zh": HAN}
SUBSETS = ("printed", "receipts", "forms", "degraded")
RATES = {"printed": 0.01, "receipts": 0.03, "forms": 0.02, "degraded": 0.10}


def simulate(
    documents: int, lines: int, seed: int, readings: int = 1
) -> tuple[list[Sample], list[list[Prediction]]]:
    """Return a population and equally good readings of it, with document effects."""
    rng = random.Random(seed)
    samples: list[Sample] = []
    predictions: list[list[Prediction]] = [[] for _ in range(readings)]
    for number in range(documents):
        language, subset = rng.choice(list(LANGUAGES)), rng.choice(SUBSETS)
        mean = RATES[subset]
        rate = rng.betavariate(2, 2 / mean - 2)
        for line in range(lines):
            text, name = _words(rng, language), f"{number}/{line}"
            samples.append(
                Sample(
                    id=name,
                    document=str(number),
                    corpus="simulated",
                    subset=subset,
                    language=language,
                    image="none.png",
                    text=text,
                )
            )
            for read in predictions:
                read.append(Prediction(id=name, text=scramble(text, rate, language, rng)))
    return samples, predictions


def _words(rng: random.Random, language: str) -> str:
    alphabet = LANGUAGES[language]
    if language == "zh":
        return "".join(rng.choice(alphabet) for _ in range(rng.randint(10, 30)))
    words = ["".join(rng.choice(alphabet) for _ in range(rng.randint(2, 9))) for _ in range(7)]
    return " ".join(words)


def scramble(text: str, rate: float, language: str, rng: random.Random) -> str:
    """Replace each character with probability `rate` by another of the language."""
    alphabet = LANGUAGES.get(language, LATIN)
    return "".join(rng.choice(alphabet) if rng.random() < rate else c for c in text)


def judge(
    rows: Sequence[RowScore], baseline: Sequence[RowScore], evaluate: EvaluateConfig
) -> Verdict:
    """Compare two readings as two evaluation files would be."""
    now, then = (
        {
            "adapter": summarize(part, evaluate),
            "documents": {"adapter": document_sums(part)},
            "test_sha256": "the same",
        }
        for part in (rows, baseline)
    )
    return monitor(now, then, MonitorConfig())


def false_alarms(options: argparse.Namespace, evaluate: EvaluateConfig) -> int:
    """Return in how many runs an alert was raised between equally good models."""
    alarms = 0
    for run in range(options.runs):
        samples, (a, b) = simulate(options.documents, 8, options.seed + run, 2)
        rows = (score_rows(samples, read, evaluate) for read in (a, b))
        verdict = judge(*rows, evaluate)
        alarms += bool(verdict.alerts)
        for alert in verdict.alerts:
            print("  false:", alert.line())
    print(
        f"equal models, {options.runs} sets of {options.documents} documents: {alarms} runs with "
        f"an alert ({alarms / options.runs:.1%}; at most 5 % wanted)"
    )
    return alarms


def main() -> int:
    """Run both experiments; status 1 where a requirement fails."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--manifest", type=Path)
    parser.add_argument("--predictions", type=Path)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--documents", type=int, default=300)
    parser.add_argument(
        "--group", default="language:zh", help="whose labels are scrambled: KIND:NAME"
    )
    parser.add_argument("--rate", type=float, default=0.03)
    parser.add_argument("--seed", type=int, default=20240601)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    evaluate = EvaluateConfig(bootstrap_samples=200, seed=options.seed)
    alarms = false_alarms(options, evaluate)
    if options.manifest:
        predictions = list(read_predictions(options.predictions))
        known = {prediction.id for prediction in predictions}
        samples = [sample for sample in read_samples(options.manifest) if sample.id in known]
    else:
        samples, (predictions,) = simulate(options.documents, 8, options.seed)
    rows = score_rows(samples, predictions, evaluate)
    damaged = score_rows(damage(samples, options, rng), predictions, evaluate)
    wanted = rows_of(samples, options.group)
    print(f"planted at {options.rate:.0%} in {options.group} ({len(wanted):,} rows):")
    right = told("same documents", judge(damaged, rows, evaluate), wanted, samples, options.group)
    return int(not right or alarms > 0.05 * options.runs)


def told(
    name: str, verdict: Verdict, wanted: set[str], samples: Sequence[Sample], group: str
) -> bool:
    """Print what the monitor said; return whether the group is named and no group apart from it."""
    names = [alert.name for alert in verdict.alerts]
    named = [rows_of(samples, name.replace(" ", ":", 1)) for name in names]
    right = wanted in named and all(wanted & rows for rows in named)
    print(f"  {name}: alerts name {names}: {'right' if right else 'WRONG'}")
    for alert in verdict.alerts:
        print("   ", alert.line())
    kind, _, value = group.partition(":")
    for check in verdict.checks:
        found = check.found
        if (check.grouping, check.group) == (f"by_{kind}", value) and found.detectable:
            print(
                f"    {group} {found.metric}: rise {100 * found.change:+.2f} points, "
                f"seen from {100 * found.detectable:+.2f}"
            )
    return right


def rows_of(samples: Sequence[Sample], group: str) -> set[str]:
    """Return the ids of the rows of `KIND:NAME` (corpus, subset or language)."""
    kind, _, name = group.partition(":")
    if kind not in ("corpus", "subset", "language"):
        return {sample.id for sample in samples} if kind == "overall" else set()
    return {sample.id for sample in samples if getattr(sample, kind) == name}


def damage(
    samples: Sequence[Sample], options: argparse.Namespace, rng: random.Random
) -> list[Sample]:
    """Scramble the labels of one group."""
    chosen = rows_of(samples, options.group)
    if not chosen:
        raise SystemExit(f"no row of {options.group}; the form is language:zh or subset:receipts")
    return [
        replace(s, text=scramble(s.text, options.rate, s.language, rng)) if s.id in chosen else s
        for s in samples
    ]


if __name__ == "__main__":
    sys.exit(main())
