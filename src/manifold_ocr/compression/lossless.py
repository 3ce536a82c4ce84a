"""Lossless texts: the smallest of several codings in a checked container, every byte counted.

Version 1 of the container:

    magic `ML`, version and method u8 (version * 16 + method), text length v (LEB128),
    primer BLAKE2b (4 bytes; methods with a primer only), coded text,
    BLAKE2b over the text and all of the above, 4 bytes

Methods: 0 stored; 1 zstd -19; 2 brotli -11; 3 context mixing (`mixing`); 4 context mixing of
the text transcoded to GB 18030, which spends two bytes on a Chinese character where UTF-8
spends three; 5 and 6 are 3 and 4 after the model has read a primer: text that encoder and
decoder both have, such as other pages of the same archive. Without a primer nothing but this
program is needed to decode: no dictionary is shipped, so there is none to leave uncounted.
"""

import codecs
import hashlib
from dataclasses import dataclass
from typing import Literal

import brotli
import zstandard

from manifold_ocr.compression import mixing
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
STORED, ZSTD, BROTLI, MIX, MIX_GB, PRIMED, PRIMED_GB = range(7)
GB_METHODS = (MIX_GB, PRIMED_GB)
PRIMED_METHODS = (PRIMED, PRIMED_GB)
MIX_LIMIT = 1 << 16  # bytes; beyond a page the model is too slow and library codecs do well
MIX_MOST_RATIO = 256  # output per coded byte above which a file is refused: bounds the work
LENGTH_LIMIT = 1 << 32
STEP = 1 << 16

Effort = Literal["fast", "best"]


@dataclass(frozen=True, slots=True)
class Primer:
    """Text that both sides have, read once by a model; `digest` names it in the container."""

    digest: bytes
    model: mixing.Model
    model_gb: mixing.Model

    @classmethod
    def of(cls, text: bytes) -> "Primer":
        """Let models read `text` (about 15 kB/s; a few kB are enough)."""
        plain, transcoded = mixing.Model(), mixing.Model()
        plain.learn(text)
        transcoded.learn(_to_gb(text) or text)
        return cls(_blake(text), plain, transcoded)


def compress(data: bytes, *, effort: Effort = "best", primer: Primer | None = None) -> bytes:
    """Return the smallest container of `data`.

    `fast` tries zstd and brotli; `best` adds context mixing up to 64 KiB (about 15 kB/s).
    With a primer the same primer is needed to decompress.
    """
    coded = {
        STORED: data,
        ZSTD: zstandard.ZstdCompressor(level=19, write_content_size=False).compress(data),
        BROTLI: bytes(brotli.compress(data, quality=11)),
    }
    if effort == "best" and 0 < len(data) <= MIX_LIMIT:
        coded.update(_mix(data, primer))
    method = min(coded, key=lambda key: (len(coded[key]) + 4 * (key in PRIMED_METHODS), key))
    head = MAGIC + bytes([VERSION << 4 | method]) + varint(len(data))
    if primer is not None and method in PRIMED_METHODS:
        head += primer.digest
    body = head + coded[method]
    return body + _blake(data, body)


def decompress(data: bytes, *, name: str = "text", primer: Primer | None = None) -> bytes:
    """Return the text of a container; `name` stands in messages.

    Raises:
        DamagedError: not exactly what `compress` wrote, or the primer is another.
    """
    reader = Reader(data[: -DIGEST_BYTES or None], name)
    if reader.take(2) != MAGIC:
        raise reader.damaged("it does not begin with ML")
    version, method = divmod(reader.integer(1), 16)
    if version != VERSION or method > PRIMED_GB:
        raise reader.damaged(f"version {version} method {method} is not known to this program")
    length = reader.varint()
    if length > LENGTH_LIMIT:
        raise reader.damaged(f"a text of {length} bytes")
    if method in PRIMED_METHODS:
        wanted = reader.take(DIGEST_BYTES)
        if primer is None or primer.digest != wanted:
            raise reader.damaged("it needs the primer it was made with, and this is not it")
    text = _decode(reader, method, length, reader.take(reader.left), primer)
    if len(text) != length or data[-DIGEST_BYTES:] != _blake(text, data[:-DIGEST_BYTES]):
        raise reader.damaged("the checksum does not match")
    return text


def _mix(data: bytes, primer: Primer | None) -> dict[int, bytes]:
    transcoded = _to_gb(data)
    if transcoded is None:
        model = mixing.Model() if primer is None else primer.model.copy()
        coded = {MIX if primer is None else PRIMED: mixing.encode(data, model)}
    else:
        model = mixing.Model() if primer is None else primer.model_gb.copy()
        coded = {MIX_GB if primer is None else PRIMED_GB: mixing.encode(transcoded, model)}
    return {key: item for key, item in coded.items() if len(data) <= MIX_MOST_RATIO * len(item)}


def _to_gb(data: bytes) -> bytes | None:
    """Return the text in GB 18030 where that is much shorter and comes back exactly."""
    try:
        transcoded = data.decode("utf-8").encode("gb18030")
        same = transcoded.decode("gb18030").encode("utf-8") == data
    except UnicodeError:
        return None
    return transcoded if same and len(transcoded) < 0.9 * len(data) else None


def _decode(reader: Reader, method: int, length: int, coded: bytes, primer: Primer | None) -> bytes:
    try:
        if method == STORED:
            return coded
        if method == ZSTD:
            return _unzstd(coded, length)
        if method == BROTLI:
            return _unbrotli(coded, length)
    except (zstandard.ZstdError, brotli.error) as error:
        raise reader.damaged(str(error)) from error
    return _unmix(reader, method, length, coded, primer)


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


def _unmix(reader: Reader, method: int, length: int, coded: bytes, primer: Primer | None) -> bytes:
    gb = method in GB_METHODS
    if length > min(MIX_LIMIT, MIX_MOST_RATIO * len(coded)):
        raise reader.damaged(f"{length} bytes of text promised by {len(coded)} bytes")
    if method in PRIMED_METHODS and primer is not None:
        model = (primer.model_gb if gb else primer.model).copy()
    else:
        model = mixing.Model()
    if not gb:
        return mixing.decode(coded, length, model)
    return _decode_gb(reader, coded, length, model)


def _decode_gb(reader: Reader, coded: bytes, length: int, model: mixing.Model) -> bytes:
    """Decode characters until their UTF-8 form has the promised length."""
    decoder, text, size = codecs.getincrementaldecoder("gb18030")(), [], 0
    source = mixing.Decoder(coded, model)
    try:
        while size < length:
            char = decoder.decode(bytes([source.byte()]))
            text.append(char)
            size += len(char.encode("utf-8"))
    except UnicodeError as error:
        raise reader.damaged("the text is not GB 18030") from error
    return "".join(text).encode("utf-8")


def _blake(*parts: bytes) -> bytes:
    digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
    for part in parts:
        digest.update(part)
    return digest.digest()


__all__ = ["DamagedError", "Primer", "compress", "decompress"]
