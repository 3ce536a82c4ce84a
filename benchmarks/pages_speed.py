"""CPU seconds per whole page beside faster-paddle: the same detector and recognizer in Rust.

    MANIFOLD_OCR_REAL_DATA=... PYTHONPATH=src python benchmarks/pages_speed.py --peer-python PYTHON

PYTHON is that of an environment with faster-paddle (PyPI) in it; `small` are the PP-OCRv6
networks that ours reads with. Each page is read by one, then by the other, so that a load on the
machine weighs on both; CPU time of all threads counts, loading the networks does not. The nine
pages are those of `omnidocbench/images` in that folder; other images can be named. Status 1
where ours takes more in all.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from manifold_ocr.images import open_image
from manifold_ocr.reading.detect import DetectionConfig, LineDetector
from manifold_ocr.reading.engines.checkpoint import reader_model
from manifold_ocr.reading.page import PageReader
from pages_omnidocbench import write_table

PEER = """
import json, sys, time
from importlib.metadata import version
from faster_paddle import OcrEngine
engine = OcrEngine(model_size=sys.argv[1])
print(json.dumps([version("faster-paddle"), engine.config]), flush=True)
for line in sys.stdin:
    started = time.process_time()
    with open(json.loads(line), "rb") as file:
        found = engine.ocr(file.read())
    print(json.dumps([time.process_time() - started, len(found["bounds"])]), flush=True)
"""
Read = Callable[[Path], tuple[float, int]]  # a file to CPU seconds and lines


class Peer:
    """faster-paddle in a process of its own."""

    def __init__(self, python: str, size: str) -> None:
        """Start it and wait until its networks are loaded."""
        self._process = subprocess.Popen(
            [python, "-c", PEER, size], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.about: list[object] = self._answer()

    def read(self, path: Path) -> tuple[float, int]:
        """Return CPU seconds and lines of one page."""
        if self._process.stdin is None:
            raise RuntimeError("the peer has no input")
        self._process.stdin.write(json.dumps(str(path)) + "\n")
        self._process.stdin.flush()
        seconds, lines = self._answer()
        return float(str(seconds)), int(str(lines))

    def close(self) -> None:
        """End the process."""
        self._process.communicate()

    def _answer(self) -> list[object]:
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line:
            raise SystemExit("the peer ended; install faster-paddle into --peer-python")
        answer: list[object] = json.loads(line)
        return answer


def ours(threads: int) -> Read:
    """Return the page reader as `manifold-ocr read` runs it."""
    reader = PageReader(LineDetector(DetectionConfig(threads=threads)), reader_model(None))

    def read(path: Path) -> tuple[float, int]:
        started = time.process_time()
        page = reader.read(open_image(path), "page")
        return time.process_time() - started, len(page.lines)

    return read


def main() -> int:
    """Read all pages in turns and print a table; see the module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", nargs="*", type=Path)
    parser.add_argument("--peer-python", required=True)
    parser.add_argument("--size", default="small", choices=["tiny", "small"])
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--write", type=Path, help="Put the table into this document.")
    options = parser.parse_args()
    root = Path(os.environ.get("MANIFOLD_OCR_REAL_DATA", "")) / "omnidocbench" / "images"
    pages = options.images or sorted(path for path in root.glob("*") if path.is_file())
    if not pages:
        print("set MANIFOLD_OCR_REAL_DATA or name images", file=sys.stderr)
        return 2
    read, peer = ours(options.threads), Peer(options.peer_python, options.size)
    print(f"faster-paddle {peer.about[0]} ({options.size}): {peer.about[1]}")
    head = "| Page | lines: ours | theirs | CPU s: ours | theirs | ratio |"
    table = [head, "|:--|--:|--:|--:|--:|--:|"]
    print("\n" + "\n".join(table), flush=True)
    sums = [0.0, 0.0]
    for page in pages:
        mine, theirs, lines = 0.0, 0.0, (0, 0)
        for _ in range(options.rounds):
            (a, found), (b, other) = read(page), peer.read(page)
            mine, theirs, lines = mine + a, theirs + b, (found, other)
        sums = [sums[0] + mine, sums[1] + theirs]
        table.append(
            f"| {page.stem[:40]} | {lines[0]} | {lines[1]} | {mine / options.rounds:.2f} "
            f"| {theirs / options.rounds:.2f} | {mine / theirs:.2f} |"
        )
        print(table[-1], flush=True)
    peer.close()
    count = len(pages) * options.rounds
    means = " | ".join(f"{value / count:.2f}" for value in sums)
    table.append(f"| **mean** | | | {means} | {sums[0] / sums[1]:.2f} |")
    print(table[-1])
    if options.write:
        write_table(options.write, "pages speed", Path(__file__).name, "\n".join(table))
    return int(sums[0] > sums[1])


if __name__ == "__main__":
    sys.exit(main())
