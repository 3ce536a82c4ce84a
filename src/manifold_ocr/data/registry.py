"""What a corpus is to the pipeline, and which adapter reads it: by name or by its `kind`."""

import importlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from manifold_ocr.data.fetch import MOUNT
from manifold_ocr.data.sources import (
    SOURCES,
    corpus_license,
    corpus_options,
    license_of,
    policy_of,
)
from manifold_ocr.errors import UserError, nearest
from manifold_ocr.records import RawRow, Rejection
from manifold_ocr.settings import POLICY_KEYS

MOUNTED_MANIFEST = "metadata/text_manifest.jsonl"
KINDS = (
    "synthetic",
    "synthetic_text",
    "folder",
    "manifest",
    "hf_dataset",
    "icdar_sroie",
    "icdar2015",
    "fox",
    "omnidocbench",
    "docvqa",
    "publaynet",
)
OWN_DATA = ("synthetic_text", "folder", "manifest", "hf_dataset")  # kinds that say nothing of where


class Corpus(Protocol):
    """A corpus adapter. `options` is its entry under `corpora` in params.yaml."""

    @property
    def name(self) -> str:
        """The name of the corpus in params.yaml and data/raw."""
        ...

    @property
    def role(self) -> str:
        """`train`, or `eval_only` for benchmarks."""
        ...

    def fetch(self, destination: Path, options: Mapping[str, Any]) -> None:
        """Put the raw files below `destination` (an empty folder, swapped in when whole)."""
        ...

    def rows(self, root: Path, options: Mapping[str, Any]) -> Iterator[RawRow | Rejection]:
        """Stream the rows of the raw files below `root`, in a stable order."""
        ...


@runtime_checkable
class PartitionedCorpus(Corpus, Protocol):
    """A corpus that can read a share of its rows without reading the others."""

    def part_rows(
        self, root: Path, options: Mapping[str, Any], part: int, parts: int
    ) -> Iterator[RawRow | Rejection]:
        """Stream the rows of share `part` of `parts`; the shares are disjoint and complete."""
        ...


@dataclass(frozen=True)
class SelectedCorpus:
    """A corpus chosen in params.yaml: its adapter, options, and the role it plays."""

    name: str
    kind: str
    adapter: Corpus
    options: Mapping[str, Any]
    role: str

    @property
    def license(self) -> str:
        """Return the license of the corpus as a whole (rows may state their own)."""
        return license_of(self.name, self.options)

    @property
    def contaminated(self) -> bool:
        """Say whether a benchmark was given to training by hand."""
        return self.adapter.role == "eval_only" and self.role != "eval_only"


def select_corpora(params: Mapping[str, Any]) -> list[SelectedCorpus]:
    """Return the corpora of `download.corpora`, checked against the license policy.

    Raises:
        UserError: an unknown corpus or kind (the nearest is named), options that are no
            mapping, a name listed twice, or a license the run does not allow.
    """
    names = (params.get("download") or {}).get("corpora")
    if not isinstance(names, list) or not names:
        raise UserError("params.yaml: download.corpora: must list at least one corpus")
    if len(set(names)) != len(names):
        raise UserError("params.yaml: download.corpora: a corpus is listed twice")
    section = params.get("corpora") or {}
    policy = policy_of(section)
    selected = [resolve(str(name), section.get(name)) for name in names]
    for corpus in selected:
        corpus_license(corpus.name, corpus.options, policy)
    return selected


# The options that a kind's reader takes beside the common ones: module, class.
OPTIONS = {
    "synthetic": ("data.readers.synthetic", "SyntheticOptions"),
    "synthetic_text": ("data.readers.synthetic_text", "SyntheticTextOptions"),
    "folder": ("data.readers.folder", "FolderOptions"),
    "manifest": ("data.readers.jsonl", "ManifestOptions"),
    "hf_dataset": ("data.readers.huggingface", "HfDatasetOptions"),
    "icdar_sroie": ("data.readers.icdar", "SroieOptions"),
    "icdar2015": ("data.readers.icdar", "Icdar2015Options"),
    "omnidocbench": ("data.readers.benchmarks", "OmniDocBenchOptions"),
    "publaynet": ("data.readers.probes", "PubLayNetOptions"),
}


def check_options(name: str, options: Mapping[str, Any] | None) -> None:
    """Check the options of a corpus, selected or not, against those that its reader takes.

    Raises:
        UserError: an unknown kind or option, or a value that is not allowed.
    """
    corpus = resolve(name, options)
    module, cls = OPTIONS.get(corpus.kind, ("data.sources", "CommonOptions"))
    corpus_options(
        getattr(importlib.import_module(f"manifold_ocr.{module}"), cls), name, corpus.options
    )


def resolve(name: str, options: Mapping[str, Any] | None) -> SelectedCorpus:
    """Return the corpus `name` with its adapter (see `select_corpora` for errors)."""
    if name in POLICY_KEYS or "/" in name or name.startswith("."):
        raise UserError(f"params.yaml: download.corpora: {name!r} cannot be a corpus name")
    options = options or {}
    if not isinstance(options, Mapping):
        raise UserError(f"params.yaml: corpora.{name}: must be a mapping of options")
    kind = str(options.get("kind") or _default_kind(name))
    if kind not in KINDS:
        raise UserError(f"params.yaml: corpora.{name}.kind: {kind!r}{nearest(kind, KINDS)}")
    adapter = _adapter(kind, name)
    return SelectedCorpus(name, kind, adapter, options, str(options.get("role") or adapter.role))


def _default_kind(name: str) -> str:
    if name != "synthetic" and (MOUNT / name / MOUNTED_MANIFEST).is_file():
        return "manifest"  # our own rows, whatever the publisher's layout of that name is
    if name in KINDS and name not in OWN_DATA:
        return name
    if (MOUNT / name).is_dir():
        return "manifest"
    raise UserError(
        f"params.yaml: download.corpora: {name!r} is no known corpus{nearest(name, KINDS)}; "
        f"for your own give it options: corpora.{name}: {{kind: folder, path: FOLDER}}"
    )


def _adapter(kind: str, name: str) -> Corpus:
    """Import and build the adapter; only those in use are imported."""
    match kind:
        case "synthetic":
            from manifold_ocr.data.readers.synthetic import SyntheticCorpus

            return SyntheticCorpus()
        case "synthetic_text":
            from manifold_ocr.data.readers.synthetic_text import SyntheticText

            return SyntheticText(name)
        case "folder":
            from manifold_ocr.data.readers.folder import Folder

            return Folder(name)
        case "manifest":
            from manifold_ocr.data.readers.jsonl import ManifestCorpus

            known = SOURCES.get(name)  # a benchmark stays one in any layout
            return ManifestCorpus(name, known.role if known else "train")
        case "hf_dataset":
            from manifold_ocr.data.readers.huggingface import HfDataset

            return HfDataset(name)
        case "icdar_sroie":
            from manifold_ocr.data.readers.icdar import IcdarSroie

            return IcdarSroie(name)
        case "icdar2015":
            from manifold_ocr.data.readers.icdar import Icdar2015

            return Icdar2015(name)
        case "fox":
            from manifold_ocr.data.readers.benchmarks import Fox

            return Fox(name)
        case "omnidocbench":
            from manifold_ocr.data.readers.benchmarks import OmniDocBench

            return OmniDocBench(name)
        case "docvqa":
            from manifold_ocr.data.readers.probes import DocVqa

            return DocVqa(name)
        case _:
            from manifold_ocr.data.readers.probes import PubLayNet

            return PubLayNet(name)
