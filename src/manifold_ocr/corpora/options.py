"""The options that every corpus understands, and how an entry of `corpora` becomes them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from manifold_ocr.config import build


@dataclass(frozen=True, kw_only=True)
class CommonOptions:
    """Where a corpus comes from and what it may be used for.

    One of `path` (a local folder or archive), `url` (with `sha256`) or `repo` (a dataset
    repository of the hub, pinned by `revision`, a 40-digit commit) overrides the known
    source. `kind` names the adapter where the corpus's own name does not. `role`,
    `license` and `language` override what the adapter knows.
    """

    kind: str = ""
    path: str = ""
    url: str = ""
    sha256: str = ""
    repo: str = ""
    revision: str = ""
    role: Literal["", "train", "eval_only"] = ""
    license: str = ""
    language: str = ""

    def __post_init__(self) -> None:
        if sum(bool(value) for value in (self.path, self.url, self.repo)) > 1:
            raise ValueError("give one of path, url, repo, not several")


Options = TypeVar("Options", bound=CommonOptions)


def corpus_options(cls: type[Options], name: str, options: Mapping[str, Any]) -> Options:
    """Build a corpus's options from its entry under `corpora` (strict, see `config.build`)."""
    return build(cls, options, f"params.yaml: corpora.{name}")
