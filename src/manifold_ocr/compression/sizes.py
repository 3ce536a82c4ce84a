"""General compressors on the same texts: what signatures have to be compared with."""

import bz2
import lzma
import zlib
from collections.abc import Callable, Mapping, Sequence

import brotli
import pyppmd
import zstandard

DICTIONARY_BYTES = 32768  # the reach of zlib; enough for page-sized texts
PPMD_ORDER = 5
PPMD_MEMORY = 1 << 24

Compressor = Callable[[bytes], bytes]

COMPRESSORS: Mapping[str, Compressor] = {
    "zlib -9": lambda data: zlib.compress(data, 9),
    "bzip2 -9": lambda data: bz2.compress(data, 9),
    "xz -9e": lambda data: lzma.compress(data, preset=9 | lzma.PRESET_EXTREME),
    "zstd -19": lambda data: zstandard.ZstdCompressor(level=19).compress(data),
    "brotli -11": lambda data: brotli.compress(data, quality=11),
    "PPMd": lambda data: pyppmd.compress(
        data, max_order=PPMD_ORDER, mem_size=PPMD_MEMORY, variant="H"
    ),
}


def page_sizes(texts: Sequence[bytes], compressor: Compressor) -> list[int]:
    """Return the compressed size of each text as a file of its own."""
    return [len(compressor(text)) for text in texts]


def dictionary_of(texts: Sequence[bytes]) -> bytes:
    """Return a raw dictionary: the end of other texts, at most `DICTIONARY_BYTES`."""
    return b"\n".join(texts)[-DICTIONARY_BYTES:]


def zlib_with(dictionary: bytes) -> Compressor:
    """Return zlib -9 with a preset dictionary."""

    def compress(data: bytes) -> bytes:
        encoder = zlib.compressobj(9, zdict=dictionary)
        return encoder.compress(data) + encoder.flush()

    return compress


def zstd_with(dictionary: bytes) -> Compressor:
    """Return zstd -19 with a raw-content dictionary."""
    content = zstandard.ZstdCompressionDict(dictionary, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
    encoder = zstandard.ZstdCompressor(level=19, dict_data=content)
    return encoder.compress


def with_dictionary(dictionary: bytes) -> dict[str, Compressor]:
    """Return the compressors that take a preset dictionary (xz and PPMd as bound here do not)."""
    if not dictionary:
        return {}
    return {
        "zlib -9 + dictionary": zlib_with(dictionary),
        "zstd -19 + dictionary": zstd_with(dictionary),
    }
