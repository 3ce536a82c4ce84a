"""Write the error explorer: one HTML file that needs no network and runs from file://."""

import html
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from manifold_ocr.errors import UserError
from manifold_ocr.explorer.rows import (
    ExplorerConfig,
    System,
    row_json,
    thumbnail_or_reason,
    worst_first,
)
from manifold_ocr.files import atomic_write
from manifold_ocr.progress import progress
from manifold_ocr.records import Prediction, Sample
from manifold_ocr.scoring import EvaluateConfig, score_rows

SCRIPTS = ("model.js", "list.js", "detail.js", "matrix.js", "app.js")


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What went into the page."""

    rows: int
    left_out: int
    images: int
    without_image: int
    megabytes: float


def build_system(
    name: str, samples: Sequence[Sample], predictions: Iterable[Prediction], profile: str
) -> System:
    """Score one system's predictions; a sample without one is scored as an empty text."""
    found = {prediction.id: prediction for prediction in predictions}
    config = EvaluateConfig(metric_tokenizer="whitespace", bootstrap_samples=0, profile=profile)
    rows = score_rows(samples, found.values(), config)
    return System(name, found, {row.id: row for row in rows})


def write_explorer(
    path: Path,
    samples: Sequence[Sample],
    systems: Sequence[System],
    image_root: Path,
    config: ExplorerConfig,
) -> Written:
    """Write the page atomically; rows are streamed, so one thumbnail is in memory at a time.

    Raises:
        UserError: no sample or no system.
    """
    texts = [sample for sample in samples if sample.task == "transcribe"]
    if not texts or not systems:
        raise UserError("the explorer needs at least one transcription row and one prediction file")
    shown = worst_first(texts, systems)[: config.max_rows]
    meta = {
        "title": config.title,
        "profile": config.profile,
        "systems": [system.name for system in systems],
        "leftOut": len(texts) - len(shown),
    }
    counts = {"images": 0}
    before, after = _template(config.title)
    with atomic_write(path) as file:
        file.write(before)
        file.write(f'<script type="application/json" id="meta">{_json(meta)}</script>\n')
        for line in _rows(shown, systems, image_root, config, counts):
            file.write(line)
        file.write(after)
    return Written(
        rows=len(shown),
        left_out=len(texts) - len(shown),
        images=counts["images"],
        without_image=len(shown) - counts["images"],
        megabytes=round(path.stat().st_size / 1e6, 2),
    )


def _rows(
    samples: Sequence[Sample],
    systems: Sequence[System],
    image_root: Path,
    config: ExplorerConfig,
    counts: dict[str, int],
) -> Iterator[str]:
    """Yield script elements that hold the rows, a few hundred each (small pieces parse fast)."""
    left = int(config.max_megabytes * 1e6)
    block: list[str] = []
    for sample in progress(samples, "explorer", total=len(samples)):
        row: dict[str, Any] = row_json(sample, systems, config.profile)
        uri, reason = thumbnail_or_reason(sample, image_root, config, left)
        left -= len(uri)
        counts["images"] += bool(uri)
        row["b"] = uri
        if reason:
            row["w"] = reason
        block.append(_json(row))
        if len(block) == 250:
            yield _block(block)
            block = []
    if block:
        yield _block(block)


def _block(rows: Sequence[str]) -> str:
    return f'<script type="application/json" class="rows">[{",".join(rows)}]</script>\n'


def _json(value: Any) -> str:
    """Return JSON that cannot end a script element or open a comment."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _template(title: str) -> tuple[str, str]:
    """Return what stands before and after the data."""
    folder = resources.files("manifold_ocr.explorer")
    page = (folder / "page.html").read_text(encoding="utf-8")
    style = (folder / "style.css").read_text(encoding="utf-8")
    script = "\n".join((folder / name).read_text(encoding="utf-8") for name in SCRIPTS)
    page = page.replace("/*STYLE*/", style).replace("{{title}}", html.escape(title))
    before, after = page.split("<!--DATA-->")
    return before, after.replace("/*SCRIPT*/", script)


def describe(written: Written, path: Path) -> str:
    """Return one line for the terminal."""
    return (
        f"{path}: {written.rows:,} rows ({written.left_out:,} left out), "
        f"{written.images:,} images ({written.without_image:,} without), "
        f"{written.megabytes:.1f} MB"
    )
