"""What can be said of a corpus's reference texts alone: sizes, ratios, controls, rebuilding."""

import bz2
import lzma
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields

import brotli
import zstandard

from manifold_ocr.compression import lossless
from manifold_ocr.compression.archive import (
    Document,
    Manifold,
    build_document,
    order_width,
    rebuild,
    to_bytes,
)
from manifold_ocr.compression.fidelity import (
    Fidelity,
    PrototypeVerification,
    compare,
    gated,
    membership,
    micro_ned,
    pooled,
    random_text,
    shuffled_text,
)
from manifold_ocr.compression.signatures import Codec
from manifold_ocr.config import CompressConfig
from manifold_ocr.metrics.tokens import MetricTokenizer
from manifold_ocr.resources import progress


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
    def stored_ratio(self) -> float | None:
        """Original bytes over the bytes of the file that decodes (honest_bytes)."""
        return ratio(self.original_bytes, self.stored_bytes)


def ratio(before: float, after: float) -> float | None:
    """Return before / after, None where nothing was stored."""
    return before / after if after else None


def account(document: Document, config: Codec) -> Account:
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
    names = [item.name for item in fields(Account)]
    return Account(**{name: sum(getattr(item, name) for item in accounts) for name in names})


DICTIONARY_BYTES = 32768  # the reach of zlib; enough for page-sized texts

Compressor = Callable[[bytes], bytes]


def xz(data: bytes) -> bytes:
    """Return what `xz -9e` writes, with a dictionary that is no larger than the data needs.

    Its size is the same; but the 64 MiB of preset 9 take 40 ms to clear, page by page.
    """
    needed = max(1 << 16, 1 << len(data).bit_length())
    preset = 9 | lzma.PRESET_EXTREME
    filters = [{"id": lzma.FILTER_LZMA2, "preset": preset, "dict_size": min(needed, 1 << 26)}]
    return lzma.compress(data, filters=filters)


COMPRESSORS: Mapping[str, Compressor] = {
    "zlib -9": lambda data: zlib.compress(data, 9),
    "bzip2 -9": lambda data: bz2.compress(data, 9),
    "xz -9e": xz,
    "zstd -19": lambda data: zstandard.ZstdCompressor(level=19).compress(data),
    "brotli -11": lambda data: brotli.compress(data, quality=11),
    "PPMd": lossless.ppmd,
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


OURS = "ours, lossless"
SOLID = ("xz -9e", "zstd -19", "brotli -11", "PPMd")
OURS_WITH_SIGNATURES = "ours, lossless, signatures kept too"


@dataclass(frozen=True, slots=True)
class Text:
    """One page's text under a name."""

    id: str
    text: str

    @property
    def data(self) -> bytes:
        """UTF-8 bytes."""
        return self.text.encode("utf-8")


@dataclass(frozen=True, slots=True)
class Control:
    """The same measurements on texts that carry nothing, of the same lengths.

    `account` and `tokens` are of all pages, `sampled_bytes` and `lossless_bytes` (before and
    after the lossless mode) of the pages that the size table samples.
    """

    name: str
    account: Account
    tokens: int
    zlib_bytes: int
    sampled_bytes: int
    lossless_bytes: int

    @property
    def zlib_ratio(self) -> float | None:
        """Original bytes over zlib -9 bytes."""
        return ratio(self.account.original_bytes, self.zlib_bytes)

    @property
    def lossless_ratio(self) -> float | None:
        """Original bytes over bytes of the lossless mode."""
        return ratio(self.sampled_bytes, self.lossless_bytes)

    @property
    def tokens_unique(self) -> float | None:
        """Text tokens over unique signatures (compat)."""
        return ratio(self.tokens, self.account.signatures)


@dataclass(frozen=True, slots=True, kw_only=True)
class SizeTable:
    """Summed compressed sizes of the same pages, each page a file of its own.

    `sizes` maps a compressor to bytes; `solid` has the whole set in one archive;
    `dictionary_bytes` is what the dictionary variants need besides.
    """

    pages: int
    original_bytes: int
    sizes: dict[str, int]
    solid: dict[str, int]
    dictionary_bytes: int = 0
    wins: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TextCheck:
    """Everything measured on the reference texts of one corpus."""

    corpus: str
    account: Account
    short_pages: int
    tokens: int
    rebuilt: list[Fidelity] = field(repr=False)
    membership: PrototypeVerification
    gated: PrototypeVerification
    controls: list[Control]
    table: SizeTable
    documents: list[Document] = field(repr=False)

    @property
    def tokens_unique(self) -> float | None:
        """Text tokens over unique signatures (compat; a signature is no model input)."""
        return ratio(self.tokens, self.account.signatures)


def check_texts(
    corpus: str,
    texts: Sequence[Text],
    others: Sequence[str],
    config: CompressConfig,
    tokenizer: MetricTokenizer,
) -> TextCheck:
    """Measure the texts of one corpus; `others` are texts of other splits, for dictionaries."""
    codec = Codec.of(config)
    documents = [build_document(text.id, text.data, codec) for text in texts]
    rebuilt = [
        compare(text.text, rebuild(document, codec).decode("utf-8", "replace"), tokenizer)
        for text, document in zip(texts, documents, strict=True)
    ]
    data = [text.data for text in texts]
    return TextCheck(
        corpus=corpus,
        account=total([account(item, codec) for item in documents]),
        short_pages=sum(len(item) < codec.window for item in data),
        tokens=sum(item.tokens.n for item in rebuilt),
        rebuilt=rebuilt,
        membership=pooled(membership(documents)),
        gated=gated(data, documents, codec, config.hazard_percentile),
        controls=make_controls(texts, config, tokenizer),
        table=size_table(corpus, data, [text.encode("utf-8") for text in others], config),
        documents=documents,
    )


def make_controls(
    texts: Sequence[Text], config: CompressConfig, tokenizer: MetricTokenizer
) -> list[Control]:
    """Measure random text of the same lengths, and shuffled words."""
    random = [random_text(len(text.data), config.seed, text.id) for text in texts]
    shuffled = [shuffled_text(text.text, config.seed, text.id) for text in texts]
    return [
        _control("random text", random, config, tokenizer),
        _control("shuffled words", shuffled, config, tokenizer),
    ]


def _control(
    name: str, texts: Sequence[str], config: CompressConfig, tokenizer: MetricTokenizer
) -> Control:
    data = [text.encode("utf-8") for text in texts]
    codec = Codec.of(config)
    accounts = [account(build_document(name, item, codec), codec) for item in data]
    sample = sampled(data, config.lossless_pages)
    packed = [
        lossless.compress(item, effort=config.lossless)
        for item in progress(sample, f"lossless {name}", len(sample), "page")
    ]
    return Control(
        name=name,
        account=total(accounts),
        tokens=sum(len(item) for item in tokenizer.encode_batch(texts)),
        zlib_bytes=sum(page_sizes(data, COMPRESSORS["zlib -9"])),
        sampled_bytes=sum(map(len, sample)),
        lossless_bytes=sum(map(len, packed)),
    )


def sampled(data: Sequence[bytes], most: int) -> list[bytes]:
    """Return at most about `most` texts that are not empty, evenly spread; 0 is all."""
    step = max(1, len(data) // most) if most else 1
    return [item for item in data[::step] if item]


def size_table(
    corpus: str, data: Sequence[bytes], others: Sequence[bytes], config: CompressConfig
) -> SizeTable:
    """Compress an evenly spread sample of the pages with everything."""
    sample = sampled(data, config.lossless_pages)
    dictionary = dictionary_of(others)
    compressors = {**COMPRESSORS, **with_dictionary(dictionary)}
    found = {name: sum(page_sizes(sample, run)) for name, run in compressors.items()}
    packed = [
        build_document("", item, Codec.of(config), keep=config.lossless)
        for item in progress(sample, f"lossless {corpus}", len(sample), "page")
    ]
    ours = [len(item.packed or b"") for item in packed]
    empty = len(to_bytes(Manifold(Codec.of(config), ())))
    filed = sum(len(to_bytes(Manifold(Codec.of(config), (item,)))) - empty for item in packed)
    zstd = page_sizes(sample, COMPRESSORS["zstd -19"])
    joined = b"\x00".join(sample)
    return SizeTable(
        pages=len(sample),
        original_bytes=sum(map(len, sample)),
        sizes={**found, OURS: sum(ours), OURS_WITH_SIGNATURES: filed},
        solid={
            **{name: len(COMPRESSORS[name](joined)) for name in SOLID},
            OURS: len(lossless.compress(joined, effort=config.lossless)),
        },
        dictionary_bytes=len(dictionary),
        wins=sum(a < b for a, b in zip(ours, zstd, strict=True)),
    )


def text_values(items: Sequence[TextCheck]) -> dict[str, float | None]:
    """Pool the text figures of some corpora."""
    whole = total([item.account for item in items])
    rebuilt = [pair for item in items for pair in item.rebuilt]
    tokens = sum(item.tokens for item in items)
    original = sum(item.table.original_bytes for item in items)
    random = total([item.controls[0].account for item in items])
    shuffled = total([item.controls[1].account for item in items])
    values: dict[str, float | None] = {
        "pages": whole.documents,
        "pages_shorter_than_a_window": sum(item.short_pages for item in items),
        "bytes": whole.original_bytes,
        "windows": whole.windows,
        "signatures": whole.signatures,
        "signature_ratio": whole.signature_ratio,
        "stored_ratio_of_signatures": whole.stored_ratio,
        "stored_ratio": ratio(original, _sum(items, OURS)),
        "stored_ratio_with_signatures": ratio(original, _sum(items, OURS_WITH_SIGNATURES)),
        "random_stored_ratio": ratio(
            sum(item.controls[0].sampled_bytes for item in items),
            sum(item.controls[0].lossless_bytes for item in items),
        ),
        "random_signature_ratio": random.signature_ratio,
        "random_stored_ratio_of_signatures": random.stored_ratio,
        "shuffled_signature_ratio": shuffled.signature_ratio,
        "tokens": tokens,
        "tokens_per_unique_signature": ratio(tokens, whole.signatures),
        "random_tokens_per_unique_signature": ratio(
            sum(item.controls[0].tokens for item in items), random.signatures
        ),
        "tokens_per_window": ratio(tokens, whole.windows),
        "rebuilt_ned": micro_ned(pair.characters for pair in rebuilt),
        "rebuilt_token_accuracy": 1 - micro_ned(pair.tokens for pair in rebuilt),
        "pages_smaller_than_zstd": sum(item.table.wins for item in items),
    }
    for name in ("zlib -9", "xz -9e", "zstd -19", "brotli -11", "PPMd"):
        key = name.split()[0].lower()
        values[f"{key}_ratio"] = ratio(original, _sum(items, name))
    return values


def _sum(items: Iterable[TextCheck], name: str) -> int:
    return sum(item.table.sizes[name] for item in items)
