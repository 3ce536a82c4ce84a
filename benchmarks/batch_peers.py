"""Pages per CPU-second beside other programs: `python benchmarks/batch_peers.py --pages 20`.

MANIFOLD_OCR_REAL_DATA names the folder with sroie/{img,box}. Ours (`manifold-ocr ocr`) and OCRmyPDF
with Tesseract make a searchable PDF and its text from one PDF of the receipts; faster-paddle
(model `small`, the size of ours) reads the pictures to text. --paddle names a Python that has
it (`python -m venv D && D/bin/pip install faster-paddle`). Each runs with one thread, in turn,
--rounds times; on one page first, so that starting up and loading can be told from reading.
CPU time counts child processes; of the rounds the least is taken. The share of the words of
the labels that each program read stands beside it.

The last lines are the arithmetic of --volume pages at --price per hour of a core: a price is an
assumption, the rate is measured.
"""

import argparse
import csv
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from PIL import Image

PADDLE = """
import json, sys
from pathlib import Path
import faster_paddle
engine = faster_paddle.OcrEngine(model_size="small", threads=1)
found = [engine.ocr(Path(name).read_bytes())["text"] for name in sys.argv[2:]]
Path(sys.argv[1]).write_text("\\n".join(found), encoding="utf-8")
"""


def cpu_of(command: list[str], environment: dict[str, str]) -> float:
    """Run a command and return the CPU seconds of it and of its children."""
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    said = process.stderr.read() if process.stderr else b""
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(command[:4])} ended with {process.returncode}: {said.decode()[-800:]}")
    return used.ru_utime + used.ru_stime


def words(text: str) -> Counter[str]:
    """Return the words of a text without case."""
    return Counter(re.findall(r"\w+", text.casefold()))


def labels(box: Path) -> str:
    """Return the published text of a receipt."""
    rows = csv.reader(box.open(encoding="utf-8", errors="replace"), quoting=csv.QUOTE_NONE)
    return "\n".join(",".join(row[8:]) for row in rows)


def programs(
    paddle: str, work: Path
) -> dict[str, tuple[Callable[[Path, list[Path]], list[str]], Path]]:
    """Return for each program its command for (PDF, pictures), and where its text is then."""
    ours, theirs, last = work / "ours", work / "tesseract.txt", work / "paddle.txt"
    found: dict[str, tuple[Callable[[Path, list[Path]], list[str]], Path]] = {
        "manifold-ocr": (
            lambda pdf, _: [sys.executable, "-m", "manifold_ocr.cli.main", "ocr", str(pdf), "--out",
                            str(ours), "--format", "text,pdf", "--dpi", "150", "--mode", "page",
                            "--threads", "1"],
            ours,
        )
    }  # fmt: skip
    if shutil.which("ocrmypdf") and shutil.which("tesseract"):
        found["OCRmyPDF + Tesseract"] = (
            lambda pdf, _: ["ocrmypdf", "--output-type", "pdf", "--jobs", "1", "--optimize", "0",
                            "--sidecar", str(theirs), str(pdf), str(work / "theirs.pdf")],
            theirs,
        )  # fmt: skip
    if paddle:
        found["faster-paddle small"] = (
            lambda _, pictures: [paddle, "-c", PADDLE, str(last), *map(str, pictures)],
            last,
        )
    return found


def measure(
    pictures: list[Path], rounds: int, paddle: str
) -> tuple[dict[str, list[float]], dict[str, str]]:
    """Return per program the least CPU seconds for one page and for all, and the text of all."""
    seconds: dict[str, list[float]] = {}
    texts: dict[str, str] = {}
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_THREAD_LIMIT": "1"}
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        for _ in range(rounds):
            for place, chosen in enumerate((pictures[:1], pictures)):
                pdf = work / "pages.pdf"
                images = [Image.open(picture).convert("L") for picture in chosen]
                images[0].save(pdf, save_all=True, append_images=images[1:], resolution=150)
                for program, (command, target) in programs(paddle, work).items():
                    shutil.rmtree(work / "ours", ignore_errors=True)
                    used = cpu_of(command(pdf, chosen), environment)
                    best = seconds.setdefault(program, [float("inf")] * 2)
                    best[place] = min(best[place], used)
                    written = target / "pages.pdf.txt" if target.name == "ours" else target
                    texts[program] = written.read_text(encoding="utf-8")
    return seconds, texts


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pages", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--paddle", default="", help="Python that has faster-paddle")
    parser.add_argument("--volume", type=int, default=10_000_000)
    parser.add_argument("--cores", type=int, default=64)
    parser.add_argument("--price", type=float, default=0.04, help="dollars per core-hour")
    options = parser.parse_args()
    root = Path(os.environ["MANIFOLD_OCR_REAL_DATA"]) / "sroie"
    every = sorted((root / "img").glob("*.jpg"))
    pictures = every[:: len(every) // options.pages][: options.pages]
    known = words("\n".join(labels(root / "box" / f"{p.stem}.csv") for p in pictures))
    seconds, texts = measure(pictures, options.rounds, options.paddle)
    count = len(pictures)
    own = (seconds["manifold-ocr"][1] - seconds["manifold-ocr"][0]) / (count - 1)
    print(f"| program, {count} receipts | CPU s to start | CPU s per page | pages per CPU-second "
          "| CPU s to ours | words read |\n|---|---|---|---|---|---|")  # fmt: skip
    for program, (one, whole) in seconds.items():
        each = (whole - one) / (count - 1)
        shared = (known & words(texts[program])).total() / known.total()
        print(f"| {program} | {one - each:.1f} | {each:.2f} | {1 / each:.2f} | {each / own:.2f} x "
              f"| {shared:.1%} |")  # fmt: skip
    hours = options.volume * own / 3600
    print(f"\n{options.volume:,} pages x {own:.2f} CPU s = {hours:,.0f} core-hours: "
          f"{hours / options.cores / 24:,.1f} days on {options.cores} cores, "
          f"${hours * options.price:,.0f} at ${options.price:g} per core-hour")  # fmt: skip


if __name__ == "__main__":
    main()
