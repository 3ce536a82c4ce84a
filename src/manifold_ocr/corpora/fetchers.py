"""Fetch a corpus by its kind, without importing any parser.

The download stage stands on this module and on the sources, so that mending a parser
never fetches anything again.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from manifold_ocr.config import build
from manifold_ocr.corpora.fetching import fetch_corpus, fetch_local
from manifold_ocr.corpora.options import CommonOptions

MOUNT = Path("data/benchmark_corpus")


def fetch(name: str, options: Mapping[str, Any], destination: Path) -> None:
    """Put the raw files of corpus `name` below `destination` (an empty folder)."""
    kind = str(options.get("kind") or name)
    if kind == "synthetic":
        from manifold_ocr.corpora.synthetic.corpus import SyntheticCorpus

        SyntheticCorpus().fetch(destination, options)
    elif kind == "hf_dataset":
        from manifold_ocr.corpora.hf_fetch import fetch_dataset

        fetch_dataset(name, options, destination)
    else:
        fetch_files(name, common_options(name, options), destination, kind)


def fetch_files(name: str, options: CommonOptions, destination: Path, kind: str) -> None:
    """Fetch a corpus of plain files; a mounted data/benchmark_corpus/NAME is found by name."""
    mounted = MOUNT / name
    if not (options.path or options.url or options.repo) and mounted.is_dir():
        fetch_local(name, mounted, destination)
    else:
        fetch_corpus(name, destination, options, kind)


def common_options(name: str, options: Mapping[str, Any]) -> CommonOptions:
    """Return the options that say where a corpus comes from; parser options are left out."""
    known = {field.name for field in dataclasses.fields(CommonOptions)}
    values = {key: value for key, value in options.items() if key in known}
    return build(CommonOptions, values, f"params.yaml: corpora.{name}")
