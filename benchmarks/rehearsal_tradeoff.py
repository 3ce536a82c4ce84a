"""How much general ability does a dedicated adapter keep? A curve over rehearsal shares.

    python benchmarks/rehearsal_tradeoff.py --real DIR --work /tmp/tradeoff --shares 0 0.1 0.3 0.5

DIR holds sroie/ (receipts: trained on, split by receipt), uw3/ and omnidocbench/ (evaluated
only, never trained on). Each share runs the pipeline itself in a clone of this project under
--work, with features shared through one cache. RapidOCR and Tesseract 5 read the same lines.
Prints a Markdown table of CER in percent on the test rows, and keeps --out as JSON, row by row:
a row that stands there already is not measured again.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from ruamel.yaml import YAML

from manifold_ocr.config import EvaluateConfig
from manifold_ocr.metrics.score import score_rows, summarize
from manifold_ocr.records import read_predictions, read_samples, write_rows

PROJECT = Path(__file__).resolve().parents[1]
SETS = (
    ("receipts", "sroie", None),
    ("UW3 English", "uw3", None),
    ("OmniDocBench English", "omnidocbench", "en"),
    ("OmniDocBench Chinese", "omnidocbench", "zh"),
)


def set_params(path: Path, values: dict[str, object]) -> None:
    """Write dotted keys into a params file."""
    yaml = YAML()
    document = yaml.load(path.read_text(encoding="utf-8"))
    for key, value in values.items():
        *sections, leaf = key.split(".")
        place = document
        for section in sections:
            place = place.setdefault(section, {})
        place[leaf] = value
    with open(path, "w", encoding="utf-8") as file:
        yaml.dump(document, file)


def run(clone: Path, *command: str) -> None:
    """Run a command in the clone with the clone's own code."""
    env = {
        **os.environ,
        "PYTHONPATH": str(clone / "src"),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    subprocess.run(command, cwd=clone, check=True, env=env)


def prepare(work: Path, real: Path) -> Path:
    """Clone the project and point it at the real documents."""
    clone = work / "clone"
    if not clone.exists():
        subprocess.run(["git", "clone", "-q", str(PROJECT), str(clone)], check=True)
    corpora = {
        "sroie": {"kind": "icdar_sroie", "path": str(real / "sroie"), "license": "CC-BY-4.0"},
        "uw3": {"kind": "folder", "path": str(real / "uw3"), "role": "eval_only", "language": "en"},
        "omnidocbench": {"path": str(real / "omnidocbench")},
    }
    set_params(
        clone / "params.yaml",
        {
            "download.corpora": list(corpora),
            **{f"corpora.{name}": options for name, options in corpora.items()},
            "augment.variants": 0,
        },
    )
    return clone


def scores(
    manifest: Path, predictions: Path, config: EvaluateConfig, english_only: bool = False
) -> dict[str, float]:
    """Return CER of each evaluation set for one predictions file."""
    samples = [s for s in read_samples(manifest) if s.granularity == "line"]
    rows = score_rows(samples, read_predictions(predictions), config)
    result = {}
    for name, corpus, language in SETS:
        group = [r for r in rows if r.corpus == corpus and language in (None, r.language)]
        if group and not (english_only and language == "zh"):
            result[name] = summarize(group, config)["overall"]["cer"]
    return result


def read_with_engine(clone: Path, engine: str, work: Path) -> tuple[Path, Path]:
    """Read the test lines with another engine; return manifest and predictions.

    Tesseract reads the English lines only, with its English model: with the Chinese one
    beside it a line takes several times as long.
    """
    manifest, target = clone / "data/manifest/test.jsonl", work / f"{engine}.jsonl"
    if engine == "tesseract":
        english = [s for s in read_samples(manifest) if s.language == "en"]
        manifest = work / "english.jsonl"
        write_rows(manifest, english)
    run(clone, sys.executable, "-m", "manifold_ocr.cli.main", "eval", "--engine", engine,
        "--manifest", str(manifest), "--image-root", "data/raw",
        "--granularity", "line", "--out", str(target))  # fmt: skip
    return manifest, target


def keep(out: Path, table: dict[str, dict[str, float]]) -> None:
    """Write the table so far."""
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(table, indent=2) + "\n")


def main() -> None:
    """Run every share and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--real", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--shares", type=float, nargs="+", default=[0.0, 0.1, 0.25, 0.5])
    parser.add_argument("--engines", nargs="*", default=["rapidocr", "tesseract"])
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    clone = prepare(arguments.work, arguments.real.resolve())
    extra = {k: YAML(typ="safe").load(v) for k, v in (s.split("=", 1) for s in arguments.set)}
    config = EvaluateConfig(bootstrap_samples=0)
    table = json.loads(arguments.out.read_text()) if arguments.out.exists() else {}
    for share in arguments.shares:
        name = f"adapter, rehearsal {share:g}"
        if name in table:
            continue
        started = time.monotonic()
        set_params(clone / "params.yaml", {**extra, "train.rehearsal": share})
        run(clone, sys.executable, "-m", "dvc", "repro", "evaluate")
        minutes = (time.monotonic() - started) / 60
        manifest, read = clone / "data/manifest/test.jsonl", clone / "output/predictions"
        table.setdefault("base", scores(manifest, read / "base.jsonl", config))
        table[name] = scores(manifest, read / "adapter.jsonl", config)
        table[name]["minutes"] = minutes
        keep(arguments.out, table)
    for engine in arguments.engines:
        if engine in table:
            continue
        read = read_with_engine(clone, engine, arguments.work)
        table[engine] = scores(*read, config, english_only=engine == "tesseract")
        keep(arguments.out, table)
    header = [name for name, _, _ in SETS]
    print("| CER % | " + " | ".join(header) + " | minutes |")
    print("|:--|" + "--:|" * (len(header) + 1))
    for name, values in table.items():
        cells = [f"{100 * values[c]:.2f}" if c in values else "-" for c in header]
        print(f"| {name} | " + " | ".join(cells) + f" | {values.get('minutes', 0):.1f} |")


if __name__ == "__main__":
    main()
