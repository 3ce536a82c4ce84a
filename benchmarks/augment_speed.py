"""Megapixels per second of every degradation beside Augraphy and TRDG: one core, one run.

    PYTHONPATH=src python benchmarks/augment_speed.py --augraphy PYTHON --trdg PYTHON [--rounds 5]

PYTHON is the interpreter of an environment that has augraphy 8.2.6, or trdg 1.8.0 with
pillow < 10 and numpy < 2; without one its rows are missing. Ours and the peers take turns on the
same gray page (2.2 megapixels) and, pinned, on the same core; each figure is the median of the
rounds. A peer's effect is the one that shows the same thing; what it draws differs. The last row
is drawing lines of text (lines per second), ours by `synthetic_text` and written as PNG, TRDG's
by its generator and kept in memory. Prints a Markdown table.
"""

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from PIL import Image, ImageDraw

from manifold_ocr.augment.ops import generator
from manifold_ocr.augment.recipe import OPERATIONS
from manifold_ocr.augment_config import Recipe
from manifold_ocr.synthetic import fonts
from manifold_ocr.synthetic.own_lines import OwnLines, write_own_lines

SIZE = (1240, 1754)
LINE = "The quick brown fox jumps over 13 lazy dogs in 1952."
LINES = 40

AUGRAPHY = {  # ours -> what shows the same there
    "thicker": "InkBleed(p=1)",
    "broken": "InkMottling(p=1)",
    "fade": "Letterpress(p=1)",
    "gaps": "DirtyDrum(p=1)",
    "low_ink": "LowInkRandomLines(p=1)",
    "dot_matrix": "DotMatrix(p=1)",
    "texture": "NoiseTexturize(p=1)",
    "gradient": "LightingGradient(p=1)",
    "stains": "Stains(p=1)",
    "stamp": "WaterMark(p=1)",
    "show_through": "BleedThrough(p=1)",
    "specks": "BadPhotoCopy(p=1)",
    "fold": "Folding(fold_count=1, p=1)",
    "binding": "BookBinding(p=1)",
    "slant": "Geometric(rotate_range=(1, 1), p=1)",
    "contrast": "Brightness(p=1)",
    "moire": "Moire(p=1)",
    "grain": "SubtleNoise(p=1)",
    "binarise": "Dithering(p=1)",
    "jpeg": "Jpeg(p=1)",
}
TRDG = {
    "warp": "sin(page, page, True, False)",
    "slant": "page.rotate(1)",
    "blur": "page.filter(BLUR)",
}

PEER = """
import json, os, sys, time, warnings
warnings.filterwarnings("ignore")
said, sys.stdout = sys.stdout, sys.stderr
os.sched_setaffinity(0, {int(sys.argv[3])})
from PIL import Image, ImageFilter
page = Image.open(sys.argv[2]).convert("L")
made = {}
if sys.argv[1] == "augraphy":
    import augraphy, cv2, numpy
    cv2.setNumThreads(1)
    gray = numpy.asarray(page)
    color = numpy.dstack([gray] * 3)
    def call(what):
        if what not in made:
            effect = eval("augraphy." + what)
            try:
                effect(gray.copy())
                made[what] = (effect, gray)
            except Exception:
                effect(color.copy())
                made[what] = (effect, color)
        effect, image = made[what]
        start = time.perf_counter()
        effect(image.copy())
        return time.perf_counter() - start
else:
    from trdg.distorsion_generator import sin
    from trdg.generators import GeneratorFromStrings
    BLUR = ImageFilter.GaussianBlur(1)
    page = page.convert("RGBA")
    def call(what):
        start = time.perf_counter()
        if what.startswith("draw"):
            _, font, count, text = what.split(" ", 3)
            list(GeneratorFromStrings([text], count=int(count), fonts=[font], size=32,
                                      background_type=1, random_blur=True, blur=1))
        else:
            eval(what, {"sin": sin, "page": page, "BLUR": BLUR})
        return time.perf_counter() - start
for line in sys.stdin:
    try:
        answer = call(json.loads(line))
    except Exception as error:
        answer = f"{type(error).__name__}: {error}"
    print(json.dumps(answer), file=said, flush=True)
"""


class Peer:
    """Another program in its own interpreter, asked for one timing at a time."""

    def __init__(self, name: str, python: str, page: Path, core: int) -> None:
        """Start it with the page that it degrades."""
        self.name = name
        one = {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [python, "-c", PEER, name, str(page), str(core)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            env={**os.environ, **one, "PYTHONPATH": ""}, text=True,
        )  # fmt: skip

    def seconds(self, what: str) -> float | None:
        """Return the seconds of one call, None where it fails (told on the way)."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps(what) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        answer = json.loads(line) if line else "it ended"
        if isinstance(answer, str):
            print(f"{self.name}: {what}: {answer[:160]}")
            return None
        return float(answer)


def page() -> Image.Image:
    """Return a gray page of printed lines."""
    image = Image.new("L", SIZE, 250)
    draw, font = ImageDraw.Draw(image), fonts.load("source-serif", 26)
    for y in range(90, SIZE[1] - 90, 40):
        draw.text((90, y), f"{LINE} {LINE}"[: 60 + y % 23], font=font, fill=30)
    return image


def median(ours: Callable[[int], float], asked: list[tuple[Peer, str]], rounds: int) -> list[float]:
    """Return the median seconds of ours and of each peer, taking turns (0: it failed)."""
    found: list[list[float]] = [[] for _ in range(1 + len(asked))]
    for peer, what in asked:  # compiled and cached before the clock counts
        peer.seconds(what)
    ours(0)
    for number in range(rounds):
        found[0].append(ours(number))
        for place, (peer, what) in enumerate(asked, 1):
            if (seconds := peer.seconds(what)) is not None:
                found[place].append(seconds)
    return [statistics.median(values) if values else 0.0 for values in found]


def apply(name: str, image: Image.Image) -> Callable[[int], float]:
    """Return a timing of our step at its middle strength."""
    step = getattr(Recipe(), name)

    def run(number: int) -> float:
        start = time.perf_counter()
        OPERATIONS[name](generator(name, number), image, (step.low + step.high) // 2)
        return time.perf_counter() - start

    return run


def draw(number: int) -> float:
    """Return the seconds of drawing `LINES` lines of text, images written as PNG."""
    with tempfile.TemporaryDirectory() as folder:
        texts = Path(folder) / "texts.txt"
        texts.write_text(f"{LINE}\n")
        faces = Path(folder) / "fonts"
        faces.mkdir()
        (faces / "a.ttf").symlink_to(fonts.font_path("roboto"))
        config = OwnLines(lines=LINES, fonts=str(faces), degraded=0.0, seed=number, workers=1,
                          smallest=22, largest=22)  # fmt: skip
        start = time.perf_counter()
        write_own_lines(Path(folder) / "out", texts, config, "en", "benchmark", "CC0-1.0")
        return time.perf_counter() - start


def main() -> None:
    """Time every effect and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--augraphy", help="an interpreter that has it")
    parser.add_argument("--trdg", help="an interpreter that has it")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="*", default=[])
    options = parser.parse_args()
    core = min(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {core})
    image = page()
    names = options.only or list(OPERATIONS)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "page.png"
        image.save(path)
        started = {name: Peer(name, python, path, core)
                   for name, python in (("augraphy", options.augraphy), ("trdg", options.trdg))
                   if python}  # fmt: skip
        megapixels = SIZE[0] * SIZE[1] / 1e6
        print("| effect | ours MP/s | peer | peer MP/s | ratio |\n|:--|--:|:--|--:|--:|")
        for name in names:
            calls = [(peer, table[name]) for key, table in (("augraphy", AUGRAPHY), ("trdg", TRDG))
                     if (peer := started.get(key)) and name in table]  # fmt: skip
            row(name, calls, median(apply(name, image), calls, options.rounds), megapixels)
        if not options.only:
            font = fonts.font_path("roboto")
            calls = [(started["trdg"], f"draw {font} {LINES} {LINE}")] if "trdg" in started else []
            row("drawing, lines/s", calls, median(draw, calls, options.rounds), LINES)
        for peer in started.values():
            peer.process.terminate()


def row(name: str, calls: list[tuple[Peer, str]], seconds: list[float], amount: float) -> None:
    """Print a row of the table for each peer, or one without."""
    ours = amount / seconds[0]
    for (peer, what), taken in zip(calls, seconds[1:], strict=True):
        label = f"{peer.name} {what.split('(')[0]}" if "draw" not in what else peer.name
        cells = f"{amount / taken:.2f} | {taken / seconds[0]:.1f}" if taken else "fails | -"
        print(f"| {name} | {ours:.1f} | {label} | {cells} |", flush=True)
    if not calls:
        print(f"| {name} | {ours:.1f} | - | - | - |", flush=True)


if __name__ == "__main__":
    main()
