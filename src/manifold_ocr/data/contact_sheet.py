"""The samples sheet: a PNG that shows what a model will be shown, some of each subset."""

import heapq
import unicodedata
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import orjson
import xxhash
from PIL import Image, ImageDraw

from manifold_ocr.errors import UserError
from manifold_ocr.images import load_sample
from manifold_ocr.records import Sample, from_mapping, manifest_files
from manifold_ocr.synthetic.fonts import load

CELL = (380, 96)
COLUMNS = 4
CAPTION = 30  # pixels under each image
TYPEFACE = "noto-sans-sc"  # Latin, Greek, Cyrillic, Chinese, kana


def write_sheet(folder: Path, raw_root: Path, limit: int, seed: int) -> bool:
    """Draw up to `limit` training and test rows into samples.png; say whether any was drawn."""
    samples = _choose(folder, limit, seed)
    if not samples:
        return False
    rows = -(-len(samples) // COLUMNS)
    sheet = Image.new("RGB", (CELL[0] * COLUMNS, (CELL[1] + CAPTION) * rows), "white")
    pen = ImageDraw.Draw(sheet)
    font = load(TYPEFACE, 11)
    for number, sample in enumerate(samples):
        x, y = number % COLUMNS * CELL[0], number // COLUMNS * (CELL[1] + CAPTION)
        try:
            picture = load_sample(sample, raw_root)
        except UserError:
            continue
        picture.thumbnail((CELL[0] - 8, CELL[1] - 4))
        sheet.paste(picture, (x + 4, y + 4))
        pen.text((x + 4, y + CELL[1]), _shown(sample.text), fill=(0, 0, 0), font=font)
        label = f"{sample.corpus} / {sample.subset} / {sample.split}"
        pen.text((x + 4, y + CELL[1] + 13), label, fill=(110, 110, 110), font=font)
    sheet.save(folder / "samples.png", optimize=False)
    return True


def _choose(folder: Path, limit: int, seed: int) -> list[Sample]:
    """Choose the same number of rows of every (corpus, subset), by hash of their id."""
    if limit <= 0:
        return []
    best: dict[bytes, list[tuple[int, bytes]]] = defaultdict(list)
    for line in _lines(folder):
        group = _between(line, b'"corpus":', b',"image"')
        key = -xxhash.xxh3_64_intdigest(_between(line, b'{"id":', b',"document"'), seed)
        heap = best[group]
        if len(heap) < limit:
            heapq.heappush(heap, (key, line))
        elif key > heap[0][0]:
            heapq.heapreplace(heap, (key, line))
    share = max(1, limit // max(1, len(best)))
    chosen = []
    for group in sorted(best):
        for _, line in sorted(best[group], reverse=True)[:share]:
            chosen.append(from_mapping(Sample, orjson.loads(line), "samples sheet"))
    return chosen[:limit]


def _lines(folder: Path) -> Iterator[bytes]:
    for split in ("train", "test"):
        for path in manifest_files(folder / f"{split}.jsonl"):
            with open(path, "rb") as file:
                yield from file


def _between(line: bytes, start: bytes, stop: bytes) -> bytes:
    left = line.index(start) + len(start)
    return line[left : line.index(stop, left)]


def _shown(text: str) -> str:
    """Return the first 52 characters on one line, control characters as spaces."""
    line = " / ".join(text.split("\n"))
    return "".join(c if unicodedata.category(c)[0] != "C" else " " for c in line)[:52]
