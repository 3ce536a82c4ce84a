"""The compression report in Markdown, written for a reader who has not seen the code."""

from collections.abc import Iterable, Mapping

from manifold_ocr.compression.accounting import total
from manifold_ocr.compression.check import Check
from manifold_ocr.compression.efficiency import Cost
from manifold_ocr.compression.fidelity import lcs_scores, micro_ned
from manifold_ocr.compression.pages import Pages
from manifold_ocr.compression.report_optical import optical_section
from manifold_ocr.compression.report_parts import gates_section, verification_section
from manifold_ocr.compression.report_short import in_short
from manifold_ocr.compression.report_sizes import control_section, sizes_section
from manifold_ocr.compression.tables import percent, table, whole


def markdown(check: Check, costs: Mapping[str, Cost] | None = None, baseline: str = "") -> str:
    """Return the whole report; `costs` of the systems a page join the last table.

    Without `costs` it holds no clock and is the same on every machine.
    """
    sections = [
        "# Compression check",
        _opening(check),
        in_short(check),
        gates_section(check),
        sizes_section(check),
        control_section(check),
        _fidelity_section(check),
        verification_section(check),
        optical_section(check, costs, baseline),
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
        lines += [f"- {name}: {len(pages.pages):,} pages{note}." for note in [_left_out(pages)]]
    return "\n".join(lines)


def _left_out(pages: Pages) -> str:
    notes = [
        (
            pages.covered_by_page_row,
            "rows hold the same pages once more and are not counted",
        ),
        (pages.other_task, "rows are of other tasks and are left out"),
        (pages.unread, "rows have no answer and count as read empty"),
    ]
    return "".join(f"; {count:,} {what}" for count, what in notes if count)


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
