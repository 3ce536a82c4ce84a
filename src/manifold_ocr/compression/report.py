"""The compression report in Markdown, written for a reader who has not seen the code."""

from collections.abc import Iterable, Mapping, Sequence

from manifold_ocr.compression import efficiency, optical
from manifold_ocr.compression.accounting import ratio, total
from manifold_ocr.compression.check import Check
from manifold_ocr.compression.efficiency import Cost
from manifold_ocr.compression.fidelity import lcs_scores, micro_ned
from manifold_ocr.compression.report_parts import gates_section, verification_section
from manifold_ocr.compression.tables import percent, table, times, whole
from manifold_ocr.compression.text_check import OURS, TextCheck


def markdown(check: Check, costs: Mapping[str, Cost] | None = None, baseline: str = "") -> str:
    """Return the whole report; `costs` of the systems a page join the last table.

    Without `costs` it holds no clock and is the same on every machine.
    """
    sections = [
        "# Compression check",
        _opening(check),
        gates_section(check),
        _sizes_section(check),
        _control_section(check),
        _fidelity_section(check),
        verification_section(check),
        _optical_section(check, costs, baseline),
        _terms(check),
    ]
    return "\n\n".join(section.strip() for section in sections if section) + "\n"


def _opening(check: Check) -> str:
    account = total([item.account for item in check.texts])
    lines = [
        "How small do the texts of these documents become, how faithful is what was read on "
        "them, and can a reading be checked against the archive? One text is one page.",
        "",
        f"- {account.documents:,} pages, {account.original_bytes:,} bytes of reference text, "
        f"corpora: {', '.join(item.corpus for item in check.texts)}.",
        f"- Systems judged: {', '.join(check.systems) or 'none (reference texts only)'}; "
        "the gates judge the first.",
        f"- Tokens are counted with {check.tokenizer}.",
    ]
    for name, pages in check.pages.items():
        lines.append(
            f"- {name}: {len(pages.pages):,} pages; left out {pages.other_task:,} rows of other "
            f"tasks and {pages.covered_by_page_row:,} rows that another row of the same page "
            f"covers; {pages.unread:,} rows without an answer count as read empty."
        )
    return "\n".join(lines)


def _sizes_section(check: Check) -> str:
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
    counted = [times(_with_dictionary(item, "zstd -19 + dictionary")) for item in check.texts]
    rows.append(["zstd -19 + dictionary, dictionary counted once", *counted])
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

*Ours* and the general compressors give the text back exactly; the two first rows do not. *Ours*
counts every byte of its files, checksum included; it ships no dictionary and needs nothing
but this program to read them (brotli has a dictionary of 122 kB built in, which no row counts).
*Signatures kept too* is a manifold.bin that can be searched without decoding and still gives
every text back. Pages on which ours is smaller than `zstd -19`: {wins}. The dictionaries of
the `+ dictionary` rows are made from other splits of the corpus and are not counted there.

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


def _control_section(check: Check) -> str:
    rows = []
    for item in check.texts:
        rows.append(
            [
                item.corpus,
                "the documents",
                times(item.account.signature_ratio),
                times(item.account.stored_ratio),
                times(ratio(item.table.original_bytes, item.table.sizes["zlib -9"])),
            ]
        )
        rows += [
            [
                item.corpus,
                control.name,
                times(control.account.signature_ratio),
                times(control.account.stored_ratio),
                times(control.zlib_ratio),
            ]
            for control in item.controls
        ]
    codec = check.config.codec
    limit = codec.stride / codec.payload_bytes
    headings = ["corpus", "text", "signature ratio", "with all bytes counted", "zlib -9"]
    return f"""## What the signature ratio does not prove

The same figures for random characters and for shuffled words of the same lengths:

{table(headings, rows)}

Noise "compresses" as well as the documents, so the signature ratio says nothing about the
text. It is {codec.payload_bytes} bytes a distinct signature against one window every
{codec.stride} bytes, which tends to {limit:.1f}x while all signatures differ, whatever the
text; shorter texts give less, and more than that means that different windows share a
signature and come back as the wrong text. With the raw spans that decoding copies counted
too, pages of documents and of noise expand (below 1x), unless that many windows are confused
with one another."""


def _fidelity_section(check: Check) -> str:
    rows = []
    for item in check.texts:
        rows.append(_fidelity_row("rebuilt from signatures", item.corpus, item.rebuilt))
    for name, items in check.systems.items():
        rows += [_fidelity_row(f"read by {name}", item.corpus, item.fidelity) for item in items]
    headings = [
        "text",
        "corpus",
        "pages",
        "NED",
        "token accuracy",
        "token P",
        "token R",
        "token F1",
    ]
    return f"""## How faithful

Against the reference text, raw characters, pages pooled. NED (normalised edit distance) is
edits over the longer of both texts, 0 is equal. Token accuracy is 1 - NED over tokens;
precision, recall and F1 count tokens that both texts hold in the same order.

{table(headings, rows)}

"Rebuilt from signatures" copies the raw prototype spans back: what is lost there are windows
that share a signature with an earlier one."""


def _fidelity_row(name: str, corpus: str, pairs: Iterable[object]) -> list[str]:
    items = list(pairs)
    characters = [item.characters for item in items]  # type: ignore[attr-defined]
    tokens = [item.tokens for item in items]  # type: ignore[attr-defined]
    precision, recall, f1 = lcs_scores(tokens)
    return [
        name,
        corpus,
        whole(len(items)),
        percent(micro_ned(characters)),
        percent(1 - micro_ned(tokens)),
        percent(precision),
        percent(recall),
        percent(f1),
    ]


def _optical_section(check: Check, costs: Mapping[str, Cost] | None, baseline: str) -> str:
    parts = ["## Vision tokens"]
    parts.append(
        "Text tokens of the reference over the positions that the decoder was fed for the "
        "page's images, by text length; precision counts tokens read that the reference holds "
        "in the same order."
    )
    measured = {
        name: [p for s in items for p in s.optical] for name, items in check.systems.items()
    }
    for name, pages in measured.items():
        if not pages:
            parts.append(f"{name}: not applicable, its predictions carry no `vision_tokens`.")
            continue
        buckets = [*optical.bucket_pages(pages), optical.pool("all", pages)]
        parts.append(table(BUCKET_HEADINGS, [_bucket_row(name, item) for item in buckets]))
    parts.append(_reference_tables())
    compared = efficiency.compare(check, costs or {}, baseline)
    parts.append(efficiency.section(compared, with_costs=costs is not None))
    return "\n\n".join(part for part in parts if part)


BUCKET_HEADINGS = [
    "system", "text tokens", "pages", "text tokens/page", "vision tokens/page", "ratio",
    "precision", "F1", "1 - NED",
]  # fmt: skip


def _bucket_row(name: str, item: optical.Bucket) -> list[str]:
    return [
        name,
        item.label,
        whole(item.pages),
        f"{item.text_tokens / item.pages:.0f}",
        f"{item.vision_tokens / item.pages:.0f}",
        times(item.ratio),
        percent(item.precision),
        percent(item.f1),
        percent(item.accuracy),
    ]


def _reference_tables() -> str:
    published = optical.reference()
    rows = [
        [
            f"{row['text_tokens_low']}-{row['text_tokens_high']}",
            whole(row["pages"]),
            times(row["compression_64"]),
            percent(row["precision_64"]),
            times(row["compression_100"]),
            percent(row["precision_100"]),
        ]
        for row in published["fox"]
    ]
    modes = [
        [
            mode.name,
            f"{mode.resolution}x{mode.resolution}",
            whole(mode.vision_tokens),
            whole(mode.positions),
        ]
        for mode in optical.modes().values()
    ]
    headings = ["text tokens", "pages"]
    headings += [f"{what} at {tokens}" for tokens in (64, 100) for what in ("ratio", "precision")]
    return f"""Published figures of DeepSeek-OCR on English Fox pages, not measured here.
{published["source"]}

{table(headings, rows)}

{table(["mode", "image", "vision tokens reported", "positions fed"], modes)}

The published ratios divide by the tokens reported; the decoder is fed separators besides, so
our ratios, which count positions, would be about 5 to 14 % lower for the same page."""


def _terms(check: Check) -> str:
    codec = check.config.codec
    return f"""## Terms

- **Signature**: entropy, coherence (1 - entropy) and stability (1 - share of neighbouring bits
  that differ) of a window of {codec.window} bytes, rounded to {codec.precision} decimals;
  one window every {codec.stride} bytes.
- **Signature ratio**: original bytes over {codec.payload_bytes} bytes for each distinct
  signature of a page.
- **Stored ratio**: original bytes over every byte needed to get the text back.
- **Hazard**: share of neighbouring bits that differ; windows above the
  {check.config.hazard_percentile:g}th percentile of a page are not compared by the gated
  signatures.
- docs/optical_structural_compression.md has the method, the thresholds and their limits."""
