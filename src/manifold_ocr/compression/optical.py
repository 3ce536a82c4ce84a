"""Optical compression: text tokens over vision tokens, by text length, beside published rows.

The ratio of a page is its text tokens (metric tokenizer, which must be named) over the
positions that the decoder was really fed for its image. The reference study counts vision
tokens without the separators its code adds, so both counts of its modes are kept.
"""

import importlib.resources
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from manifold_ocr.compression.fidelity import Fidelity, lcs_scores, micro_ned

BUCKETS = tuple((low, low + 100) for low in range(600, 1300, 100))


@dataclass(frozen=True, slots=True)
class Mode:
    """A fixed vision budget: image side in pixels, tokens as reported, positions as fed."""

    name: str
    resolution: int
    vision_tokens: int
    positions: int
    fit: str

    def valid_tokens(self, width: int, height: int) -> int:
        """Return the tokens that lie on the page rather than on padding.

        ceil(tokens * (1 - (longer - shorter) / longer)) where the mode pads; all of them
        where it resizes.
        """
        if self.fit != "pad":
            return self.vision_tokens
        longer, shorter = max(width, height), min(width, height)
        return math.ceil(self.vision_tokens * (1 - (longer - shorter) / longer))


@lru_cache(maxsize=1)
def reference() -> dict[str, Any]:
    """Return the published figures with their source (values only, transcribed)."""
    path = importlib.resources.files("manifold_ocr.compression") / "deepseek_reference.json"
    value: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return value


def modes() -> dict[str, Mode]:
    """Return the published modes by name: tiny 64, small 100, base 256, large 400 tokens."""
    return {
        name: Mode(name, row["resolution"], row["vision_tokens"], row["positions"], row["fit"])
        for name, row in reference()["modes"].items()
    }


@dataclass(frozen=True, slots=True)
class OpticalPage:
    """One page: vision tokens it cost and how the reading compares with the reference."""

    id: str
    corpus: str
    vision_tokens: int
    fidelity: Fidelity

    @property
    def text_tokens(self) -> int:
        """Tokens of the reference text."""
        return self.fidelity.tokens.n


@dataclass(frozen=True, slots=True)
class Bucket:
    """Pages of similar text length: `label`, page count, pooled ratio and accuracies.

    `ratio` is pooled text tokens over pooled vision tokens; `precision` and `f1` are over
    token common subsequences, `accuracy` is 1 - NED over characters.
    """

    label: str
    pages: int
    text_tokens: int
    vision_tokens: int
    precision: float
    f1: float
    accuracy: float

    @property
    def ratio(self) -> float:
        """Pooled text tokens over pooled vision tokens."""
        return self.text_tokens / self.vision_tokens if self.vision_tokens else 0.0


def bucket_pages(pages: Sequence[OpticalPage]) -> list[Bucket]:
    """Return the non-empty length buckets of the reference study, and those below and above."""
    limits = [(0, BUCKETS[0][0]), *BUCKETS, (BUCKETS[-1][1], None)]
    found = []
    for low, high in limits:
        inside = [
            page
            for page in pages
            if page.text_tokens >= low and (high is None or page.text_tokens < high)
        ]
        if inside:
            label = f"{low}+" if high is None else f"{low}-{high}"
            found.append(pool(label, inside))
    return found


def pool(label: str, pages: Sequence[OpticalPage]) -> Bucket:
    """Return the pooled figures of some pages."""
    precision, _, f1 = lcs_scores([page.fidelity.tokens for page in pages])
    return Bucket(
        label=label,
        pages=len(pages),
        text_tokens=sum(page.text_tokens for page in pages),
        vision_tokens=sum(page.vision_tokens for page in pages),
        precision=precision,
        f1=f1,
        accuracy=1 - micro_ned([page.fidelity.characters for page in pages]),
    )


@dataclass(frozen=True, slots=True)
class Point:
    """One point of the precision-against-compression plot."""

    system: str
    label: str
    pages: int
    ratio: float
    precision: float


def reference_points() -> list[Point]:
    """Return the published Fox rows at 64 and 100 vision tokens."""
    return [
        Point(
            f"DeepSeek-OCR {name} ({tokens} tokens), published",
            f"{row['text_tokens_low']}-{row['text_tokens_high']}",
            row["pages"],
            row[f"compression_{tokens}"],
            row[f"precision_{tokens}"],
        )
        for name, tokens in (("tiny", 64), ("small", 100))
        for row in reference()["fox"]
    ]


def points(system: str, buckets: Sequence[Bucket]) -> list[Point]:
    """Return one point a bucket for the plot."""
    return [Point(system, item.label, item.pages, item.ratio, item.precision) for item in buckets]


def pareto(candidates: Sequence[tuple[str, *tuple[float, ...]]]) -> list[str]:
    """Return the names that no other beats: as good in all values, better in one.

    Values are those where higher is better.
    """

    def beaten(values: tuple[float, ...], by: tuple[float, ...]) -> bool:
        return values != by and all(b >= a for a, b in zip(values, by, strict=True))

    return [
        name
        for name, *values in candidates
        if not any(beaten(tuple(values), tuple(others)) for _, *others in candidates)
    ]
