"""Any manifest as samples: our rows, the older row format, or OmniDocBench.json."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from manifold_ocr.data.readers.jsonl import ManifestCorpus
from manifold_ocr.errors import UserError
from manifold_ocr.files import read_json
from manifold_ocr.metrics.omnidocbench.blocks import reference_page
from manifold_ocr.records import Rejection, Sample, iter_manifest, manifest_sha256


@dataclass(frozen=True, kw_only=True)
class EvalManifest:
    """Samples, the rows that could not be used, and OmniDocBench's pages by sample id."""

    samples: tuple[Sample, ...]
    rejected: tuple[Rejection, ...] = ()
    omnidocbench: Mapping[str, Any] = field(default_factory=dict)
    sha256: str = ""


def load_manifest(path: Path, granularity: str = "") -> EvalManifest:
    """Read a manifest, keeping only rows of `granularity` where one is given.

    Raises:
        UserError: missing, not understood, or no row left.
    """
    if not path.exists():
        raise UserError(f"{path}: no such manifest")
    manifest = _omnidocbench(path) if path.suffix == ".json" else _rows(path)
    samples = tuple(s for s in manifest.samples if granularity in ("", s.granularity))
    if not samples:
        reason = manifest.rejected[0].detail if manifest.rejected else "it is empty"
        raise UserError(f"{path}: no usable row ({len(manifest.samples)} read; {reason})")
    return EvalManifest(
        samples=samples,
        rejected=manifest.rejected,
        omnidocbench=manifest.omnidocbench,
        sha256=manifest_sha256(path),
    )


def _omnidocbench(path: Path) -> EvalManifest:
    pages = read_json(path)
    if not isinstance(pages, list) or not all(
        isinstance(page, dict) and "layout_dets" in page and "page_info" in page for page in pages
    ):
        raise UserError(f"{path}: a .json manifest must be an OmniDocBench.json; rows are .jsonl")
    samples = []
    for page in pages:
        info = page["page_info"]
        attribute = info.get("page_attribute", {})
        samples.append(
            Sample(
                id=info["image_path"],
                document=info["image_path"],
                corpus="omnidocbench",
                subset=str(attribute.get("data_source", "all")),
                language=_language(str(attribute.get("language", ""))),
                image=info["image_path"],
                text=reference_page(page).text,
                granularity="page",
                role="eval_only",
            )
        )
    return EvalManifest(
        samples=tuple(samples),
        omnidocbench={s.id: page for s, page in zip(samples, pages, strict=True)},
    )


def _language(name: str) -> str:
    known = {"english": "en", "simplified_chinese": "zh", "traditional_chinese": "zh-Hant"}
    return known.get(name, name or "und")


def _rows(path: Path) -> EvalManifest:
    if path.is_dir() or _is_ours(path):
        return EvalManifest(samples=tuple(iter_manifest(path)))
    samples: list[Sample] = []
    rejected: list[Rejection] = []
    options = {"manifest": path.name, "image_root": "."}
    for row in ManifestCorpus(path.stem).rows(path.parent, options):
        if isinstance(row, Rejection):
            rejected.append(row)
            continue
        samples.append(
            Sample(
                id=f"{row.document}:{row.source.rsplit(':', 1)[-1]}",
                document=row.document,
                corpus=path.stem,
                subset=row.subset,
                tags=row.tags,
                language=row.language,
                image=row.image,
                text=row.text,
                box=row.box,
                granularity=row.granularity,
                task=row.task,
                question=row.question,
                answers=row.answers,
                license=row.license,
            )
        )
    return EvalManifest(samples=tuple(samples), rejected=tuple(rejected))


def _is_ours(path: Path) -> bool:
    """Tell by the first row whether it has an id, a document and a corpus."""
    try:
        with open(path, encoding="utf-8") as file:
            first = next((line for line in file if line.strip()), "")
        value = json.loads(first) if first else {}
    except (UnicodeDecodeError, json.JSONDecodeError):
        return False
    return isinstance(value, dict) and {"id", "document", "corpus"} <= set(value)
