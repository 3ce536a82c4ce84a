"""Field F1 and NED on SROIE's receipts: `python benchmarks/fields_sroie.py [--from SOURCE]`.

MANIFOLD_OCR_REAL_DATA names the folder with sroie/{img,box,key}. SOURCE is what the processor
gets of each receipt: `labels` (published text and boxes), `ours` (what our reader reads) or
`rapidocr` (what RapidOCR's own pipeline reads); several, joined by commas, are run in turn on
each receipt. A field counts where it equals the key after removing case, white space and the
currency sign: the labels are upper case by convention. NED is the edit distance to the labels'
text over the longer of both, without case. --model is the checkpoint that `ours` reads with (the
promoted one without it), --test a manifest of the receipts to read, such as a trained model's
data/manifest/test.jsonl. The rules were written looking at receipts with an
even place in the sorted list; the odd ones are reported apart.
"""

import argparse
import csv
import json
import os
import re
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
from rapidfuzz.distance import Levenshtein

from manifold_ocr.images import open_image
from manifold_ocr.metrics.normalize import normalize
from manifold_ocr.reading.layout.lines import Line
from manifold_ocr.reading.layout.order import arrange
from manifold_ocr.reading.page import PageText
from manifold_ocr.records import read_samples
from manifold_ocr.serving.documents import load_reader
from manifold_ocr.serving.processors import extract_fields

FIELDS = ("company", "date", "address", "total")
Read = Callable[[str], tuple[PageText, str]]  # the page, and its text in the program's order


def page_of(lines: list[Line]) -> PageText:
    """Return lines as a page."""
    right = max((line.box[2] for line in lines), default=0)
    bottom = max((line.box[3] for line in lines), default=0)
    return PageText(tuple(arrange(lines)), (int(right) + 1, int(bottom) + 1), "page")


def published(path: Path) -> tuple[PageText, str]:
    """Return the labels of a receipt, and their text in the order of the file."""
    lines = []
    for row in csv.reader(path.open(encoding="utf-8", errors="replace"), quoting=csv.QUOTE_NONE):
        if len(row) < 9:
            continue
        xs, ys = [float(v) for v in row[0:8:2]], [float(v) for v in row[1:8:2]]
        lines.append(Line((min(xs), min(ys), max(xs), max(ys)), ",".join(row[8:])))
    return page_of(lines), "\n".join(line.text for line in lines)


def readers(root: Path, names: list[str], model: Path | None) -> dict[str, Read]:
    """Return a reader of receipts by their stem for each source."""
    made: dict[str, Read] = {}
    if "labels" in names:
        made["labels"] = lambda stem: published(root / "box" / f"{stem}.csv")
    if "ours" in names:
        ours = load_reader(model)

        def read(stem: str) -> tuple[PageText, str]:
            page = ours.read(open_image(root / "img" / f"{stem}.jpg"), "page")
            return page, page.text

        made["ours"] = read
    if "rapidocr" in names:
        from rapidocr import RapidOCR

        engine = RapidOCR(params={"Global.log_level": "error"})

        def theirs(stem: str) -> tuple[PageText, str]:
            image = np.asarray(open_image(root / "img" / f"{stem}.jpg"))[:, :, ::-1]
            found = engine(np.ascontiguousarray(image))
            rows = zip(found.boxes, found.txts, found.scores, strict=True)
            lines = [
                Line((*box.min(axis=0).tolist(), *box.max(axis=0).tolist()), text, float(score))
                for box, text, score in rows
            ]
            return page_of(lines), "\n".join(found.txts)

        made["rapidocr"] = theirs
    return made


def plain(value: str) -> str:
    """Return a value without case, white space and currency sign."""
    return re.sub(r"\s+", "", re.sub(r"^(RM|\$)\s*", "", value.strip(), flags=re.I)).upper()


def ned(text: str, truth: str) -> float:
    """Return the normalized edit distance of two texts without case, in [0, 1]."""
    return float(Levenshtein.normalized_distance(*(normalize(t).casefold() for t in (text, truth))))


def main() -> None:
    """Print NED, and precision, recall and F1 per field."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--from", dest="sources", default="labels")
    parser.add_argument("--limit", type=int, default=0)
    parser.add_argument("--misses", action="store_true", help="print what was missed")
    parser.add_argument("--model", type=Path)
    parser.add_argument("--test", type=Path)
    chosen = parser.parse_args()
    root = Path(os.environ["MANIFOLD_OCR_REAL_DATA"]) / "sroie"
    every = sorted((root / "key").glob("*.json"))
    keys = every
    if chosen.test:
        tested = {Path(sample.image).stem for sample in read_samples(chosen.test)}
        keys = [key for key in every if key.stem in tested]
    if chosen.limit:
        keys = keys[:: len(keys) // chosen.limit // 2 * 2 + 1][: chosen.limit]  # even and odd
    read = readers(root, chosen.sources.split(","), chosen.model)
    tally = {(name, part): Counter[str]() for name in read for part in ("even", "odd")}
    distance: Counter[tuple[str, str]] = Counter()
    seconds: Counter[str] = Counter()
    for key in keys:
        wanted, part = json.loads(key.read_text()), "odd" if every.index(key) % 2 else "even"
        truth = published(root / "box" / f"{key.stem}.csv")[1]
        for name, one in read.items():
            begun = time.process_time()
            page, text = one(key.stem)
            seconds[name] += time.process_time() - begun
            distance[name, part] += ned(text, truth)
            shown = chosen.misses and part == "even"  # no rule may be written for the others
            count(tally[name, part], page, wanted, f"{name} {key.stem}", shown)
    for (name, part), counts in tally.items():
        receipts = max(1, counts["receipts"])
        print(f"{name}, {part} receipts: {counts['receipts']}, "
              f"NED {100 * distance[name, part] / receipts:.2f} %")  # fmt: skip
        report(counts)
    for name, spent in seconds.items():
        print(f"{name}: {spent / max(1, len(keys)):.2f} CPU s per receipt")


def count(
    counts: Counter[str], page: PageText, wanted: dict[str, str], where: str, misses: bool
) -> None:
    """Count what was found, known and right of a receipt."""
    found = extract_fields([(1, page)], "receipt")
    counts["receipts"] += 1
    for name in FIELDS:
        value, truth = found.value(name), wanted.get(name, "")
        counts[f"{name} found"] += bool(value)
        counts[f"{name} known"] += bool(truth)
        right = bool(truth) and plain(value) == plain(truth)
        counts[f"{name} right"] += right
        if misses and not right:
            print(f"{where} {name}: {value!r} not {truth!r}")


def report(counts: Counter[str]) -> None:
    """Print precision, recall and F1 per field and over all fields."""
    for name in FIELDS:
        right, got, truth = (counts[f"{name} {k}"] for k in ("right", "found", "known"))
        print(f"  {name:8} P {right / max(1, got):.3f} R {right / max(1, truth):.3f} "
              f"F1 {2 * right / max(1, got + truth):.3f}")  # fmt: skip
    right, got, known = (
        sum(counts[f"{name} {kind}"] for name in FIELDS) for kind in ("right", "found", "known")
    )
    print(f"  micro F1 {2 * right / max(1, got + known):.3f}")


if __name__ == "__main__":
    main()
