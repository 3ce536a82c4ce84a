"""The report's sections on sizes and on the controls beside them."""

from collections.abc import Sequence

from manifold_ocr.compression.accounting import ratio
from manifold_ocr.compression.check import Check
from manifold_ocr.compression.tables import table, times
from manifold_ocr.compression.text_check import OURS, TextCheck


def sizes_section(check: Check) -> str:
    """Return every page stored as a file of its own, and all in one archive."""
    names = list(dict.fromkeys(name for item in check.texts for name in item.table.sizes))
    rows: list[list[str]] = [
        [
            "signatures, as the older report counts them",
            *(times(item.account.signature_ratio) for item in check.texts),
        ],
        [
            "signatures, with all that decoding needs",
            *(times(item.account.stored_ratio) for item in check.texts),
        ],
    ]
    for name in names:
        cells = [
            times(ratio(item.table.original_bytes, item.table.sizes.get(name, 0)))
            for item in check.texts
        ]
        rows.append([f"**{name}**" if name == OURS else name, *cells])
        if name == "zstd -19 + dictionary":
            counted = [times(_with_dictionary(item, name)) for item in check.texts]
            rows.append([f"{name}, counted once", *counted])
    wins = "; ".join(
        f"{item.corpus} {item.table.wins} of {item.table.pages}" for item in check.texts
    )
    solid = [
        [
            name,
            *(
                times(ratio(item.table.original_bytes, item.table.solid[name]))
                for item in check.texts
            ),
        ]
        for name in check.texts[0].table.solid
    ]
    return f"""## How small

Original bytes over stored bytes, each page stored as a file of its own (higher is smaller).
{_sampled(check.texts)}

{table(["stored as", *(item.corpus for item in check.texts)], rows)}

*Ours* and the general compressors give the text back exactly; the first two rows do not. *Ours*
counts every byte of its files, checksum included; it ships no dictionary and needs nothing
but this program to read them (brotli has a dictionary of 122 kB built in, which no row counts).
*Signatures kept too* is a manifold.bin that can be searched without decoding and still gives
every text back. Pages on which ours is smaller than `zstd -19`: {wins}. The dictionaries of
the `+ dictionary` rows (32 kB) are made from other splits of the corpus; they are counted only in
the row that says so (n/a: the corpus has no other split).

All pages in one archive, for comparison:

{table(["one archive", *(item.corpus for item in check.texts)], solid)}"""


def _with_dictionary(item: TextCheck, name: str) -> float | None:
    if name not in item.table.sizes:
        return None
    return ratio(item.table.original_bytes, item.table.sizes[name] + item.table.dictionary_bytes)


def _sampled(items: Sequence[TextCheck]) -> str:
    cut = [item for item in items if item.table.pages < item.account.documents]
    if not cut:
        return "All pages are measured."
    listed = ", ".join(
        f"{item.corpus} {item.table.pages} of {item.account.documents}" for item in cut
    )
    return f"The compressors are measured on an evenly spread sample of pages: {listed}."


def control_section(check: Check) -> str:
    """Return the same figures for random and for shuffled text."""
    rows = []
    for item in check.texts:
        known = item.account
        zlib = ratio(item.table.original_bytes, item.table.sizes["zlib -9"])
        ours = ratio(item.table.original_bytes, item.table.sizes[OURS])
        values = [known.signature_ratio, item.tokens_unique, known.stored_ratio, zlib, ours]
        rows.append([item.corpus, "the documents", *map(times, values)])
        for control in item.controls:
            known = control.account
            values = [known.signature_ratio, control.tokens_unique, known.stored_ratio]
            values += [control.zlib_ratio, control.lossless_ratio]
            rows.append([item.corpus, control.name, *map(times, values)])
    codec = check.config.codec
    limit = codec.stride / codec.payload_bytes
    headings = [
        "corpus", "text", "signature ratio", "text tokens per signature",
        "signatures, all bytes counted", "zlib -9", "ours, lossless",
    ]  # fmt: skip
    return f"""## What the signature ratio does not prove

The same figures for random characters and for shuffled words of the same lengths (to read: a
figure that is as good for random text says nothing about the documents):

{table(headings, rows)}

Noise "compresses" into signatures as well as the documents, and better when counted in tokens:
neither ratio says anything about the text, while a real compressor tells them apart. The signature
ratio is {codec.payload_bytes} bytes a distinct signature against one window every {codec.stride}
bytes, which tends to {limit:.1f}x while all signatures differ, whatever the text; shorter texts
give less, and more than that means that different windows share a signature and come back as the
wrong text. With the raw spans that decoding copies counted
too, pages of documents and of noise expand (below 1x), unless that many windows are confused
with one another."""
