"""What the manifests hold: data set card, contact sheet, metrics/manifest.json, histograms.

The contact sheet is a PNG that shows what a model will be shown, some rows of each subset.
"""

import csv
import heapq
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import xxhash
from PIL import Image, ImageDraw

from manifold_ocr.config import ManifestConfig
from manifold_ocr.data.dedup import (
    HEIGHT_EDGES,
    LEAK_EXACT,
    LEAK_IMAGE,
    LEAK_TEXT,
    LEAKS,
    LENGTH_EDGES,
    VAL_EXACT,
    VAL_IMAGE,
    VAL_LEAKS,
    VAL_TEXT,
)
from manifold_ocr.data.manifest import BuildReport
from manifold_ocr.data.registry import SelectedCorpus
from manifold_ocr.data.rows import SPLITS, TRAIN, VAL
from manifold_ocr.data.sources import SOURCES
from manifold_ocr.errors import UserError
from manifold_ocr.files import atomic_write
from manifold_ocr.images import load_sample
from manifold_ocr.records import Sample, from_mapping, manifest_files
from manifold_ocr.synthetic.fonts import load

CELL = (380, 96)
COLUMNS = 4
CAPTION = 30  # pixels under each image
TYPEFACE = "noto-sans-sc"  # Latin, Greek, Cyrillic, Chinese, kana


def manifest_metrics(report: BuildReport, corpora: Sequence[SelectedCorpus] = ()) -> dict[str, Any]:
    """Return counts per split, corpus, subset and language; what was dropped, and why."""
    metrics: dict[str, Any] = {
        split: {
            "rows": counts.rows,
            "documents": counts.documents,
            "images": counts.images,
            "characters": counts.characters,
        }
        for split, counts in report.splits.items()
    }
    for attribute in ("corpus", "subset", "language"):
        metrics[f"by_{attribute}"] = {
            value: {split: report.splits[split].by(attribute).get(value, 0) for split in SPLITS}
            for value in sorted({v for c in report.splits.values() for v in c.by(attribute)})
        }
    metrics["rejected"] = {
        "total": report.rejected.total(),
        "fraction": round(report.rejected_fraction, 6),
        "by_reason": dict(sorted(report.rejected.items())),
    }
    metrics["filtered"] = dict(sorted(report.filtered.items()))
    metrics["contaminated_benchmarks"] = sum(corpus.contaminated for corpus in corpora)
    metrics["leakage"] = leakage_metrics(report)
    metrics["truncated"] = truncated(report)
    return metrics


def leakage_metrics(report: BuildReport) -> dict[str, Any]:
    """Return rows removed because another split knows their page, by evidence.

    The top level counts rows of train; `validation` those of validation known to test.
    """
    train, val = report.removed[TRAIN], report.removed[VAL]
    leaked = sum(train.get(code, 0) for code in LEAKS)
    kept = report.splits[TRAIN].rows
    return {
        "exact": train.get(LEAK_EXACT, 0),
        "near_image": train.get(LEAK_IMAGE, 0),
        "near_text": train.get(LEAK_TEXT, 0),
        "rows": leaked,
        "fraction": round(leaked / (leaked + kept), 6) if leaked else 0.0,
        "index_pages": report.leaks.index_pages,
        "uncovered_pages": report.leaks.uncovered_pages,
        "validation": {
            "exact": val.get(VAL_EXACT, 0),
            "near_image": val.get(VAL_IMAGE, 0),
            "near_text": val.get(VAL_TEXT, 0),
            "rows": sum(val.get(code, 0) for code in VAL_LEAKS),
        },
    }


def truncated(report: BuildReport) -> dict[str, Any]:
    """Return how many labels are longer than train.max_target_length, by subset."""
    by_subset: dict[str, int] = {}
    for counts in report.splits.values():
        for group, number in counts.too_long_by_group.items():
            key = f"{group.corpus}.{group.subset}"
            by_subset[key] = by_subset.get(key, 0) + number
    return {"total": sum(by_subset.values()), "by_subset": dict(sorted(by_subset.items()))}


def write_plots(folder: Path, report: BuildReport) -> None:
    """Write label lengths (characters), image heights (pixels) and rows by subset."""
    folder.mkdir(parents=True, exist_ok=True)
    lengths = [("characters", name, c.lengths) for name, c in report.splits.items()]
    heights = [("pixels", name, c.heights) for name, c in report.splits.items()]
    _write_histogram(folder / "label_lengths.csv", LENGTH_EDGES, lengths)
    _write_histogram(folder / "image_heights.csv", HEIGHT_EDGES, heights)
    rows = [
        (subset, split, count)
        for split, counts in report.splits.items()
        for subset, count in counts.by("subset").items()
    ]
    _write(folder / "subsets.csv", ("subset", "split", "rows"), sorted(rows))


def _write_histogram(
    path: Path, edges: np.ndarray, series: list[tuple[str, str, np.ndarray]]
) -> None:
    rows = [
        (f"{low:05d}+", split, int(count))
        for _, split, counts in series
        for low, count in zip(edges[:-1], counts, strict=True)
    ]
    _write(path, (series[0][0], "split", "rows"), rows)


def _write(path: Path, header: tuple[str, ...], rows: Sequence[tuple[object, ...]]) -> None:
    with atomic_write(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def write_card(
    folder: Path,
    report: BuildReport,
    corpora: Sequence[SelectedCorpus],
    config: ManifestConfig,
    raw_root: Path,
) -> None:
    """Write card.md, the histograms plots/*.csv and samples.png into `folder`."""
    sheet = write_contact_sheet(folder, raw_root, config.samples_sheet, config.seed)
    sections = [
        "# Dataset card",
        "Written by the manifest stage; the counts are those of the rows that were kept.",
        "## Corpora",
        _corpora_table(corpora),
        "## Rows",
        _splits_table(report),
        *(_attribute_section(report, name) for name in ("corpus", "subset", "language")),
        "## Licences of the rows",  # the spelling of earlier cards, whose bytes are compared
        _counts_table(report, "license", "licence"),
        "## Left out",
        _left_out(report),
        "## Leaks",
        _leaks(report, config),
        "## Labels longer than training can hold",
        _truncated(report),
    ]
    if sheet:
        sections += ["## Samples", "![A sample of each subset](samples.png)"]
    with atomic_write(folder / "card.md") as file:
        file.write("\n\n".join(section for section in sections if section) + "\n")
    write_plots(folder / "plots", report)


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a Markdown table; pipes in cells are escaped, numbers are right-aligned."""
    body = [[_cell(value) for value in row] for row in rows]
    aligned = ["---" if i == 0 else "---:" for i in range(len(header))]
    return "\n".join(f"| {' | '.join(row)} |" for row in [list(header), aligned, *body])


def _cell(value: object) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    return str(value).replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")


def _corpora_table(corpora: Sequence[SelectedCorpus]) -> str:
    rows = []
    for corpus in corpora:
        source = SOURCES.get(corpus.kind)
        citation = source.citation if source else "the user's own"
        rows.append((corpus.name, corpus.kind, corpus.role, corpus.license, citation))
    header = ("corpus", "kind", "role", "licence", "source")
    listed = table(header, rows).replace("---:", "---")
    trained_on = ", ".join(corpus.name for corpus in corpora if corpus.contaminated)
    if not trained_on:
        return listed
    return f"{listed}\n\n**Contaminated**: trained on the benchmark {trained_on}."


def _splits_table(report: BuildReport) -> str:
    return table(
        ("split", "rows", "documents", "images", "characters"),
        (
            (name, counts.rows, counts.documents, counts.images, counts.characters)
            for name, counts in report.splits.items()
        ),
    )


def _attribute_section(report: BuildReport, attribute: str) -> str:
    return f"### By {attribute}\n\n{_counts_table(report, attribute)}"


def _counts_table(report: BuildReport, attribute: str, heading: str = "") -> str:
    counts = {split: report.splits[split].by(attribute) for split in SPLITS}
    values = sorted(set().union(*counts.values()))
    rows = [(value, *(counts[split].get(value, 0) for split in SPLITS)) for value in values]
    return table((heading or attribute, *SPLITS), rows)


def _left_out(report: BuildReport) -> str:
    rows = [(reason, count) for reason, count in sorted(report.rejected.items())]
    rows += [(f"filter: {name}", count) for name, count in sorted(report.filtered.items())]
    if not rows:
        return "Nothing."
    note = "Each rejected row stands in rejected.jsonl with its reason."
    return f"{table(('reason', 'rows'), rows)}\n\n{note}"


def _leaks(report: BuildReport, config: ManifestConfig) -> str:
    if not config.leakage.enabled:
        return "Near-duplicates were not looked for (manifest.leakage.enabled is false)."
    found = leakage_metrics(report)
    val = found["validation"]
    lines = (
        f"{found['rows']:,} training rows removed: {found['exact']:,} show an image of validation "
        f"or test, {found['near_image']:,} nearly one, {found['near_text']:,} nearly its text. "
        f"{val['rows']:,} validation rows removed: {val['exact']:,} show an image of test, "
        f"{val['near_image']:,} nearly one, {val['near_text']:,} nearly its text. "
        f"{report.leaks.train_pages:,} training and {report.leaks.val_pages:,} validation pages "
        f"were compared with {found['index_pages']:,} evaluation pages"
    )
    if found["uncovered_pages"]:
        return f"{lines}; {found['uncovered_pages']:,} more are beyond manifest.leakage.max_index."
    return f"{lines}."


def _truncated(report: BuildReport) -> str:
    found = truncated(report)
    if not found["total"]:
        return "None."
    return table(("corpus.subset", "labels"), found["by_subset"].items())


def write_contact_sheet(folder: Path, raw_root: Path, limit: int, seed: int) -> bool:
    """Draw up to `limit` training and test rows into samples.png; say whether any was drawn."""
    samples = _choose(folder, limit, seed)
    if not samples:
        return False
    rows = -(-len(samples) // COLUMNS)
    sheet = Image.new("RGB", (CELL[0] * COLUMNS, (CELL[1] + CAPTION) * rows), "white")
    pen = ImageDraw.Draw(sheet)
    font = load(TYPEFACE, 11)
    for number, sample in enumerate(samples):
        x, y = number % COLUMNS * CELL[0], number // COLUMNS * (CELL[1] + CAPTION)
        try:
            picture = load_sample(sample, raw_root)
        except UserError:
            continue
        picture.thumbnail((CELL[0] - 8, CELL[1] - 4))
        sheet.paste(picture, (x + 4, y + 4))
        pen.text((x + 4, y + CELL[1]), _shown(sample.text), fill=(0, 0, 0), font=font)
        label = f"{sample.corpus} / {sample.subset} / {sample.split}"
        pen.text((x + 4, y + CELL[1] + 13), label, fill=(110, 110, 110), font=font)
    sheet.save(folder / "samples.png", optimize=False)
    return True


def _choose(folder: Path, limit: int, seed: int) -> list[Sample]:
    """Choose the same number of rows of every (corpus, subset), by hash of their id."""
    if limit <= 0:
        return []
    best: dict[bytes, list[tuple[int, bytes]]] = defaultdict(list)
    for line in _lines(folder):
        group = _between(line, b'"corpus":', b',"image"')
        key = -xxhash.xxh3_64_intdigest(_between(line, b'{"id":', b',"document"'), seed)
        heap = best[group]
        if len(heap) < limit:
            heapq.heappush(heap, (key, line))
        elif key > heap[0][0]:
            heapq.heapreplace(heap, (key, line))
    share = max(1, limit // max(1, len(best)))
    chosen = []
    for group in sorted(best):
        for _, line in sorted(best[group], reverse=True)[:share]:
            chosen.append(from_mapping(Sample, orjson.loads(line), "contact sheet"))
    return chosen[:limit]


def _lines(folder: Path) -> Iterator[bytes]:
    for split in ("train", "test"):
        for path in manifest_files(folder / f"{split}.jsonl"):
            with open(path, "rb") as file:
                yield from file


def _between(line: bytes, start: bytes, stop: bytes) -> bytes:
    left = line.index(start) + len(start)
    return line[left : line.index(stop, left)]


def _shown(text: str) -> str:
    """Return the first 52 characters on one line, control characters as spaces."""
    line = " / ".join(text.split("\n"))
    return "".join(c if unicodedata.category(c)[0] != "C" else " " for c in line)[:52]
