"""What is trained, and where LoRA sits: variants of one run, each through the product's own code.

    python benchmarks/placement.py prepare --task default --work DIR
    python benchmarks/placement.py train --task default --work DIR --variants full --seeds 1 2 3
    python benchmarks/placement.py table --work DIR

Tasks: `default`, the default corpus; `receipts` and `few` (20 receipts), with --real DIR that holds
sroie/ (split by receipt), uw3/ and omnidocbench/ (read only, never trained on). `train` appends a
line to DIR/results.jsonl for each variant, seed and share of the change that is kept (--keep: the
weights are base + share * (trained - base); Wortsman et al. 2022). --joined trains pairs of lines
side by side; --pseudo ADAPTER labels the receipts beyond the 20 with what it reads in them. Needs
the base model's recognizer (--recognizer FILE, or the installed wheel). A GPU is used where there
is one.
"""

import argparse
import json
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

PROJECT = Path(__file__).resolve().parents[1]
FULL = {"lora.rank": 0, "train.freeze": "none"}
VARIANTS: dict[str, dict[str, Any]] = {
    "head": {"train.freeze": "backbone", "train.learning_rate": 1e-3},
    "stage": {"train.freeze": "early", "train.learning_rate": 1e-3},
    "pointwise": {"train.learning_rate": 1e-3},
    "pointwise32": {"train.learning_rate": 1e-3, "lora.rank": 32, "lora.alpha": 64},
    "stage-full": {"lora.rank": 0, "train.freeze": "early", "train.learning_rate": 3e-4},
    "full": {**FULL, "train.learning_rate": 3e-4},
    "full-slow": {**FULL, "train.learning_rate": 1e-4},
    "full-fast": {**FULL, "train.learning_rate": 1e-3},
}
COMMON = {
    "model.vocabulary": "base", "model.precision": "bf16", "train.freeze": "none",
    "train.epochs": 4.0, "train.train_batch_size": 64, "train.rehearsal": 0.2,
    "evaluate.metric_tokenizer": "whitespace",
}  # fmt: skip
CORPORA: dict[str, dict[str, Any]] = {
    "default": {
        "corpora.synthetic.train_lines": 2000,
        "corpora.synthetic.apart": 2.0,
        "corpora.synthetic.legible": 0.5,
    },
    "receipts": {
        "download.corpora": ["sroie", "uw3", "omnidocbench"],
        "corpora.sroie": {"kind": "icdar_sroie", "license": "CC-BY-4.0"},
        "corpora.uw3": {"kind": "folder", "role": "eval_only", "language": "en"},
        "corpora.omnidocbench": {},
        "augment.variants": 0,
        "train.rehearsal": 0.1,
    },
}
CORPORA["few"] = CORPORA["receipts"]
FEW = 20  # receipts
LEAST = 0.9  # confidence of a line whose reading becomes its label
MOST_FRAMES = 200  # of two lines that are joined
SETS = {
    "receipts": ("sroie", None), "UW3": ("uw3", None), "OmniDocBench en": ("omnidocbench", "en"),
    "OmniDocBench zh": ("omnidocbench", "zh"),
}  # fmt: skip
MEASURES = ("cer", "cer_without_spaces", "exact_match", "exact_match_without_spaces", "word_f1")


def params_of(args: argparse.Namespace, values: dict[str, Any]) -> dict[str, Any]:
    """Return the project's params with the task's, `values` and --set on top."""
    params = YAML(typ="safe").load((PROJECT / "params.yaml").read_text(encoding="utf-8"))
    extra = {k: YAML(typ="safe").load(v) for k, v in (s.split("=", 1) for s in args.set)}
    for key, value in {**COMMON, **CORPORA[args.task], **values, **extra}.items():
        *sections, leaf = key.split(".")
        place = params
        for section in sections:
            place = place.setdefault(section, {})
        place[leaf] = value
    for name in ("sroie", "uw3", "omnidocbench"):
        if args.task != "default":
            params["corpora"][name]["path"] = str(args.real.resolve() / name)
    return dict(params)


def spec_of(params: dict[str, Any]) -> Any:
    """Return the run that params describe."""
    from manifold_ocr.config import SECTIONS
    from manifold_ocr.errors import build
    from manifold_ocr.models.base import RunSpec

    model, lora, train, scoring = (
        build(SECTIONS[name], params[name], name) for name in ("model", "lora", "train", "evaluate")
    )
    return RunSpec(
        model=model, lora=lora, train=train, base=Path("data/base/pp-ocrv6-small"),
        image_root=Path("data/raw"), profile=scoring.profile, metric_tokenizer="whitespace",
    )  # fmt: skip


def prepare(args: argparse.Namespace) -> None:
    """Write base model, corpora, manifests, augmented lines and what every variant shares."""
    from manifold_ocr.models.ctc.import_ppocr import import_base
    from manifold_ocr.stages import augment, manifest
    from manifold_ocr.stages.download import fetch_corpus

    started = time.monotonic()
    params = params_of(args, {})
    with open("params.yaml", "w", encoding="utf-8") as file:
        YAML().dump(params, file)
    import_base(Path("data/base/pp-ocrv6-small"), args.recognizer)
    for corpus in params["download"]["corpora"]:
        fetch_corpus(corpus)
    manifest.main()
    augment.main()
    chosen_rows(args, spec_of(params))
    print(f"prepare: {time.monotonic() - started:.0f} s", flush=True)


def chosen_rows(args: argparse.Namespace, spec: Any) -> dict[str, Any]:
    """Return the training and validation rows of the task; draws rehearsal lines once."""
    from manifold_ocr.records import iter_manifest
    from manifold_ocr.training import run

    train = [
        s for s in iter_manifest(Path("data/augmented/train.jsonl")) if s.granularity == "line"
    ]
    val = [s for s in iter_manifest(Path("data/manifest/val.jsonl")) if s.granularity == "line"]
    if args.task == "few":
        from manifold_ocr.files import sha256_text

        documents = sorted({s.document for s in train}, key=lambda name: sha256_text(f"few:{name}"))
        others = [s for s in train if s.document not in documents[:FEW]]
        train = [s for s in train if s.document in documents[:FEW]]
        if args.pseudo:
            train += pseudo_labelled(spec, others, args.pseudo)
    rows, _ = run.tell_conventions(spec, train)
    run.rehearsal_rows(spec.train, len(rows))
    return {"train": train, "val": val}


def pseudo_labelled(spec: Any, samples: list[Any], adapter: Path) -> list[Any]:
    """Return the lines that an adapter is sure of, labelled with its readings.

    They follow the adapter's convention, as the labels that it was trained on do.
    """
    from manifold_ocr.models.conventions import applied, read_conventions
    from manifold_ocr.models.device import default_device
    from manifold_ocr.models.family import family_for
    from manifold_ocr.records import Prediction

    family = family_for("ctc", spec)
    model = family.build()
    family.restore(model, adapter)
    readings = list(family.read(model.to(default_device()).eval(), samples))
    read = [Prediction(id=s.id, text=r.text) for s, r in zip(samples, readings, strict=True)]
    texts = [row.text for row in applied(read, samples, read_conventions(adapter))]
    known = [
        replace(sample, text=text)
        for sample, text, reading in zip(samples, texts, readings, strict=True)
        if text.strip() and reading.confidence is not None and reading.confidence >= LEAST
    ]
    print(f"labels that {adapter} reads: {len(known)} of {len(samples)} lines", flush=True)
    return known


def share_pixels(workers: int) -> None:
    """Let a run and its readings keep lines in one place: they are the same images.

    Not the runs of several seeds: their rehearsal lines have the same ids.
    """
    from manifold_ocr.models.ctc import train
    from manifold_ocr.models.ctc.pixels import LinePixels

    kept = LinePixels(Path("data/raw"), workers)
    train.LinePixels = lambda *_: kept  # type: ignore[assignment, misc]


def join_rows(share: float) -> None:
    """Let a share of the training lines be trained in pairs, side by side (RecConAug of PaddleOCR).

    A space is between them, but not between Chinese ones. As many lines are trained as without.
    """
    import numpy as np

    from manifold_ocr.models.ctc import rows, train
    from manifold_ocr.models.ctc.decode import Vocabulary
    from manifold_ocr.models.ctc.vocabulary import character_list

    space = Vocabulary(character_list(Path("data/base/pp-ocrv6-small"))).encode(" ") or []

    class Joined(rows.PixelRows):
        """Rows of which the first ones are two lines each."""

        def __init__(self, samples: Any, classes: Any, lengths: Any, pixels: Any) -> None:
            order = np.random.default_rng(0).permutation(len(samples)).tolist()
            pairs = int(len(order) * share / 2)
            self.parts = [(one,) for one in order[2 * pairs :]]
            for first, last in zip(order[:pairs], order[pairs : 2 * pairs], strict=True):
                fits = lengths[first] + lengths[last] <= MOST_FRAMES
                self.parts += [(first, last)] if fits else [(first,), (last,)]
            texts = []
            for first, *others in self.parts:
                gap = [] if samples[first].language == "zh" else space
                texts.append(sum(([*gap, *classes[i]] for i in others), [*classes[first]]))
            frames = [sum(lengths[i] for i in part) for part in self.parts]
            super().__init__(samples, texts, frames, pixels)

        def __len__(self) -> int:
            return len(self.parts)

        def __getitem__(self, index: int) -> rows.Row:
            images = [self.pixels[self.samples[i]] for i in self.parts[index]]
            return np.concatenate(images, axis=1), self.classes[index]

    train.PixelRows = Joined  # type: ignore[misc]


def train_all(args: argparse.Namespace) -> None:
    """Train each variant with each seed, and append what it reads to results.jsonl."""
    from manifold_ocr.training import run

    if args.joined:
        join_rows(args.joined)
    for name in args.variants:
        for seed in args.seeds:
            share_pixels(args.workers)
            known = {"train.seed": seed, "train.dataloader_workers": args.workers}
            spec = spec_of(params_of(args, {**known, **VARIANTS[name]}))
            rows = chosen_rows(args, spec)
            adapter, started = (
                Path(f"adapters/{args.task}-{name}-{seed}{args.mark}"),
                time.monotonic(),
            )
            run.train(spec, rows, adapter, Path(f"metrics/{name}-{seed}"))
            seconds, rate = time.monotonic() - started, newest_rate(spec, rows)
            for share, scores in read_shares(spec, adapter, args.keep):
                row = {
                    "task": args.task, "variant": name + args.mark, "seed": seed, "keep": share,
                    "seconds": round(seconds), "lines_per_second": rate, "scores": scores,
                }  # fmt: skip
                report(row)


def newest_rate(spec: Any, rows: dict[str, Any]) -> int:
    """Return the lines per second of the training loop of the newest run."""
    folder = max(Path("output/training_runs").iterdir(), key=lambda path: path.stat().st_mtime)
    seconds = YAML(typ="safe").load((folder / "run.yaml").read_text())["seconds"]
    lines = len(rows["train"]) / (1 - spec.train.rehearsal) * spec.train.epochs
    return round(lines / max(seconds, 1e-3))


def report(row: dict[str, Any]) -> None:
    """Append a result and print it."""
    with open("results.jsonl", "a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")
    cells = " | ".join(f"{name} {cell([scores])}" for name, scores in row["scores"].items())
    head = f"{row['task']} {row['variant']} {row['seed']} x{row['keep']:g}"
    print(f"RESULT {head} {row['seconds']} s {row['lines_per_second']}/s | {cells}", flush=True)


def read_shares(spec: Any, adapter: Path, shares: list[float]) -> Iterator[tuple[float, Any]]:
    """Yield what base + share * change reads, for each share (0 is the base itself)."""
    import torch

    from manifold_ocr.models.conventions import read_conventions
    from manifold_ocr.models.family import family_for
    from manifold_ocr.records import read_samples

    whole = replace(spec, train=replace(spec.train, freeze="none"))
    family = family_for("ctc", whole if spec.train.freeze == "none" else spec)
    model = family.build()
    first = {name: value.detach().clone() for name, value in model.named_parameters()}
    family.restore(model, adapter)
    last = {name: value.detach().clone() for name, value in model.named_parameters()}
    model = model.to("cuda" if torch.cuda.is_available() else "cpu").eval()
    samples = [s for s in read_samples(Path("data/manifest/test.jsonl")) if s.granularity == "line"]
    val = [s for s in read_samples(Path("data/manifest/val.jsonl")) if s.granularity == "line"]
    for share in shares:
        with torch.no_grad():
            for name, value in model.named_parameters():
                if spec.lora.rank:  # W + s B A: the share goes to B
                    value.copy_(last[name] * (share if "lora_B" in name else 1.0))
                else:
                    value.copy_(first[name] + share * (last[name] - first[name]))
        cases = read_conventions(adapter)
        scores = scores_of(samples, list(family.read(model, samples)), cases)
        scores["validation"] = scores_of(val, list(family.read(model, val)), cases)["all"]
        yield share, scores


def scores_of(samples: list[Any], readings: list[Any], cases: dict[str, str]) -> dict[str, Any]:
    """Return the measures of each set, with intervals by document."""
    from manifold_ocr.config import EvaluateConfig
    from manifold_ocr.metrics.score import score_rows, summarize
    from manifold_ocr.models.conventions import applied
    from manifold_ocr.records import Prediction

    config = EvaluateConfig(bootstrap_samples=1000, metric_tokenizer="whitespace")
    read = [Prediction(id=s.id, text=r.text) for s, r in zip(samples, readings, strict=True)]
    rows = score_rows(samples, applied(read, samples, cases), config)
    sets = {name: [r for r in rows if r.corpus == corpus and language in (None, r.language)]
            for name, (corpus, language) in SETS.items()}  # fmt: skip
    subsets = sorted({r.subset for r in rows if r.corpus == "synthetic"})
    sets |= {name: [r for r in rows if r.subset == name] for name in subsets}
    found = {}
    for name, group in {"all": rows, **sets}.items():
        if group:
            overall = summarize(group, config)["overall"]
            found[name] = {key: value for key, value in overall.items() if key.startswith(MEASURES)}
            found[name]["errors_without_spaces"] = sum(r.spaceless_distance for r in group)
    return found


def table(args: argparse.Namespace) -> None:
    """Print results.jsonl as Markdown, the mean over seeds."""
    rows = [json.loads(line) for line in Path("results.jsonl").read_text().splitlines()]
    groups: dict[tuple[str, str, float], list[Any]] = {}
    for row in rows:
        groups.setdefault((row["task"], row["variant"], row["keep"]), []).append(row)
    for task in sorted({key[0] for key in groups}):
        names = list(next(g for key, g in groups.items() if key[0] == task)[0]["scores"])
        print(f"\n| {task}: CER / without spaces / exact lines, % | seeds | lines/s | "
              + " | ".join(names) + " |\n|:--|--:|--:|" + "--:|" * len(names))  # fmt: skip
        for (kind, variant, keep), group in groups.items():
            if kind == task:
                cells = [cell([row["scores"][name] for row in group]) for name in names]
                rate = max(row["lines_per_second"] for row in group)
                print(
                    f"| {variant}, {keep:g} | {len(group)} | {rate} | " + " | ".join(cells) + " |"
                )


def cell(scores: list[dict[str, float]]) -> str:
    """Return the means over seeds of CER, CER without spaces and exact lines, in percent."""
    means = (sum(s[name] for s in scores) / len(scores) for name in MEASURES[:3])
    return " / ".join(f"{100 * mean:.2f}" for mean in means)


def main() -> None:
    """Run one of the three steps in the working folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("step", choices=["prepare", "train", "table"])
    parser.add_argument("--task", choices=list(CORPORA), default="default")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--real", type=Path, default=Path("real"))
    parser.add_argument("--recognizer", type=Path)
    parser.add_argument("--variants", nargs="*", choices=list(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--seeds", type=int, nargs="*", default=[1])
    parser.add_argument("--keep", type=float, nargs="*", default=[0.0, 0.5, 0.75, 1.0])
    parser.add_argument("--joined", type=float, default=0.0, help="share of lines in pairs")
    parser.add_argument("--pseudo", type=Path, help="few: adapter that labels the other receipts")
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE")
    args = parser.parse_args()
    args.real = args.real.resolve()
    args.mark = "-pseudo" if args.pseudo else "-joined" if args.joined else ""
    args.recognizer = args.recognizer.resolve() if args.recognizer else None
    args.work.mkdir(parents=True, exist_ok=True)
    os.chdir(args.work)
    folder = "cache-joined" if args.joined else "cache"  # a run does not know of joined lines
    os.environ.setdefault("MANIFOLD_OCR_CACHE", str(Path(folder).resolve()))
    {"prepare": prepare, "train": train_all, "table": table}[args.step](args)


if __name__ == "__main__":
    main()
