"""What signatures cost: the prototype's count of bytes beside the honest one.

The older count charges `payload_bytes` for each signature that is unique within a document
and nothing for what decoding needs besides. Named here: `signature_ratio` (compat_bytes).
The honest count, `stored_ratio`, is the size of the manifold.bin that really decodes.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from manifold_ocr.codec import CodecConfig
from manifold_ocr.compression.manifold import Document, Manifold
from manifold_ocr.compression.manifold_file import order_width, to_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Sizes of one document or the sum over many, in bytes unless said.

    `signature_bytes` is the prototype's count, `span_bytes` the raw prototypes and
    `order_bits` the window order that decoding needs besides; `stored_bytes` is the part
    of a manifold.bin that the documents take, everything included.
    """

    documents: int
    windows: int
    signatures: int
    original_bytes: int
    signature_bytes: int
    span_bytes: int
    order_bits: int
    stored_bytes: int

    @property
    def signature_ratio(self) -> float | None:
        """Original bytes over the prototype's count of signature bytes (compat_bytes)."""
        return ratio(self.original_bytes, self.signature_bytes)

    @property
    def decodable_bytes(self) -> int:
        """Signatures, raw spans and window order: the least that the scheme needs to decode."""
        return self.signature_bytes + self.span_bytes + math.ceil(self.order_bits / 8)

    @property
    def decodable_ratio(self) -> float | None:
        """Original bytes over `decodable_bytes`."""
        return ratio(self.original_bytes, self.decodable_bytes)

    @property
    def stored_ratio(self) -> float | None:
        """Original bytes over the bytes of the file that decodes (honest_bytes)."""
        return ratio(self.original_bytes, self.stored_bytes)


def ratio(before: float, after: float) -> float | None:
    """Return before / after, None where nothing was stored."""
    return before / after if after else None


def account(document: Document, config: CodecConfig) -> Account:
    """Count one document.

    Raises:
        ValueError: the document has no window order, so it could not be decoded.
    """
    if document.order is None:
        raise ValueError(f"{document.id}: a summary cannot be decoded, so it has no honest size")
    empty = len(to_bytes(Manifold(config, ())))
    return Account(
        documents=1,
        windows=document.windows,
        signatures=len(document.entries),
        original_bytes=document.length,
        signature_bytes=config.payload_bytes * len(document.entries),
        span_bytes=sum(len(entry.span) for entry in document.entries),
        order_bits=document.windows * order_width(len(document.entries)),
        stored_bytes=len(to_bytes(Manifold(config, (document,)))) - empty,
    )


def total(accounts: Sequence[Account]) -> Account:
    """Return the sum of accounts."""
    return Account(
        **{
            name: sum(getattr(item, name) for item in accounts)
            for name in (
                "documents",
                "windows",
                "signatures",
                "original_bytes",
                "signature_bytes",
                "span_bytes",
                "order_bits",
                "stored_bytes",
            )
        }
    )


def shared_signatures(documents: Sequence[Document]) -> int:
    """Return how many distinct signatures occur in more than one document."""
    seen: dict[int, int] = {}
    for document in documents:
        for code in document.codes:
            seen[code] = seen.get(code, 0) + 1
    return sum(count > 1 for count in seen.values())
