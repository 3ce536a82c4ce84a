"""What became of one stretch of a corpus: finished rows, leak units, rejections, counts.

It is kept between builds as bytes, so that an unchanged stretch costs a look-up: a JSON
header, then the blobs that it measures, compressed with a checksum.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import orjson
import xxhash
import zstandard

from manifold_ocr.manifest.image_cache import ImageFacts
from manifold_ocr.manifest.runs import KEYS
from manifold_ocr.manifest.units import UNIT
from manifold_ocr.records import Rejection

GroupKey = tuple[str, str, str, str, str]  # subset, language, licence, granularity, task


@dataclass
class Collected:
    """The outcome of one stretch.

    `rows` are `id NUL JSON` without line end, by split, with one packed `KEYS` record each
    in `keys`; a record's group is a place in `groups`. `units` are packed `UNIT` records
    whose offsets point into `texts`. `images` are those that were looked up, in order.
    """

    rows: dict[str, list[bytes]] = field(default_factory=dict)
    keys: dict[str, bytes] = field(default_factory=dict)
    groups: list[GroupKey] = field(default_factory=list)
    units: bytes = b""
    texts: bytes = b""
    rejections: list[Rejection] = field(default_factory=list)
    filtered: Counter[str] = field(default_factory=Counter)
    images: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Stored:
    """A stretch as it was kept, and what must still hold for it to be used again."""

    header: dict[str, Any]
    blobs: memoryview

    @property
    def images(self) -> list[str]:
        """Return the images whose facts the outcome depends on."""
        images: list[str] = self.header["images"]
        return images

    def holds(self, facts: str, first_line: int) -> bool:
        """Say whether the images are as they were, and rejections still name their lines."""
        moved = self.header["rejections"] and self.header["first_line"] != first_line
        return self.header["facts"] == facts and not moved

    def collected(self) -> Collected:
        """Return the outcome."""
        header, blobs, position = self.header, self.blobs, 0

        def take(size: int) -> bytes:
            nonlocal position
            position += size
            return bytes(blobs[position - size : position])

        found = Collected(
            groups=[tuple(group) for group in header["groups"]],
            rejections=[Rejection(**row) for row in header["rejections"]],
            filtered=Counter(header["filtered"]),
            images=header["images"],
        )
        for split, rows, size in header["splits"]:
            found.rows[split] = take(size).split(b"\n")
            found.keys[split] = take(rows * KEYS.itemsize)
        found.units = take(header["units"] * UNIT.itemsize)
        found.texts = take(header["texts"])
        return found


def facts_digest(facts: Iterable[ImageFacts]) -> str:
    """Return one hash over all that is known of some images."""
    digest = xxhash.xxh3_128()
    for known in facts:
        digest.update(f"{known.width} {known.height} {known.problem}\0".encode())
        digest.update(known.sha256 + known.descriptor)
    return digest.hexdigest()


def pack(found: Collected, facts: str, first_line: int) -> bytes:
    """Return the bytes that `unpack` reads."""
    splits = {split: b"\n".join(rows) for split, rows in found.rows.items()}
    header = {
        "images": found.images,
        "facts": facts,
        "first_line": first_line,
        "groups": found.groups,
        "rejections": found.rejections,
        "filtered": found.filtered,
        "splits": [[name, len(found.rows[name]), len(blob)] for name, blob in splits.items()],
        "units": len(found.units) // UNIT.itemsize,
        "texts": len(found.texts),
    }
    parts = [orjson.dumps(header), b"\n"]
    for name, blob in splits.items():
        parts += [blob, found.keys[name]]
    compressor = zstandard.ZstdCompressor(level=1, write_checksum=True)
    return compressor.compress(b"".join([*parts, found.units, found.texts]))


def unpack(value: bytes) -> Stored | None:
    """Return a stored stretch, or None where its bytes are damaged."""
    try:
        content = zstandard.ZstdDecompressor().decompress(value)
    except zstandard.ZstdError:
        return None
    header, _, _ = content.partition(b"\n")
    return Stored(orjson.loads(header), memoryview(content)[len(header) + 1 :])
