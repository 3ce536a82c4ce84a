"""Planted leaks: how many the leak gate finds, and how many distinct pages it accuses.

1,000 distinct pages are drawn from 20 templates (fixed headings, rules, columns and labels;
other words on each page). 250 of them are the test split, 125 validation. Copies of test
pages are planted, four in five in train and the others in validation: re-encoded as JPEG,
resized, cropped by one pixel, and as text with typos set in another template. Prints recall
of each kind and the false alarms.

    PYTHONPATH=src python benchmarks/leakage.py
"""

import argparse
import io
import random
import tempfile
import time
from collections import Counter
from pathlib import Path

import orjson
from PIL import Image, ImageDraw, ImageFont

from manifold_ocr.config import LeakageConfig, ManifestConfig
from manifold_ocr.data.manifest import build_rows
from manifold_ocr.data.registry import resolve
from manifold_ocr.records import Sample, to_json

SIZE = (744, 1052)
TEMPLATES = 20
SYLLABLES = [
    "ba",
    "ce",
    "di",
    "fo",
    "gu",
    "la",
    "me",
    "ni",
    "po",
    "ru",
    "sa",
    "te",
    "vi",
    "xo",
    "za",
    "ar",
    "en",
    "il",
    "or",
    "us",
]


def word(rng: random.Random) -> str:
    """Return a made-up word."""
    return "".join(rng.choice(SYLLABLES) for _ in range(rng.randint(1, 4)))


def sentence(rng: random.Random, characters: int) -> str:
    """Return made-up words of about so many characters."""
    words = []
    while sum(map(len, words)) + len(words) < characters:
        words.append(word(rng))
    return " ".join(words)[:characters].strip()


class Template:
    """A form with fixed labels, a heading and columns; only the words differ by page."""

    def __init__(self, number: int) -> None:
        rng = random.Random(f"template {number}")
        self.heading = sentence(rng, rng.randint(15, 40)).title()
        self.labels = [sentence(rng, 10).title() + ":" for _ in range(rng.randint(3, 8))]
        self.columns = rng.choice((1, 1, 2, 3))
        self.font = rng.choice((11, 12, 13, 14, 16))
        self.ruled = rng.random() < 0.5
        self.boxed = rng.random() < 0.3
        self.top = rng.randint(90, 260)
        self.footer = sentence(rng, 60)

    def text(self, rng: random.Random) -> list[str]:
        """Return the lines of a page filled in anew."""
        fields = [f"{label} {sentence(rng, rng.randint(4, 18))}" for label in self.labels]
        lines = (SIZE[1] - self.top - 24 * len(fields) - 120) // (self.font + 7)
        width = int((SIZE[0] - 90) / self.columns / (self.font * 0.56))
        body = [sentence(rng, width) for _ in range(max(3, lines) * self.columns)]
        return [self.heading, *fields, *body, self.footer]

    def draw(self, text: list[str]) -> Image.Image:
        """Set the lines in this template."""
        page = Image.new("L", SIZE, 255)
        pen = ImageDraw.Draw(page)
        font = ImageFont.load_default(self.font)
        pen.text((45, 40), text[0], 0, font=ImageFont.load_default(26))
        y = self.top
        fields, body = text[1 : 1 + len(self.labels)], text[1 + len(self.labels) : -1]
        for line in fields:
            pen.text((45, y), line, 0, font=font)
            y += 24
            if self.ruled:
                pen.line((45, y - 3, SIZE[0] - 45, y - 3), fill=120)
        if self.boxed:
            pen.rectangle((38, y, SIZE[0] - 38, SIZE[1] - 70), outline=0, width=2)
        rows = -(-len(body) // self.columns)
        for i, line in enumerate(body):
            x = 45 + (i // rows) * (SIZE[0] - 90) // self.columns
            pen.text((x, y + 8 + (i % rows) * (self.font + 7)), line, 0, font=font)
        pen.text((45, SIZE[1] - 50), text[-1], 0, font=ImageFont.load_default(11))
        return page


def typos(text: str, rng: random.Random, share: float) -> str:
    """Replace, drop and insert letters: `share` errors a character in all."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    out = []
    for character in text:
        roll = rng.random()
        if roll < share / 3:
            continue
        out.append(rng.choice(letters) if roll < 2 * share / 3 else character)
        if roll > 1 - share / 3:
            out.append(rng.choice(letters))
    return "".join(out)


def reencoded(page: Image.Image, rng: random.Random) -> Image.Image:
    """Save as JPEG of quality 25 to 60."""
    buffer = io.BytesIO()
    page.save(buffer, "JPEG", quality=rng.randint(25, 60))
    return Image.open(io.BytesIO(buffer.getvalue()))


def resized(page: Image.Image, rng: random.Random) -> Image.Image:
    """Scale by 0.5 to 1.4."""
    factor = rng.uniform(0.5, 1.4)
    return page.resize(
        (int(page.width * factor), int(page.height * factor)), Image.Resampling.BICUBIC
    )


def cropped(page: Image.Image, rng: random.Random) -> Image.Image:
    """Cut one pixel off one or two sides."""
    left, top = rng.choice(((1, 0), (0, 1), (1, 1)))
    return page.crop((left, top, page.width - (1 - left), page.height - (1 - top)))


def make(root: Path, pages: int, copies: int) -> dict[str, str]:
    """Write the corpus; return {id of a planted row: kind}."""
    templates = [Template(n) for n in range(TEMPLATES)]
    rows, planted = [], {}

    def add(name: str, image: Image.Image, text: list[str], split: str) -> None:
        image.save(root / "raw" / f"{name}.png", compress_level=1)
        rows.append(
            Sample(id="", document=name, corpus="pages", subset="all", image=f"{name}.png",
                   text="\n".join(text), split=split, granularity="page", language="und")
        )  # fmt: skip

    (root / "raw").mkdir(parents=True)
    for n in range(pages):
        template = templates[n % TEMPLATES]
        text = template.text(random.Random(f"page {n}"))
        page = template.draw(text)
        split = "test" if n % 4 == 0 else "val" if n % 8 == 1 else "train"
        add(f"page{n:04d}", page, text, split)
        if split != "test" or len(planted) >= 4 * copies:
            continue
        rng = random.Random(f"copy {n}")
        into = "val" if n % 20 == 0 else "train"
        for kind, change in (("re-encoded", reencoded), ("resized", resized), ("cropped", cropped)):
            planted[f"copy{n:04d}{kind}"] = f"{kind}, in {into}"
            add(f"copy{n:04d}{kind}", change(page, rng), text, into)
        other = templates[(n + 7) % TEMPLATES]
        wrong = [typos(line, rng, 0.03) for line in text]
        planted[f"copy{n:04d}typos"] = f"text with typos, in {into}"
        add(f"copy{n:04d}typos", other.draw(wrong), wrong, into)
    with open(root / "manifest.jsonl", "w", encoding="utf-8") as file:
        file.writelines(to_json(row) + "\n" for row in rows)
    return planted


def main() -> None:
    """Build once and print recall and false alarms."""
    parser = argparse.ArgumentParser(description="Measure the leak gate.")
    parser.add_argument("--pages", type=int, default=1000)
    parser.add_argument("--copies", type=int, default=100, help="planted copies of each kind")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        raw, out = Path(scratch) / "raw", Path(scratch) / "out"
        out.mkdir(parents=True)
        planted = make(raw / "pages", arguments.pages, arguments.copies)
        config = ManifestConfig(
            leakage=LeakageConfig(max_fraction=0.99), max_rejected_fraction=0.99
        )
        started = time.perf_counter()
        report = build_rows([resolve("pages", {"kind": "manifest"})], config, raw, out)
        seconds = time.perf_counter() - started
        accused = {}
        for line in (out / "rejected.jsonl").read_bytes().splitlines():
            row = orjson.loads(line)
            accused[Path(row["source"]).stem] = row["reason"]
    totals, found = Counter(planted.values()), Counter()
    for name, kind in planted.items():
        found[kind] += name in accused
    for kind in sorted(totals):
        recall = found[kind] / totals[kind]
        print(f"{kind:26} {found[kind]:4} of {totals[kind]:4} found: recall {recall:.3f}")
    alarms = sorted(set(accused) - set(planted))
    honest = arguments.pages - -(-arguments.pages // 4)
    print(f"false alarms {len(alarms)} of {honest} distinct train and val pages {alarms[:3]}")
    print(f"({TEMPLATES} templates, {report.leaks.index_pages} evaluation pages)")
    phases = ", ".join(f"{name} {value:.1f}" for name, value in report.seconds.items())
    print(f"{sum(found.values())} of {len(planted)} leaks in {seconds:.1f} s ({phases})")


if __name__ == "__main__":
    main()
