"""The manifold of a text, and manifold.bin, its form on disk.

Whatever is accepted is whole, consistent and canonical.

Version 1, integers little-endian unless said, "v" = LEB128 varint, "s" = v length + UTF-8:

    magic `MNFD`, version u8 = 1, precision u8, window u32, stride u32, documents v
    per document:
        id s, text length v, mode u8 (0 summary, 1 with window order, 2 with the text),
        entries v
        per entry: payload (9 bytes at precision 3): coherence, stability, entropy and mean
            hazard, each ceil(log2(10^precision+1)) bits, most significant first, zero
            padded to bytes; repetition count u32
        modes 0 and 1, per entry: bit changes v (fixes the mean hazard exactly)
        mode 1, window order: one entry number a window, ceil(log2(entries)) bits, padded
        modes 0 and 1, spans: min(text length, window) raw bytes per entry
        mode 2: length v and container (see `lossless`) of the text, from which the rest
            of the manifold follows
    BLAKE2b of everything before, 16 bytes

A reader checks the digest, then that every span or text has the signatures it is filed
under, that counts, bit changes and order agree, and that no byte is left over.

The older count charges `payload_bytes` for each signature that is unique within a document
and nothing for what decoding needs besides. Named here: `signature_ratio` (compat_bytes).
The honest count, `stored_ratio`, is the size of the manifold.bin that really decodes.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from manifold_ocr.compression import lossless
from manifold_ocr.compression.lossless import Reader, pack_bits, text_field, varint
from manifold_ocr.compression.signatures import (
    COUNT_BYTES,
    Codec,
    encode,
    quantize,
    unpack_code,
    window_starts,
)
from manifold_ocr.errors import UserError
from manifold_ocr.files import atomic_write

MAGIC = b"MNFD"
VERSION = 1
DIGEST_BYTES = 16
SUMMARY, ORDERED, TEXT = range(3)


@dataclass(frozen=True, slots=True)
class Entry:
    """A signature of one document.

    `count` windows have it; `flips` is the sum of their bit changes, which fixes the mean
    hazard exactly; `span` is the raw bytes of the first of them (the prototype).
    """

    code: int
    count: int
    flips: int
    span: bytes

    @property
    def hazard(self) -> float:
        """Mean hazard of the windows: bit changes over neighboring bit pairs."""
        return self.flips / (self.count * max(1, 8 * len(self.span) - 1))


@dataclass(frozen=True, slots=True)
class Document:
    """The manifold of one text of `length` bytes.

    `entries` stand in the order of first appearance; `order` names the entry of each window,
    or is None for a summary that cannot be decoded. `packed` is the text itself in a lossless
    container, where the archive keeps it: then `rebuild` is exact.
    """

    id: str
    length: int
    entries: tuple[Entry, ...]
    order: tuple[int, ...] | None
    packed: bytes | None = None

    @property
    def windows(self) -> int:
        """Number of windows."""
        return sum(entry.count for entry in self.entries)

    @property
    def codes(self) -> frozenset[int]:
        """The set of signatures."""
        return frozenset(entry.code for entry in self.entries)


@dataclass(frozen=True, slots=True)
class Manifold:
    """Documents encoded with one configuration: the content of a manifold.bin."""

    config: Codec
    documents: tuple[Document, ...]


def build_document(
    name: str, data: bytes, config: Codec, *, keep: lossless.Effort | None = None
) -> Document:
    """Return the decodable manifold of one text; `keep` stores the text with that effort."""
    windows = encode(data, config)
    starts = window_starts(len(data), config)
    size = min(len(data), config.window)
    places: dict[int, int] = {}
    order = [places.setdefault(code, len(places)) for code in windows.codes.tolist()]
    counts, flips, spans = [0] * len(places), [0] * len(places), [b""] * len(places)
    for start, place, flip in zip(starts, order, windows.flips.tolist(), strict=True):
        if not counts[place]:
            spans[place] = data[start : start + size]
        counts[place] += 1
        flips[place] += flip
    entries = (Entry(*row) for row in zip(places, counts, flips, spans, strict=True))
    packed = None if keep is None else lossless.compress(data, effort=keep)
    return Document(name, len(data), tuple(entries), tuple(order), packed)


def build(
    documents: Iterable[tuple[str, bytes]],
    config: Codec,
    *,
    keep: lossless.Effort | None = None,
) -> Manifold:
    """Return the manifold of (id, bytes) pairs, in the order given."""
    built = (build_document(name, data, config, keep=keep) for name, data in documents)
    return Manifold(config, tuple(built))


def rebuild(document: Document, config: Codec) -> bytes:
    """Return the text: exactly where it is kept, else what the prototypes give.

    Each window contributes the bytes of its prototype beyond those already written, which is
    right where no two windows share a signature.

    Raises:
        ValueError: the document is a summary without window order.
    """
    if document.packed is not None:
        return lossless.decompress(document.packed, name=document.id)
    if document.order is None:
        raise ValueError(f"{document.id}: a summary without window order cannot be rebuilt")
    text = bytearray()
    starts = window_starts(document.length, config)
    for start, place in zip(starts, document.order, strict=True):
        text += document.entries[place].span[len(text) - start :]
    return bytes(text)


def to_bytes(manifold: Manifold) -> bytes:
    """Return the file's bytes; equal manifolds give equal bytes."""
    config = manifold.config
    parts = [
        MAGIC,
        bytes([VERSION, config.precision]),
        config.window.to_bytes(4, "little"),
        config.stride.to_bytes(4, "little"),
        varint(len(manifold.documents)),
    ]
    parts += [_document_bytes(document, config) for document in manifold.documents]
    body = b"".join(parts)
    return body + _digest(body)


def from_bytes(data: bytes, name: str = "manifold") -> Manifold:
    """Return the manifold that `data` holds; `name` stands in messages.

    Raises:
        DamagedError: anything but the exact bytes that `to_bytes` gives.
    """
    body = data[:-DIGEST_BYTES]
    reader = Reader(body, name)
    if reader.take(4) != MAGIC:
        raise reader.damaged("it does not begin with MNFD")
    if (version := reader.integer(1)) != VERSION:
        raise reader.damaged(f"format version {version}, this program reads {VERSION}")
    if data[-DIGEST_BYTES:] != _digest(body):
        raise reader.damaged("the checksum does not match")
    precision, window, stride = reader.integer(1), reader.integer(4), reader.integer(4)
    try:
        config = Codec(window=window, stride=stride, precision=precision)
    except ValueError as error:
        raise reader.damaged(str(error)) from error
    number = reader.varint()
    if number > reader.left:
        raise reader.damaged(f"{number} documents in {reader.left} bytes")
    documents = tuple(_read_document(reader, config) for _ in range(number))
    reader.end()
    return Manifold(config, documents)


def save(path: Path | str, manifold: Manifold) -> int:
    """Write a manifold.bin atomically; return its size in bytes."""
    data = to_bytes(manifold)
    with atomic_write(path, "wb") as file:
        file.write(data)
    return len(data)


def load(path: Path | str) -> Manifold:
    """Read and check a manifold.bin.

    Raises:
        UserError: missing, damaged or of another version; names the file.
    """
    try:
        return from_bytes(Path(path).read_bytes(), str(path))
    except FileNotFoundError as error:
        raise UserError(
            f"{path}: no such file; build it with `manifold-ocr compress --build FOLDER -o {path}`"
        ) from error
    except OSError as error:
        raise UserError(f"{path}: could not be read ({error.strerror or error})") from error


def payload(entry: Entry, config: Codec) -> bytes:
    """Return the packed signature of an entry with its repetition count."""
    fields = [*unpack_code(entry.code, config), quantize(entry.hazard, config.precision)]
    return pack_bits(fields, config.field_bits) + entry.count.to_bytes(COUNT_BYTES, "little")


def order_width(entries: int) -> int:
    """Return the bits that tell `entries` entries apart."""
    return max(0, entries - 1).bit_length()


def _digest(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=DIGEST_BYTES).digest()


def _document_bytes(document: Document, config: Codec) -> bytes:
    entries, order, packed = document.entries, document.order, document.packed
    mode = TEXT if packed is not None else SUMMARY if order is None else ORDERED
    head = [
        text_field(document.id),
        varint(document.length),
        bytes([mode]),
        varint(len(entries)),
        *(payload(entry, config) for entry in entries),
    ]
    if packed is not None:
        return b"".join([*head, varint(len(packed)), packed])
    return b"".join(
        [
            *head,
            *(varint(entry.flips) for entry in entries),
            pack_bits(list(order or ()), order_width(len(entries))),
            *(entry.span for entry in entries),
        ]
    )


def _read_document(reader: Reader, config: Codec) -> Document:
    name, length, mode, number = (
        reader.text(),
        reader.varint(),
        reader.integer(1),
        reader.varint(),
    )
    if mode > TEXT:
        raise reader.damaged(f"unknown mode {mode}")
    size = min(length, config.window)
    least = config.payload_bytes + (1 + size) * (mode != TEXT)
    if number * least > reader.left or (number == 0) != (length == 0):
        raise reader.damaged(f"{number} signatures for {length} bytes of text")
    payloads = [reader.take(config.payload_bytes) for _ in range(number)]
    if mode == TEXT:
        return _read_text(reader, name, length, payloads, config)
    flips = [reader.varint() for _ in range(number)]
    order = None
    if mode == ORDERED:
        windows = sum(_count(item) for item in payloads)
        if windows != _window_count(length, config):
            raise reader.damaged("repetition counts do not add up to the windows of the text")
        order = tuple(reader.bits(windows, order_width(number)))
    spans = [reader.take(size) for _ in range(number)]
    document = Document(name, length, _entries(reader, payloads, flips, spans, config), order)
    _check(document, reader, config)
    return document


def _read_text(
    reader: Reader, name: str, length: int, payloads: list[bytes], config: Codec
) -> Document:
    packed = reader.take(reader.varint())
    text = lossless.decompress(packed, name=f"{reader.name}: {name}")
    document = replace(build_document(name, text, config), packed=packed)
    if len(text) != length or [payload(entry, config) for entry in document.entries] != payloads:
        raise reader.damaged("the signatures do not fit the text")
    return document


def _entries(
    reader: Reader, payloads: list[bytes], flips: list[int], spans: list[bytes], config: Codec
) -> tuple[Entry, ...]:
    """Build the entries from their spans and require the stored payloads to agree."""
    if not spans:
        return ()
    size = len(spans[0])
    whole = Codec(window=size, stride=size, precision=config.precision)
    windows = encode(b"".join(spans), whole)
    entries = []
    rows = zip(windows.codes.tolist(), windows.flips.tolist(), payloads, flips, spans, strict=True)
    for code, own_flips, packed, total, span in rows:
        entry = Entry(code, _count(packed), total, span)
        if entry.count == 0:
            raise reader.damaged("a signature is repeated 0 times")
        most = own_flips + (entry.count - 1) * (8 * size - 1)
        if not own_flips <= total <= most or (entry.count == 1 and total != own_flips):
            raise reader.damaged("bit changes do not fit the repetition count")
        if payload(entry, config) != packed:
            raise reader.damaged("a signature does not fit its prototype span")
        entries.append(entry)
    return tuple(entries)


def _check(document: Document, reader: Reader, config: Codec) -> None:
    """Require distinct signatures, all windows counted, and first appearances in order."""
    if len(document.codes) != len(document.entries):
        raise reader.damaged("a signature is listed twice")
    if document.windows != _window_count(document.length, config):
        raise reader.damaged("repetition counts do not add up to the windows of the text")
    if document.order is None:
        return
    seen = [0] * len(document.entries)
    highest = 0
    for place in document.order:
        if place > highest or place >= len(seen):
            raise reader.damaged("the window order names a signature before its first window")
        seen[place] += 1
        highest = max(highest, place + 1)
    if seen != [entry.count for entry in document.entries]:
        raise reader.damaged("the window order disagrees with the repetition counts")
    starts = window_starts(document.length, config)
    _check_overlaps(document, starts, reader)


def _check_overlaps(document: Document, starts: list[int], reader: Reader) -> None:
    """Windows that own their prototype must agree on the bytes they share."""
    order = document.order or ()
    first = {place: i for i, place in reversed(list(enumerate(order)))}
    for i in range(1, len(order)):
        if first[order[i]] == i and first[order[i - 1]] == i - 1:
            earlier = document.entries[order[i - 1]].span[starts[i] - starts[i - 1] :]
            if not document.entries[order[i]].span.startswith(earlier):
                raise reader.damaged("neighboring prototype spans disagree")


def _count(packed: bytes) -> int:
    return int.from_bytes(packed[-COUNT_BYTES:], "little")


def _window_count(length: int, config: Codec) -> int:
    if length == 0:
        return 0
    beyond = max(0, length - config.window)
    return beyond // config.stride + 1 + (beyond % config.stride > 0)
