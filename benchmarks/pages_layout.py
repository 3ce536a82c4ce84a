"""Whole pages of every layout, read by our pipeline, RapidOCR's and Tesseract: CER of each page.

    PYTHONPATH=src python benchmarks/pages_layout.py CASES [--peers FILE] [--only NAME ...]

CASES holds a folder per page: one image or PDF beside truth.txt. Texts are compared with white
space collapsed (none between Chinese characters), case kept. RapidOCR reads with its whole
pipeline out of the box, Tesseract 5 with its default segmentation and eng+chi_sim; both get the
pixels that any viewer shows: images turned by their EXIF tag, PDF pages at 200 dpi.
Status 1 unless ours is the best or within 0.5 points on every page, and never empty where
another reads a part of the text. --peers keeps the peers' texts in FILE between runs, --write
puts the table between the markers of a document.
"""

import argparse
import json
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from PIL import Image
from rapidfuzz.distance import Levenshtein

from manifold_ocr.errors import UserError
from manifold_ocr.reading.detect import LineDetector
from manifold_ocr.reading.engines.base import EngineOptions, load_engine
from manifold_ocr.reading.engines.checkpoint import reader_model
from manifold_ocr.reading.page import PageReader, open_pages
from pages_omnidocbench import write_table

MARGIN = 0.005
WIDE_GAP = re.compile(r"(?<=[\u2e80-\u9fff\uff00-\uff60])\s+(?=[\u2e80-\u9fff\uff00-\uff60])")
Read = Callable[[Image.Image], str]


def compared(text: str) -> str:
    """Return a text as it is compared: one space for any white space, none between hanzi."""
    return WIDE_GAP.sub("", " ".join(text.split()))


def cer(text: str, truth: str) -> float:
    """Return edits per character of the truth; of an empty truth, the characters invented."""
    text, truth = compared(text), compared(truth)
    return Levenshtein.distance(text, truth) / max(1, len(truth))


def read_file(read: Read, path: Path) -> str:
    """Return the texts of the pages that can be read, joined by a blank line."""
    texts: list[str] = []
    pages = open_pages(path)
    while True:
        try:
            texts.append(read(next(pages)[1]))
        except StopIteration:
            return "\n\n".join(texts)
        except UserError:
            return "\n\n".join(texts)


def cases(folder: Path, only: list[str]) -> Iterator[tuple[str, Path, str]]:
    """Yield (name, image or PDF, truth) of each case."""
    for truth in sorted(folder.glob("*/truth.txt")):
        if only and not any(name in truth.parent.name for name in only):
            continue
        (page,) = truth.parent.glob("page.*")
        yield truth.parent.name, page, truth.read_text(encoding="utf-8")


def peer_texts(path: Path, kept: dict[str, str], readers: dict[str, Read], name: str) -> list[str]:
    """Return what each peer reads, from `kept` where it has read the page before."""
    for peer, read in readers.items():
        if f"{peer}/{name}" not in kept:
            kept[f"{peer}/{name}"] = read_file(read, path)
    return [kept[f"{peer}/{name}"] for peer in readers]


def main() -> int:
    """Read and compare; print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--peers", type=Path)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--write", type=Path)
    parser.add_argument("--show", action="store_true", help="Print what ours read.")
    options = parser.parse_args()
    ours = PageReader(LineDetector(), reader_model(None))
    rapid = load_engine("rapidocr", EngineOptions(granularity="page"))
    tess = load_engine("tesseract", EngineOptions(granularity="page", languages="eng+chi_sim"))
    peers: dict[str, Read] = {
        "RapidOCR": lambda image: next(iter(rapid.recognize([image]))).text,
        "Tesseract": lambda image: next(iter(tess.recognize([image]))).text,
    }
    kept = json.loads(options.peers.read_text()) if options.peers and options.peers.exists() else {}
    table = ["| case | ours | RapidOCR | Tesseract | CPU s, ours |", "|:--|--:|--:|--:|--:|"]
    print("\n".join(table))
    worse = []
    for name, path, truth in cases(options.folder, options.only):
        started = time.process_time()
        text = read_file(lambda image: ours.read(image).text, path)
        seconds = time.process_time() - started
        others = peer_texts(path, kept, peers, name)
        values = [cer(found, truth) for found in (text, *others)]
        bad = values[0] > min(values[1:]) + MARGIN
        bad |= not text.strip() and any(o.strip() and cer(o, truth) < 1 for o in others)
        worse += [name] if bad else []
        cells = " | ".join(f"{100 * value:.2f}" for value in values)
        table.append(f"| {name}{' (!)' if bad else ''} | {cells} | {seconds:.1f} |")
        print(table[-1], flush=True)
        if options.show:
            print(text)
        if options.peers:
            options.peers.write_text(json.dumps(kept, ensure_ascii=False, indent=1))
    if options.write:
        write_table(options.write, "pages layout", Path(__file__).name, "\n".join(table))
    print(f"\nworse than a peer on {len(worse)} pages: {', '.join(worse) or 'none'}")
    return int(bool(worse))


if __name__ == "__main__":
    sys.exit(main())
