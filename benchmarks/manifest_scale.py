"""A million rows: time and memory of the first build, and of a rebuild with known images.

The corpus is a manifest of 1,000,000 lines on 25,000 tiny page images (40 lines a page).
For the rebuild, 1 % of the pages are drawn anew and their texts changed: only what is known of
the other images is kept, all rows are built again. The bytes are
compared between one and two workers. Nothing is shared with the project's own cache.

    PYTHONPATH=src python benchmarks/manifest_scale.py
"""

import argparse
import os
import random
import resource
import sys
import tempfile
import time
from pathlib import Path

import orjson
from PIL import Image

from manifold_ocr.config import ManifestConfig
from manifold_ocr.data.manifest import build_rows
from manifold_ocr.data.registry import resolve
from manifold_ocr.files import sha256_tree

WORDS = "invoice total amount due date paid receipt number street market order item"
LINES = 40


def write_corpus(root: Path, pages: int, changed: frozenset[int] = frozenset()) -> None:
    """Write `pages` tiny images and the manifest; pages in `changed` get other content."""
    words = WORDS.split()
    first = not (root / "raw").exists()
    (root / "raw").mkdir(parents=True, exist_ok=True)
    with open(root / "manifest.jsonl", "wb") as file:
        for page in range(pages):
            version = f"{page}{'*' if page in changed else ''}"
            rng = random.Random(version)
            name = f"{page % 100:02d}-{page:06d}.png"
            if first or page in changed:
                pixels = random.Random(f"look {version}").randbytes(256)
                image = Image.frombytes("L", (16, 16), pixels).resize(
                    (64, 64), Image.Resampling.NEAREST
                )
                image.save(root / "raw" / name, compress_level=1)
            for line in range(LINES):
                text = " ".join(rng.choice(words) for _ in range(4)) + f" {rng.randrange(10**6)}"
                box = [0, line, 64, line + 2]
                row = {
                    "document": f"doc{page}",
                    "image": name,
                    "box": box,
                    "text": text,
                    "language": "en",
                }
                file.write(orjson.dumps(row) + b"\n")


def build(raw: Path, out: Path, workers: int) -> tuple[float, dict[str, float]]:
    """Build once; return seconds in all and by phase."""
    out.mkdir(parents=True)
    config = ManifestConfig(workers=workers, max_rejected_fraction=0.5)
    started, processors = time.perf_counter(), cpu_seconds()
    report = build_rows([resolve("scale", {"kind": "manifest"})], config, raw, out, 512)
    rows = {name: counts.rows for name, counts in report.splits.items()}
    seconds = time.perf_counter() - started
    print(f"  {cpu_seconds() - processors:.1f} s of processor time")
    print(f"  {rows}, rejected {dict(report.rejected)}, images {report.images}")
    return seconds, report.seconds


def cpu_seconds() -> float:
    """Return the processor time of this process and its finished workers."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def peak_gib() -> float:
    """Return the peak resident memory of this process plus its largest worker, in GiB."""
    both = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(resource.getrusage(who).ru_maxrss for who in both) / 2**20


def report(what: str, seconds: float, phases: dict[str, float]) -> None:
    """Print one line."""
    parts = ", ".join(f"{name} {value:.1f}" for name, value in phases.items())
    print(f"{what:34} {seconds:7.1f} s ({parts}); peak memory {peak_gib():.2f} GiB")


def main() -> None:
    """Run all builds and print their figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--skip-one-worker", action="store_true", help="leave out the comparison")
    arguments = parser.parse_args()
    pages = arguments.rows // LINES
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["MANIFOLD_OCR_CACHE"] = f"{scratch}/cache"
        raw = Path(scratch) / "raw"
        write_corpus(raw / "scale", pages)
        time.sleep(2.5)  # so that the image cache believes what it hashes
        report("first build, 2 workers", *build(raw, Path(scratch) / "first", 2))
        changed = frozenset(random.Random(1).sample(range(pages), max(1, pages // 100)))
        write_corpus(raw / "scale", pages, changed)
        time.sleep(2.5)
        report("rebuild, 1 % changed, 2 workers", *build(raw, Path(scratch) / "second", 2))
        if arguments.skip_one_worker:
            return
        os.environ["MANIFOLD_OCR_CACHE"] = f"{scratch}/other-cache"
        report("from nothing, 1 worker", *build(raw, Path(scratch) / "third", 1))
        same = sha256_tree(Path(scratch) / "second") == sha256_tree(Path(scratch) / "third")
        print(f"same bytes with 1 and 2 workers, with and without cache: {same}")
        sys.exit(0 if same else 1)


if __name__ == "__main__":
    main()
