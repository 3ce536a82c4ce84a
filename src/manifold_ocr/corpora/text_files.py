"""Read text files of unknown origin: UTF-8 or a rejection that says what to do."""

import codecs
from pathlib import Path

_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class EncodingError(ValueError):
    """A file that is not UTF-8; the message says where and what to do."""


def read_text(path: Path) -> str:
    r"""Return the text of a UTF-8 file (a byte-order mark is dropped, line ends become `\\n`).

    Raises:
        EncodingError: not UTF-8. Guessing an encoding would train on wrong characters.
    """
    data = path.read_bytes()
    if data.startswith(_MARKS):
        raise EncodingError(f"UTF-16, not UTF-8: convert with iconv -f UTF-16 -t UTF-8 {path}")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise EncodingError(
            f"not UTF-8 at byte {error.start} (0x{data[error.start]:02x}): "
            f"convert it, for example iconv -f WINDOWS-1252 -t UTF-8 {path.name}"
        ) from error
    if "\0" in text:
        raise EncodingError("holds NUL bytes: not a text file")
    return text.replace("\r\n", "\n").replace("\r", "\n")
