"""Read what `hf_fetch` wrote: a `datasets` data set as images and a manifest."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from manifold_ocr.corpora.base import RawRow, Stretch
from manifold_ocr.corpora.fetchers import fetch
from manifold_ocr.corpora.hf_fetch import MANIFEST, HfDatasetOptions
from manifold_ocr.corpora.manifest_corpus import ManifestCorpus
from manifold_ocr.corpora.options import corpus_options
from manifold_ocr.records import Rejection


@dataclass(frozen=True)
class HfDataset:
    """Any data set of the hub, or any folder that `datasets` loads."""

    name: str
    role: str = "train"

    def fetch(self, destination: Path, options: Mapping[str, Any]) -> None:
        """Load the data set and write it out (see `hf_fetch.fetch_dataset`)."""
        fetch(self.name, options, destination)

    def rows(self, root: Path, options: Mapping[str, Any]) -> Iterator[RawRow | Rejection]:
        """Stream the rows of the written manifest."""
        for stretch in self.stretches(root, options, 0, 1):
            yield from stretch.rows

    def stretches(
        self, root: Path, options: Mapping[str, Any], part: int, parts: int
    ) -> Iterator[Stretch]:
        """Stream a share of the rows (see `ManifestCorpus.stretches`)."""
        parsed = corpus_options(HfDatasetOptions, self.name, options)
        shared = {"manifest": MANIFEST, "image_root": "."}
        shared |= {"language": parsed.language, "license": parsed.license}
        yield from ManifestCorpus(self.name).stretches(root, shared, part, parts)
