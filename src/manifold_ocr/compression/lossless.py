"""Lossless texts: the smallest of several codings in a checked container, every byte counted.

Version 1 of the container:

    magic `ML`, version and method u8 (version * 16 + method), text length v (LEB128),
    coded text, BLAKE2b over the text and all of the above, 4 bytes

Methods: 0 stored; 1 zstd -19; 2 brotli -11; 7 PPMd (variant H); 8 PPMd of the text transcoded
to GB 18030, which spends two bytes on a Chinese character where UTF-8 spends three. Nothing but
this program is needed to decode: no dictionary is shipped, so there is none to leave uncounted.
(A dictionary trained for one page and stored with it never made that page smaller: it holds at
least what it saves.) Methods 3 to 6 were a context mixer of our own, which is gone.
"""

import hashlib
from typing import Literal

import brotli
import pyppmd
import zstandard

from manifold_ocr.errors import UserError


class DamagedError(UserError):
    """Bytes that are not a whole, unaltered file of the expected format."""


class Reader:
    """Reads a byte string front to back; every overrun is a `DamagedError`."""

    def __init__(self, data: bytes, name: str) -> None:
        self.data, self.name, self.position = data, name, 0

    def take(self, count: int) -> bytes:
        """Return the next `count` bytes."""
        if count < 0 or count > len(self.data) - self.position:
            raise self.damaged(f"{count} bytes wanted, {self.left} left")
        self.position += count
        return self.data[self.position - count : self.position]

    def integer(self, size: int) -> int:
        """Return the next little-endian unsigned integer of `size` bytes."""
        return int.from_bytes(self.take(size), "little")

    def varint(self) -> int:
        """Return the next LEB128 integer (at most 63 bits); padded encodings are refused."""
        value = 0
        for shift in range(0, 63, 7):
            byte = self.take(1)[0]
            value |= (byte & 127) << shift
            if byte < 128:
                if byte == 0 and shift:
                    raise self.damaged("an integer is padded with zeros")
                return value
        raise self.damaged("an integer is longer than 63 bits")

    def text(self) -> str:
        """Return the next length-prefixed UTF-8 string."""
        try:
            return self.take(self.varint()).decode("utf-8")
        except UnicodeDecodeError as error:
            raise self.damaged(f"a name is not UTF-8 ({error.reason})") from error

    def bits(self, count: int, width: int) -> list[int]:
        """Return `count` integers of `width` bits, most significant bit first; spare bits 0."""
        size = (count * width + 7) // 8
        packed = self.take(size)
        spare = 8 * size - count * width
        if packed and packed[-1] & ((1 << spare) - 1):
            raise self.damaged("spare bits are not zero")
        return _unpack(packed, count, width)

    def end(self) -> None:
        """Require that nothing is left."""
        if self.left:
            raise self.damaged(f"{self.left} bytes follow the end")

    @property
    def left(self) -> int:
        """Bytes not yet read."""
        return len(self.data) - self.position

    def damaged(self, problem: str) -> DamagedError:
        """Return the error to raise for `problem` at the present position."""
        return DamagedError(
            f"{self.name}: damaged or not written by this program "
            f"(byte {self.position}: {problem}); copy or build the file again"
        )


def varint(value: int) -> bytes:
    """Return the LEB128 bytes of a non-negative integer below 2^63."""
    if not 0 <= value < 1 << 63:
        raise ValueError(f"a varint holds 0 to 2^63-1, not {value}")
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def text_field(value: str) -> bytes:
    """Return a length-prefixed UTF-8 string."""
    data = value.encode("utf-8")
    return varint(len(data)) + data


def pack_bits(values: list[int], width: int) -> bytes:
    """Return integers of `width` bits side by side, most significant first, zero padded."""
    if width == 0:
        return b""
    text = "".join(f"{value:0{width}b}" for value in values)
    text += "0" * (-len(text) % 8)
    return int(text, 2).to_bytes(len(text) // 8, "big") if text else b""


def _unpack(packed: bytes, count: int, width: int) -> list[int]:
    if width == 0:
        return [0] * count
    text = "".join(f"{byte:08b}" for byte in packed)
    return [int(text[i * width : (i + 1) * width], 2) for i in range(count)]


MAGIC = b"ML"
VERSION = 1
DIGEST_BYTES = 4
STORED, ZSTD, BROTLI, PPMD, PPMD_GB = 0, 1, 2, 7, 8
MIXING = (3, 4, 5, 6)  # methods of earlier releases
LENGTH_LIMIT = 1 << 32
STEP = 1 << 16
PPMD_LIMIT = 1 << 20  # bytes of text; bounds the work that a damaged length can ask for
PPMD_ORDER = 5
PPMD_MEMORY = 1 << 24
# A decoder that runs out of input waits for more and dies on exit, so that a damaged file could
# crash the program. Zeros behind the input prevent it: a symbol takes at most one code and one
# escape an order, each below 14 bits.
PPMD_SPARE = (PPMD_ORDER + 1) * 2

Effort = Literal["fast", "best"]


def compress(data: bytes, *, effort: Effort = "best") -> bytes:
    """Return the smallest container of `data`: `fast` tries zstd and brotli, `best` PPMd too."""
    coded = {
        STORED: data,
        ZSTD: zstandard.ZstdCompressor(level=19, write_content_size=False).compress(data),
        BROTLI: bytes(brotli.compress(data, quality=11)),
    }
    if effort == "best" and 0 < len(data) <= PPMD_LIMIT:
        coded[PPMD] = ppmd(data)
        if (transcoded := _to_gb(data)) is not None:
            coded[PPMD_GB] = varint(len(transcoded)) + ppmd(transcoded)
    method = min(coded, key=lambda key: (len(coded[key]), key))
    body = MAGIC + bytes([VERSION << 4 | method]) + varint(len(data)) + coded[method]
    return body + _blake(data, body)


def ppmd(data: bytes) -> bytes:
    """Return the PPMd coding of `data`, without length or end mark."""
    coded: bytes = pyppmd.compress(data, max_order=PPMD_ORDER, mem_size=PPMD_MEMORY, variant="H")
    return coded


def decompress(data: bytes, *, name: str = "text") -> bytes:
    """Return the text of a container; `name` stands in messages.

    Raises:
        DamagedError: not exactly what `compress` wrote, or coded by a method that is gone.
    """
    reader = Reader(data[: -DIGEST_BYTES or None], name)
    if reader.take(2) != MAGIC:
        raise reader.damaged("it does not begin with ML")
    version, method = divmod(reader.integer(1), 16)
    if version == VERSION and method in MIXING:
        raise DamagedError(
            f"{name}: coded by context mixing (method {method}), which this release no longer "
            "reads; build the archive again from its texts with `manifold-ocr compress --build`"
        )
    if version != VERSION or method not in (STORED, ZSTD, BROTLI, PPMD, PPMD_GB):
        raise reader.damaged(f"version {version} method {method} is not known to this program")
    length = reader.varint()
    if length > LENGTH_LIMIT:
        raise reader.damaged(f"a text of {length} bytes")
    text = _decode(reader, method, length, reader.take(reader.left))
    if len(text) != length or data[-DIGEST_BYTES:] != _blake(text, data[:-DIGEST_BYTES]):
        raise reader.damaged("the checksum does not match")
    return text


def _to_gb(data: bytes) -> bytes | None:
    """Return the text in GB 18030 where that is much shorter and comes back exactly."""
    try:
        transcoded = data.decode("utf-8").encode("gb18030")
        same = transcoded.decode("gb18030").encode("utf-8") == data
    except UnicodeError:
        return None
    return transcoded if same and len(transcoded) < 0.9 * len(data) else None


def _decode(reader: Reader, method: int, length: int, coded: bytes) -> bytes:
    try:
        if method == STORED:
            return coded
        if method == ZSTD:
            return _unzstd(coded, length)
        if method == BROTLI:
            return _unbrotli(coded, length)
    except (zstandard.ZstdError, brotli.error) as error:
        raise reader.damaged(str(error)) from error
    if length > PPMD_LIMIT:
        raise reader.damaged(f"{length} bytes of text promised, PPMd holds at most {PPMD_LIMIT}")
    return _unppmd(reader, coded, length, gb=method == PPMD_GB)


def _unzstd(coded: bytes, length: int) -> bytes:
    """Decompress piece by piece: a promised length is never allocated before it is there."""
    out = bytearray()
    with zstandard.ZstdDecompressor().stream_reader(coded) as reader:
        while len(out) <= length and (piece := reader.read(STEP)):
            out += piece
    return bytes(out)


def _unbrotli(coded: bytes, length: int) -> bytes:
    """Decompress without ever holding more than one step beyond the promised length."""
    decoder, out = brotli.Decompressor(), bytearray()
    out += decoder.process(coded, output_buffer_limit=STEP)
    while not decoder.is_finished() and len(out) <= length:
        piece = decoder.process(b"", output_buffer_limit=STEP)
        if not piece:
            break
        out += piece
    return bytes(out) if decoder.is_finished() else b""


def _unppmd(reader: Reader, coded: bytes, length: int, *, gb: bool) -> bytes:
    """Decode; of a transcoded text the length in GB 18030 stands before it."""
    wanted = length
    if gb:
        inner = Reader(coded, reader.name)
        wanted, coded = inner.varint(), inner.data[inner.position :]
        if wanted > length:
            raise reader.damaged("a transcoded text that is longer than the text")
    if not wanted:
        return b""
    padded = coded + bytes(PPMD_SPARE * wanted + 64)
    try:
        text: bytes = pyppmd.Ppmd7Decoder(PPMD_ORDER, PPMD_MEMORY).decode(padded, wanted)
        return text.decode("gb18030").encode("utf-8") if gb else text
    except (ValueError, SystemError, pyppmd.PpmdError) as error:  # UnicodeError is a ValueError
        raise reader.damaged("the PPMd coding is broken") from error


def _blake(*parts: bytes) -> bytes:
    digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
    for part in parts:
        digest.update(part)
    return digest.digest()
