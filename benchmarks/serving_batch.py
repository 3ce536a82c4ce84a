"""Kill the batch command and compare: `python benchmarks/serving_batch.py --files 1000`.

Draws images of lines with known text, reads them once unbroken and once with --kills ends by
SIGKILL, and prints whether the outputs are the same bytes, whether any file was journaled
twice, the reading's character errors and the rate. With --ray, the same through Ray Data.
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
        begun = time.monotonic()
        assert start(source, whole, more).wait() == 0
        seconds = time.monotonic() - begun
        read = [json.loads(line) for line in (whole / "pages.jsonl").open(encoding="utf-8")]
        errors = sum((cer(texts[row["image"]], row["text"]) or 0) for row in read) / len(read)
        print(f"{len(read)} files in {seconds:.0f} s, model load included; mean CER {errors:.4f}")
        if options.ray:
            ray = Path(folder) / "ray"
            begun = time.monotonic()
            assert start(source, ray, [*more, "--engine", "ray"]).wait() == 0
            same = outputs(ray) == outputs(whole)
            print(f"Ray Data: {time.monotonic() - begun:.0f} s, same bytes: {same}")
        journal = killed / "journal.jsonl"
        for turn in range(options.kills):
            run, wanted = start(source, killed, more), options.files * (turn + 1) // 7
            while run.poll() is None:
                if journal.exists() and journal.read_bytes().count(b"\n") > wanted:
                    break
                time.sleep(0.02)
            run.send_signal(signal.SIGKILL)
            run.wait()
        assert start(source, killed, more).wait() == 0
        names = [json.loads(line)["file"] for line in list(journal.open(encoding="utf-8"))[1:]]
        print(
            f"{options.kills} kills: same bytes: {outputs(killed) == outputs(whole)}, "
            f"files in the journal {len(names)}, twice {len(names) - len(set(names))}"
        )


if __name__ == "__main__":
    main()
