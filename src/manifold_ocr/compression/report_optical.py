"""The report's section on vision tokens: by text length, published rows, efficiency."""

from collections.abc import Mapping

from manifold_ocr.compression import efficiency, optical
from manifold_ocr.compression.accounting import ratio
from manifold_ocr.compression.check import Check
from manifold_ocr.compression.efficiency import Cost
from manifold_ocr.compression.tables import percent, table, times, whole

INTRODUCTION = """## Vision tokens

How many text tokens does a page give for each position of the decoder that its images take? By
length of the reference text; above 1x the image is the shorter form of the text. Precision counts
tokens read that the reference holds in the same order. The ratio alone proves nothing: the rows
`random text` count the tokens of random characters of the same lengths on the same images."""


def optical_section(check: Check, costs: Mapping[str, Cost] | None, baseline: str) -> str:
    """Return vision tokens by text length, the published rows, and efficiency."""
    parts = [INTRODUCTION]
    rows = []
    for name, items in check.systems.items():
        pages = [page for item in items for page in item.optical]
        if not pages:
            parts.append(f"{name}: not applicable, its predictions carry no `vision_tokens`.")
            continue
        buckets = optical.bucket_pages(pages)
        rows += [_bucket_row(name, item) for item in buckets]
        everything = optical.pool("all", pages)
        if len(buckets) > 1:
            rows.append(_bucket_row(name, everything))
        if random := random_ratio(check, name):
            rows.append(_random_row(name, everything, random))
    if rows:
        parts += [table(BUCKET_HEADINGS, rows), "![precision against compression](optical.png)"]
    parts.append(_reference_tables())
    compared = efficiency.compare(check, costs or {}, baseline)
    parts.append(efficiency.section(compared, with_costs=costs is not None))
    return "\n\n".join(part for part in parts if part)


def random_ratio(check: Check, name: str) -> float | None:
    """Return tokens of random text over the vision tokens of a system that read every page."""
    pages = [page for item in check.systems[name] for page in item.optical]
    if len(pages) != sum(item.account.documents for item in check.texts):
        return None
    tokens = sum(item.controls[0].tokens for item in check.texts)
    return ratio(tokens, sum(page.vision_tokens for page in pages))


def _random_row(name: str, read: optical.Bucket, random: float) -> list[str]:
    cost = read.vision_tokens / read.pages
    return [
        f"{name}, random text", "all", whole(read.pages), f"{random * cost:.0f}", f"{cost:.0f}",
        times(random), "-", "-", "-",
    ]  # fmt: skip


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
