"""The error explorer: one HTML file with every error, that needs no network and runs from file://."""

import base64
import html
import io
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from PIL import Image
from rapidfuzz.distance import Levenshtein

from manifold_ocr.config import EvaluateConfig
from manifold_ocr.errors import UserError
from manifold_ocr.files import atomic_write
from manifold_ocr.images import load_sample
from manifold_ocr.metrics.normalize import normalize
from manifold_ocr.metrics.row_score import RowScore
from manifold_ocr.metrics.score import score_rows
from manifold_ocr.records import Prediction, Sample
from manifold_ocr.resources import progress

COHORTS = ("empty", "looping", "too_long", "too_short", "hallucination")
EMPTY = ""  # how the confusion matrix writes "no character": an insertion or a deletion


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplorerConfig:
    """What goes into the page, and how large it may become.

    `max_rows` keeps the rows with the largest loss. `line_height` and `page_side` bound a
    thumbnail in pixels, `quality` is JPEG's. `max_megabytes` bounds all thumbnails together:
    the worst rows get theirs first, the others say that they have none.
    """

    title: str = "Error explorer"
    max_rows: int = 10_000
    line_height: int = 48
    line_width: int = 900
    page_side: int = 1000
    quality: int = 60
    max_megabytes: float = 80.0
    profile: str = "nfc_ws"

    def __post_init__(self) -> None:
        if self.max_rows < 1 or self.line_height < 8 or self.page_side < 64:
            raise ValueError("max_rows >= 1, line_height >= 8 and page_side >= 64 are required")


@dataclass(frozen=True, slots=True)
class System:
    """One system's readings of the samples, with their scores, both by sample id."""

    name: str
    predictions: dict[str, Prediction]
    scores: dict[str, RowScore]


def worst_first(samples: Sequence[Sample], systems: Sequence[System]) -> list[Sample]:
    """Sort by the largest number of wrong characters over the systems; ties by id."""

    def loss(sample: Sample) -> int:
        return max(system.scores[sample.id].distance for system in systems)

    return sorted(samples, key=lambda sample: (-loss(sample), sample.id))


def row_json(sample: Sample, systems: Sequence[System], profile: str) -> dict[str, Any]:
    """Return one row: short keys, since there are many (model.js names them)."""
    reference = normalize(sample.text, profile)
    row: dict[str, Any] = {
        "id": sample.id,
        "d": sample.document,
        "c": sample.corpus,
        "s": sample.subset,
        "l": sample.language,
        "g": sample.granularity,
        "i": sample.image,
        "t": reference,
        "p": [_reading(system, sample.id, reference, profile) for system in systems],
    }
    if sample.text != reference:
        row["r"] = sample.text
    return row


def _reading(system: System, sample: str, reference: str, profile: str) -> dict[str, Any]:
    prediction = system.predictions.get(sample)
    raw = prediction.text if prediction else ""
    text = normalize(raw, profile)
    score = system.scores[sample]
    reading: dict[str, Any] = {"t": text, "o": operations(reference, text)}
    if raw != text:
        reading["r"] = raw
    if prediction is None:  # not read: neither empty nor too short
        reading["m"] = 1
        return reading
    if prediction.confidence is not None:
        reading["c"] = round(prediction.confidence, 4)
    if flags := [name for name in COHORTS if getattr(score, name)]:
        reading["k"] = flags
    return reading


def operations(reference: str, prediction: str) -> list[int]:
    """Return the differing stretches as flat [r0, r1, p0, p1, ...] in code points.

    reference[r0:r1] was read as prediction[p0:p1]; what lies between is equal.
    """
    if reference == prediction:
        return []
    flat: list[int] = []
    for op in Levenshtein.opcodes(reference, prediction):
        if op.tag != "equal":
            flat += [op.src_start, op.src_end, op.dest_start, op.dest_end]
    return flat


def confusions(reference: str, prediction: str) -> Counter[tuple[str, str]]:
    """Count (reference character, read character); an empty string is nothing."""
    pairs: Counter[tuple[str, str]] = Counter()
    for op in Levenshtein.editops(reference, prediction):
        wanted = reference[op.src_pos] if op.tag != "insert" else EMPTY
        got = prediction[op.dest_pos] if op.tag != "delete" else EMPTY
        pairs[wanted, got] += 1
    return pairs


def thumbnail(sample: Sample, image_root: Path, config: ExplorerConfig) -> bytes:
    """Return a small JPEG of what the reader saw; gray where the image holds no color.

    Raises:
        UserError: the image cannot be read.
    """
    image = load_sample(sample, image_root)
    if sample.granularity == "line":
        scale = min(1.0, config.line_height / image.height, config.line_width / image.width)
    else:
        scale = min(1.0, config.page_side / max(image.size))
    if scale < 1.0:
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        image = image.resize(size, Image.Resampling.LANCZOS)
    if _is_gray(image):
        image = image.convert("L")
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=config.quality, optimize=True)
    return buffer.getvalue()


def _is_gray(image: Image.Image) -> bool:
    small = image.resize((32, 32))
    red, green, blue = small.split()
    pixels = zip(red.tobytes(), green.tobytes(), blue.tobytes(), strict=True)
    return all(abs(r - g) + abs(g - b) < 24 for r, g, b in pixels)


def data_uri(jpeg: bytes) -> str:
    """Return the bytes as a data URI that a page can show without any request."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode("ascii")


def thumbnail_or_reason(
    sample: Sample, image_root: Path, config: ExplorerConfig, left: int
) -> tuple[str, str]:
    """Return (data URI, "") or ("", why there is none); `left` is the budget in bytes."""
    if left <= 0:
        return "", "left out: the page's image budget is used up (--max-megabytes)"
    try:
        uri = data_uri(thumbnail(sample, image_root, config))
    except UserError as error:
        return "", str(error)
    return (uri, "") if len(uri) <= left else ("", "left out: larger than the rest of the budget")


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
    folder = resources.files("manifold_ocr.evaluation.explorer")
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
