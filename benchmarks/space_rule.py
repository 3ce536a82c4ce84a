"""Spaces at wide gaps of the frames: validation chooses the constants, test lines judge them.

    PYTHONPATH=src python benchmarks/space_rule.py [SROIE]

reads data/manifest, data/base and output/adapter of the default run (validation lines, every
fourth test line) and, where the folder SROIE (box/*.csv, img/*.jpg) is given, the lines of its
first 24 receipts, compared without case as its labels are upper case.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from manifold_ocr.config import EvaluateConfig, ModelConfig
from manifold_ocr.images import load_sample
from manifold_ocr.metrics.score import score_rows, summarize
from manifold_ocr.models.ctc import decode
from manifold_ocr.models.ctc.model import CtcModel, ordered_map
from manifold_ocr.models.registry import load_model
from manifold_ocr.records import Prediction, Sample, iter_manifest

ADAPTER = Path("output/adapter")
Line = tuple[Sample, Image.Image]
Frames = dict[str, tuple[np.ndarray, np.ndarray]]


def manifest_lines(split: str, step: int) -> Iterator[Line]:
    """Lines of the default run's split, with their images."""
    rows = iter_manifest(Path(f"data/manifest/{split}.jsonl"))
    lines = [s for s in rows if s.granularity == "line" and s.task == "transcribe"]
    for sample in lines[::step]:
        yield sample, load_sample(sample, Path("data/raw"))


def receipt_lines(folder: Path, receipts: int = 24) -> Iterator[Line]:
    """Lines of the first receipts: x1,y1,...,y4,text a row; the text may hold commas."""
    for path in sorted((folder / "box").glob("*.csv"))[:receipts]:
        page = Image.open(folder / "img" / f"{path.stem}.jpg").convert("RGB")
        for number, row in enumerate(path.read_text("utf-8", "replace").splitlines()):
            *corners, text = row.split(",", 8)
            if len(corners) < 8 or not text.strip():
                continue
            x, y = [int(v) for v in corners[::2]], [int(v) for v in corners[1::2]]
            if min(x) < max(x) and min(y) < max(y):
                sample = Sample(
                    id=f"{path.stem}:{number}", document=path.stem, corpus="sroie",
                    subset="sroie", language="en", image=path.stem, text=text,
                )  # fmt: skip
                yield sample, page.crop((min(x), min(y), max(x), max(y)))


def frames_of(systems: dict[str, CtcModel], lines: Iterator[Line]) -> tuple[list[Sample], Frames]:
    """Winning classes of every line by every system, under SYSTEM/ID."""
    samples, frames = [], {}

    def one(line: Line) -> tuple[Sample, list[tuple[np.ndarray, np.ndarray]]]:
        features = systems["base"].features(line[1])
        return line[0], [system.head(features) for system in systems.values()]

    for sample, found in ordered_map(one, lines):
        samples.append(sample)
        for name, best in zip(systems, found, strict=True):
            frames[f"{name}/{sample.id}"] = best
    return samples, frames


def scores(
    system: CtcModel, name: str, samples: list[Sample], frames: Frames, *, gaps: bool
) -> dict[str, dict[str, float]]:
    """Overall scores, and those of the receipts where there are any."""
    profile = "nfc_ws+casefold" if samples[0].corpus == "sroie" else "nfc_ws"
    config = EvaluateConfig(metric_tokenizer="whitespace", bootstrap_samples=0, profile=profile)
    said = [
        Prediction(
            id=s.id,
            text=decode.decode_frames(
                *frames[f"{name}/{s.id}"], system.characters, gap_spaces=gaps
            ).text,
        )
        for s in samples
    ]
    found = summarize(score_rows(samples, said, config), config)
    return {"all": found["overall"], **found["by_subset"]}


def main() -> None:
    """Print the constants that validation chooses, and a table of all systems."""
    systems = {
        name: load_model(ModelConfig(id="pp-ocrv6-small"), adapter, device="cpu")
        for name, adapter in (("base", None), ("adapter", ADAPTER))
    }
    sources = {"validation": manifest_lines("val", 1), "test": manifest_lines("test", 4)}
    if len(sys.argv) > 1:
        sources["sroie"] = receipt_lines(Path(sys.argv[1]))
    chosen = decode.GAP_FRAMES, decode.GAP_PITCHES
    for where, lines in sources.items():
        samples, frames = frames_of(systems, lines)
        if where == "validation":
            found = {}
            for pair in ((f, p) for f in range(3, 9) for p in (1.2, 1.5, 1.8, 2.0, 2.5)):
                decode.GAP_FRAMES, decode.GAP_PITCHES = pair
                values = scores(systems["base"], "base", samples, frames, gaps=True)
                found[pair] = values["all"]["cer"]
            best = min(found, key=lambda pair: found[pair])
            print(f"lowest CER of base+gap: {best} (frames, pitches); in use: {chosen}")
            decode.GAP_FRAMES, decode.GAP_PITCHES = chosen
        for name, system in systems.items():
            for gaps in (False, True):
                groups = scores(system, name, samples, frames, gaps=gaps)
                for group in ("all", "receipts"):
                    if group in groups:
                        v = groups[group]
                        print(
                            f"{where:10} {int(v['n']):5} {group:8} {name}{'+gap' * gaps:4} "
                            f"CER {100 * v['cer']:.2f} WER {100 * v['wer']:.1f} "
                            f"exact {100 * v['exact_match']:.1f} spaces {v['space_recall']:.3f} "
                            f"without spaces {100 * v['cer_without_spaces']:.2f}"
                        )


if __name__ == "__main__":
    main()
