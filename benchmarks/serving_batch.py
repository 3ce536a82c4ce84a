"""Kill the batch command and compare: `python benchmarks/serving_batch.py --files 1000`.

Draws images of lines with known text, reads them once unbroken and once with --kills ends by
SIGKILL, and prints whether the outputs are the same bytes, whether any file was journaled
twice, the reading's character errors and the rate. With --ray, the same work through Ray Data
with one and with two workers. Rates leave out starting and loading: they count from the first
line of the journal.
"""

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from manifold_ocr.metrics.edit import cer

WORDS = "river stone market ledger window copper harbor violet engine paper garden".split()  # noqa: SIM905


def draw(folder: Path, files: int) -> dict[str, str]:
    """Draw lines and return the text of each file."""
    rng, font, texts = random.Random(7), ImageFont.load_default(size=26), {}
    for number in range(files):
        text = f"{number:04d} " + " ".join(rng.choices(WORDS, k=4))
        image = Image.new("RGB", (round(font.getlength(text)) + 24, 44), "white")
        ImageDraw.Draw(image).text((12, 6), text, fill="black", font=font)
        target = folder / f"{number % 10}" / f"{number:04d}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        image.save(target)
        texts[target.relative_to(folder).as_posix()] = text
    return texts


def start(source: Path, out: Path, more: list[str]) -> subprocess.Popen[bytes]:
    """Start the command."""
    formats = "jsonl,text,hocr,alto,markdown,pdf"
    command = [sys.executable, "-m", "manifold_ocr.cli.main", "ocr", str(source), "--out",
               str(out), "--format", formats, "--mode", "line"]  # fmt: skip
    return subprocess.Popen([*command, *more], stderr=subprocess.DEVNULL, cwd=source.parent)


def outputs(out: Path) -> dict[str, bytes]:
    """Return the content of every output."""
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in out.rglob("*")
        if path.is_file() and path.name not in (".lock", "journal.jsonl")
    }


def timed(source: Path, out: Path, more: list[str], files: int) -> tuple[float, float]:
    """Run the command to its end; return its seconds and its files per second of reading."""
    begun, journal = time.monotonic(), out / "journal.jsonl"
    run, first, seen = start(source, out, more), 0.0, 0
    while run.poll() is None:
        if not seen and journal.exists():
            seen = max(0, journal.read_bytes().count(b"\n") - 1)
            first = time.monotonic()
        time.sleep(0.02)
    assert run.returncode == 0
    end = time.monotonic()
    return end - begun, (files - seen) / (end - first)


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--ray", action="store_true")
    options = parser.parse_args()
    more = ["--workers", str(options.workers)]
    with tempfile.TemporaryDirectory() as folder:
        source, whole, killed = (Path(folder) / name for name in ("in", "whole", "killed"))
        texts = draw(source, options.files)
        seconds, rate = timed(source, whole, more, options.files)
        read = [json.loads(line) for line in (whole / "pages.jsonl").open(encoding="utf-8")]
        errors = sum((cer(texts[row["image"]], row["text"]) or 0) for row in read) / len(read)
        print(f"{len(read)} files in {seconds:.0f} s, {rate:.1f} per second after loading; "
              f"mean CER {errors:.4f}", flush=True)  # fmt: skip
        for count in (1, 2) if options.ray else ():
            ray = Path(folder) / f"ray{count}"
            through = ["--workers", str(count), "--engine", "ray"]
            seconds, rate = timed(source, ray, through, options.files)
            print(f"Ray Data, {count} workers: {seconds:.0f} s, {rate:.1f} per second, "
                  f"same bytes: {outputs(ray) == outputs(whole)}", flush=True)  # fmt: skip
        if options.kills:
            kill(source, killed, more, options)
            journal = (killed / "journal.jsonl").read_text(encoding="utf-8").splitlines()[1:]
            names = [json.loads(line)["file"] for line in journal]
            print(f"{options.kills} kills: same bytes: {outputs(killed) == outputs(whole)}, "
                  f"files in the journal {len(names)}, "
                  f"twice {len(names) - len(set(names))}")  # fmt: skip


def kill(source: Path, out: Path, more: list[str], options: argparse.Namespace) -> None:
    """Run the command with kills, spread over its files, and once more to the end."""
    journal = out / "journal.jsonl"
    for turn in range(options.kills):
        run, wanted = start(source, out, more), options.files * (turn + 1) // (options.kills + 2)
        while run.poll() is None:
            if journal.exists() and journal.read_bytes().count(b"\n") > wanted:
                break
            time.sleep(0.02)
        run.send_signal(signal.SIGKILL)
        run.wait()
    assert start(source, out, more).wait() == 0


if __name__ == "__main__":
    main()
