"""Does the monitor alert when it should, and only then?

    PYTHONPATH=src python benchmarks/monitor_alarms.py
    PYTHONPATH=src python benchmarks/monitor_alarms.py \
        --manifest data/manifest/test.jsonl --predictions output/predictions/base.jsonl \
        --group subset:receipts

Two experiments on one population of documents. False alarms: 20 (or --runs) times the same
model is evaluated on two fresh draws of documents, which are compared; the share of runs
with any alert must stay at or below the significance of params (5 %). Detection: the labels
of one language, subset or corpus are scrambled at 3 %, then an alert must name it, and no alert
a group without a row of it: on the same documents, as a test split that stays the same gives
them, and on another fresh draw. The rise is printed beside the least one that the monitor
sees in that group. Without a manifest the population is simulated: documents of three
languages over four subsets, each document with an error rate of its own (Beta distributed),
so that documents are correlated inside as real ones are. With one, only rows that the
prediction file holds take part, and documents are drawn with replacement.
"""

import argparse
import random
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from manifold_ocr.config import EvaluateConfig, MonitorConfig
from manifold_ocr.evaluation.monitor import Verdict, monitor
from manifold_ocr.metrics.score import RowScore, score_rows, summarise
from manifold_ocr.records import Prediction, Sample, read_predictions, read_samples

LATIN = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
HAN = (
    "的一是在不了有和人这中大为上个国我以要他时来用们生到作地于出就分对成会可主发年动同"
    "工也能下过子说产种面而方后多定行学法所"
)
LANGUAGES = {"en": LATIN, "de": LATIN + "äöüß", "zh": HAN}
SUBSETS = ("printed", "receipts", "forms", "degraded")
RATES = {"printed": 0.01, "receipts": 0.03, "forms": 0.02, "degraded": 0.10}


def simulate(documents: int, lines: int, seed: int) -> tuple[list[Sample], list[Prediction]]:
    """Return a population of readings with document effects."""
    rng = random.Random(seed)
    samples, predictions = [], []
    for number in range(documents):
        language = rng.choice(list(LANGUAGES))
        subset = rng.choice(SUBSETS)
        mean = RATES[subset]
        rate = rng.betavariate(2, 2 / mean - 2)
        for line in range(lines):
            text = _words(rng, language)
            name = f"{number}/{line}"
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
            predictions.append(Prediction(id=name, text=scramble(text, rate, language, rng)))
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


def draw(rows: Sequence[RowScore], rng: random.Random) -> list[RowScore]:
    """Draw as many documents as there are, with replacement; a repeat is a document of its own."""
    by_document: dict[str, list[RowScore]] = {}
    for row in rows:
        by_document.setdefault(row.document, []).append(row)
    names = sorted(by_document)
    drawn = []
    for copy, name in enumerate(rng.choices(names, k=len(names))):
        drawn += [
            replace(row, document=f"{copy}", id=f"{copy}:{row.id}") for row in by_document[name]
        ]
    return drawn


def judge(
    rows: Sequence[RowScore], baseline: Sequence[RowScore], evaluate: EvaluateConfig
) -> Verdict:
    """Compare two draws as two evaluation files would be."""
    config = MonitorConfig()
    now, then = ({"adapter": summarise(part, evaluate)} for part in (rows, baseline))
    return monitor(now, then, config)


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
    if options.manifest:
        predictions = list(read_predictions(options.predictions))
        known = {prediction.id for prediction in predictions}
        everything = list(read_samples(options.manifest))
        samples = [sample for sample in everything if sample.id in known]
        documents = len({sample.document for sample in samples})
        print(f"{len(samples):,} of {len(everything):,} rows were read, {documents} documents")
    else:
        samples, predictions = simulate(options.documents * 4, 8, options.seed)
    evaluate = EvaluateConfig(bootstrap_samples=1000, seed=options.seed)
    rows = score_rows(samples, predictions, evaluate)

    def drawn(from_rows: Sequence[RowScore]) -> list[RowScore]:
        if options.manifest:
            return draw(from_rows, rng)
        return fresh(from_rows, options.documents, rng)

    verdicts = [judge(drawn(rows), drawn(rows), evaluate) for _ in range(options.runs)]
    false_alarms = sum(bool(verdict.alerts) for verdict in verdicts)
    print(
        f"unchanged model, {options.runs} pairs of fresh draws of documents, "
        f"{len(verdicts[0].checks)} checks each: {false_alarms} runs with an alert "
        f"({false_alarms / options.runs:.1%}; at most 5 % wanted)"
    )
    for verdict in verdicts:
        for alert in verdict.alerts:
            print("  false:", alert.line())
    damaged = score_rows(damage(samples, options, rng), predictions, evaluate)
    wanted = rows_of(samples, options.group)
    print(f"planted at {options.rate:.0%} in {options.group} ({len(wanted):,} rows):")
    verdicts = [judge(damaged, rows, evaluate), judge(drawn(damaged), drawn(rows), evaluate)]
    right = [
        told(name, verdict, wanted, samples, options.group)
        for name, verdict in zip(("same documents", "fresh draws"), verdicts, strict=True)
    ]
    return int(not all(right) or false_alarms > 0.05 * options.runs)


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
        if (check.grouping, check.group) == (f"by_{kind}", value) and check.detectable:
            print(
                f"    {group} {check.metric}: rise {100 * check.change:+.2f} points, "
                f"seen from {100 * check.detectable:+.2f}"
            )
    return right


def rows_of(samples: Sequence[Sample], group: str) -> set[str]:
    """Return the ids of the rows of `KIND:NAME` (corpus, subset or language)."""
    kind, _, name = group.partition(":")
    if kind not in ("corpus", "subset", "language"):
        return {sample.id for sample in samples} if kind == "overall" else set()
    return {sample.id for sample in samples if getattr(sample, kind) == name}


def fresh(rows: Sequence[RowScore], documents: int, rng: random.Random) -> list[RowScore]:
    """Draw documents from the population without replacement."""
    names = set(rng.sample(sorted({row.document for row in rows}), documents))
    return [row for row in rows if row.document in names]


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
