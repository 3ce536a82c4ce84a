"""Whole pages read end to end, scored by OmniDocBench's v1.5 text-block edit distance.

    MANIFOLD_OCR_REAL_DATA=... PYTHONPATH=src python benchmarks/pages_omnidocbench.py
    ... python benchmarks/pages_omnidocbench.py --write docs/evaluation.md

Ours is the page pipeline: detector, reading order, and the base recognizer (or --model DIR), or
what `manifold-ocr read` takes by default. The peers
read the same images with the same scorer: RapidOCR's lines joined by newline in the order it
returns them, and Tesseract with its default page segmentation, once told the language of each
page and once with both languages everywhere.
--write puts the table between the markers of a document.
"""

import argparse
import os
import re
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from manifold_ocr.config import ModelConfig
from manifold_ocr.files import atomic_write, read_json
from manifold_ocr.images import open_image
from manifold_ocr.metrics.omnidocbench.blocks import V1_5
from manifold_ocr.metrics.omnidocbench.evaluate import PageScores, score_page, summarize_pages
from manifold_ocr.models.base import OcrModel
from manifold_ocr.models.promoted import base_of
from manifold_ocr.models.registry import load_model
from manifold_ocr.reading.engines.base import EngineOptions, load_engine
from manifold_ocr.reading.engines.checkpoint import SHIPPED, PageEngine, reader_model

PREFIX = f"omnidocbench_{V1_5.name}"
TESSERACT = {"english": "eng", "simplified_chinese": "chi_sim"}


def ours(recognizer: OcrModel, threads: int) -> OcrModel:
    """Return the page pipeline around a recognizer."""
    from manifold_ocr.reading.detect import DetectionConfig, LineDetector
    from manifold_ocr.reading.page import PageReader

    detector = LineDetector(DetectionConfig(threads=threads))
    return PageEngine(PageReader(detector, recognizer))


def base_model() -> OcrModel:
    """Return the base model of the shipped checkpoint: the weights that RapidOCR reads with."""
    return load_model(ModelConfig(id=str(base_of(SHIPPED))))


def read_page(engine: OcrModel | None, page: Mapping[str, Any], image: Path) -> str:
    """Return the text of one page; without an engine, Tesseract told the page's language."""
    if engine is None:
        language = TESSERACT[page["page_info"]["page_attribute"]["language"]]
        engine = load_engine("tesseract", EngineOptions(granularity="page", languages=language))
    return next(iter(engine.recognize([open_image(image)]))).text


def table(pages: list[Mapping[str, Any]], scores: Mapping[str, list[PageScores]]) -> str:
    """Return the table of the document: text-block edit distance and insertion rate."""
    names = list(scores)
    head = ["Page", "Language", *(f"{name}: edit distance (insertions)" for name in names)]
    lines = ["| " + " | ".join(head) + " |", "|:--|:--|" + "--:|" * len(names)]
    for number, page in enumerate(pages):
        attribute = page["page_info"]["page_attribute"]
        cells = []
        for name in names:
            page_scores = scores[name][number]
            cells.append(
                f"{page_scores.text_edit_distance:.3f} ({page_scores.insertion_rate or 0:.2f})"
            )
        lines.append(
            f"| {attribute['data_source']} | {attribute['language']} | " + " | ".join(cells) + " |"
        )
    means = []
    for name in names:
        values, _ = summarize_pages(scores[name])
        means.append(
            f"**{values[f'{PREFIX}_text_edit_distance']:.4f}** "
            f"({values[f'{PREFIX}_whole_page_insertion_rate']:.2f})"
        )
    lines.append("| **mean of pages** | | " + " | ".join(means) + " |")
    orders = [
        f"{summarize_pages(scores[name])[0][f'{PREFIX}_reading_order_distance']:.3f}"
        for name in names
    ]
    lines.append("| reading-order distance | | " + " | ".join(orders) + " |")
    return "\n".join(lines)


def main() -> int:
    """Read, score, print; status 1 unless ours is below both peers."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default=os.environ.get("MANIFOLD_OCR_REAL_DATA", ""))
    parser.add_argument("--model", type=Path)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    root = Path(options.data) / "omnidocbench"
    if not options.data or not root.is_dir():
        print("set MANIFOLD_OCR_REAL_DATA to a folder that holds omnidocbench/", file=sys.stderr)
        return 2
    pages = sorted(
        read_json(root / "OmniDocBench.json"), key=lambda p: p["page_info"]["image_path"]
    )
    engines: dict[str, OcrModel | None] = {
        "ours": ours(
            reader_model(options.model) if options.model else base_model(), options.threads
        ),
        "ours, default of `read`": ours(reader_model(None), options.threads),
        "RapidOCR, lines joined": load_engine(
            "rapidocr", EngineOptions(granularity="page", threads=options.threads)
        ),
        "Tesseract, language known": None,
        "Tesseract, chi_sim+eng": load_engine(
            "tesseract", EngineOptions(granularity="page", languages="chi_sim+eng")
        ),
    }
    scores: dict[str, list[PageScores]] = {name: [] for name in engines}
    for name, engine in engines.items():
        started = time.monotonic()
        for page in pages:
            image = root / "images" / page["page_info"]["image_path"]
            scores[name].append(score_page(page, read_page(engine, page, image)))
        print(f"{name}: {(time.monotonic() - started) / len(pages):.1f} s a page", flush=True)
    text = table(pages, scores)
    print(f"\n{PREFIX}_text_edit_distance, {len(pages)} pages\n\n{text}")
    if options.write:
        write_table(options.write, "pages", Path(__file__).name, text)
    means = [summarize_pages(s)[0][f"{PREFIX}_text_edit_distance"] for s in scores.values()]
    peers = ", ".join(f"{value:.4f}" for value in means[2:])
    print(f"\nours {means[0]:.4f}, peers {peers}; {means[0] / min(means[2:]):.2f} of the best peer")
    return int(means[0] >= min(means[2:]))


def write_table(path: Path, name: str, script: str, text: str) -> None:
    """Replace what stands between the markers of the table `name` of a document."""
    begin = f"<!-- {name} table: begin (written by benchmarks/{script} --write) -->"
    end = f"<!-- {name} table: end -->"
    old = path.read_text(encoding="utf-8")
    pattern = re.escape(begin) + r".*?" + re.escape(end)
    block = f"{begin}\n\n{text}\n\n{end}"
    new, count = re.subn(pattern, lambda _: block, old, flags=re.DOTALL)
    if count != 1:
        raise SystemExit(f"{path}: needs the markers {begin!r} and {end!r} once")
    with atomic_write(path) as file:
        file.write(new)


if __name__ == "__main__":
    sys.exit(main())
