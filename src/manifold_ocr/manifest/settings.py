"""One hash of everything but a corpus's own files that decides its rows."""

import hashlib
import json
import platform
from collections.abc import Sequence
from dataclasses import asdict
from functools import lru_cache
from importlib.metadata import version

from manifold_ocr.closure import code_fingerprint
from manifold_ocr.corpora.registry import SelectedCorpus
from manifold_ocr.manifest.config import ManifestConfig
from manifold_ocr.manifest.lengths import length_fingerprint
from manifold_ocr.manifest.splits import Splitter

LIBRARIES = ("datasketch", "numpy", "orjson", "xxhash")
WITHOUT_EFFECT = ("workers", "samples_sheet", "shard_rows")


def settings_hash(
    corpus: SelectedCorpus, config: ManifestConfig, splitter: Splitter, max_target_length: int
) -> bytes:
    """Return the SHA-256 of code, libraries, configuration and the corpus's options."""
    chosen = {key: value for key, value in asdict(config).items() if key not in WITHOUT_EFFECT}
    told = {
        "code": _code(),
        "libraries": _versions(LIBRARIES),
        "config": chosen,
        "splitter": asdict(splitter),
        "corpus": [corpus.name, corpus.kind, corpus.role, corpus.licence, dict(corpus.options)],
        "length": length_fingerprint(config.length_unit, max_target_length),
    }
    return hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).digest()


@lru_cache(maxsize=1)
def _code() -> str:
    return code_fingerprint(["manifold_ocr.manifest.parts"])


def _versions(names: Sequence[str]) -> list[str]:
    return [platform.python_version(), *map(version, names)]
