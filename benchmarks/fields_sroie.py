"""Field F1 on SROIE's key files: `python benchmarks/fields_sroie.py [--ocr] [--limit N]`.

MANIFOLD_OCR_REAL_DATA names the folder with sroie/{img,box,key}. Without --ocr the processor
gets the published text and boxes of each receipt; with --ocr, what our reader reads. A field
counts where it equals the key after removing case, white space and the currency sign: the
labels are upper case by convention. The rules were written looking at receipts with an even
place in the sorted list; the odd ones are reported apart.
"""

import argparse
import csv
import json
import os
import re
from collections import Counter
from pathlib import Path

from manifold_ocr.images import open_image
from manifold_ocr.reading.layout.lines import Line
from manifold_ocr.reading.layout.order import arrange
from manifold_ocr.reading.page import PageText
from manifold_ocr.serving.documents import load_reader
from manifold_ocr.serving.processors import extract_fields

FIELDS = ("company", "date", "address", "total")


def published(path: Path) -> PageText:
    """Return the labels of a receipt as a page."""
    lines = []
    for row in csv.reader(path.open(encoding="utf-8", errors="replace"), quoting=csv.QUOTE_NONE):
        if len(row) < 9:
            continue
        xs, ys = [float(v) for v in row[0:8:2]], [float(v) for v in row[1:8:2]]
        lines.append(Line((min(xs), min(ys), max(xs), max(ys)), ",".join(row[8:])))
    right, bottom = max(line.box[2] for line in lines), max(line.box[3] for line in lines)
    size = (int(right) + 1, int(bottom) + 1)
    return PageText(tuple(arrange(lines)), size, "page")


def plain(value: str) -> str:
    """Return a value without case, white space and currency sign."""
    return re.sub(r"\s+", "", re.sub(r"^(RM|\$)\s*", "", value.strip(), flags=re.I)).upper()


def main() -> None:
    """Print precision, recall and F1 per field."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ocr", action="store_true")
    parser.add_argument("--limit", type=int, default=0)
    parser.add_argument("--misses", action="store_true", help="print what was missed")
    chosen = parser.parse_args()
    root = Path(os.environ["MANIFOLD_OCR_REAL_DATA"]) / "sroie"
    reader = load_reader() if chosen.ocr else None
    keys = sorted((root / "key").glob("*.json"))
    if chosen.limit:
        keys = keys[:: len(keys) // chosen.limit // 2 * 2 + 1][: chosen.limit]  # even and odd
    tally: dict[str, Counter[str]] = {"even": Counter(), "odd": Counter()}
    every = sorted((root / "key").glob("*.json"))
    for key in keys:
        if reader is not None:
            page = reader.read(open_image(root / "img" / f"{key.stem}.jpg"), "page")
        else:
            page = published(root / "box" / f"{key.stem}.csv")
        found, wanted = extract_fields([(1, page)], "receipt"), json.loads(key.read_text())
        part = "odd" if every.index(key) % 2 else "even"
        for name in FIELDS:
            value, truth = found.value(name), wanted.get(name, "")
            tally[part][f"{name} found"] += bool(value)
            tally[part][f"{name} known"] += bool(truth)
            right = bool(truth) and plain(value) == plain(truth)
            tally[part][f"{name} right"] += right
            if chosen.misses and not right and part == "even":
                print(f"{key.stem} {name}: {value!r} not {truth!r}")
    for part, counts in tally.items():
        known = sum(counts[f"{name} known"] for name in FIELDS)
        print(f"{part} receipts: {counts['company known']}")
        for name in FIELDS:
            right, got, truth = (counts[f"{name} {k}"] for k in ("right", "found", "known"))
            print(f"  {name:8} P {right / max(1, got):.3f} R {right / max(1, truth):.3f} "
                  f"F1 {2 * right / max(1, got + truth):.3f}")  # fmt: skip
        right = sum(counts[f"{name} right"] for name in FIELDS)
        got = sum(counts[f"{name} found"] for name in FIELDS)
        print(f"  micro F1 {2 * right / max(1, got + known):.3f}")


if __name__ == "__main__":
    main()
