"""The compression report in Markdown, written for a reader who has not seen the code."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from manifold_ocr.compression import efficiency, optical
from manifold_ocr.compression.archive import ratio, total
from manifold_ocr.compression.check import Check, Gate
from manifold_ocr.compression.efficiency import Cost, compare
from manifold_ocr.compression.fidelity import lcs_scores, micro_ned
from manifold_ocr.compression.figures import system_values, text_values
from manifold_ocr.compression.optical import reference_points
from manifold_ocr.compression.pages import Pages
from manifold_ocr.compression.plots import write_plots
from manifold_ocr.compression.system_check import VerificationCheck
from manifold_ocr.compression.text_check import OURS, Control, TextCheck
from manifold_ocr.compression.verify import QuerySet, Rate
from manifold_ocr.evaluation.markdown import percent, table, times, whole
from manifold_ocr.files import atomic_directory, atomic_write

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


GATE_WORDS = {
    "signature_ratio": "signature ratio",
    "stored_ratio": "stored ratio, lossless, all bytes",
    "ned": "NED of the reading",
    "token_accuracy": "token accuracy of the reading",
    "recall": "readings matched to their archived page",
    "false_positive_rate": "foreign pages taken for an archived one",
}
MARKS = {"pass": "pass", "fail": "**FAIL**", "not applicable": "not applicable"}


def gates_section(check: Check) -> str:
    """Return the verdicts, each with what was wanted and what was measured."""
    present = {item.corpus for item in check.texts}
    controls = {item.corpus: item.controls[0] for item in check.texts}
    rows = [
        [
            gate.corpus,
            GATE_WORDS[gate.name],
            gate.wanted,
            _value(gate, controls[gate.corpus]),
            MARKS[gate.verdict] + (f" ({gate.why})" if gate.why else ""),
            "yes" if gate.enforced else "no, shown only",
        ]
        for gate in check.gates
        if gate.corpus in present
    ]
    absent = list(dict.fromkeys(g.corpus for g in check.gates if g.corpus not in present))
    elsewhere = (
        f"Not applicable, as this manifest holds no page of theirs: the targets of "
        f"{', '.join(absent)}.\n\n"
        if absent
        else ""
    )
    judged = next(iter(check.systems), None)
    failed = len(check.failed)
    binding = [gate for gate in check.gates if gate.enforced and gate.verdict != "not applicable"]
    rule = (
        "a failed binding gate fails the stage"
        if check.config.enforce
        else "`compress.enforce` is false: verdicts are shown, none stops the pipeline"
    )
    who = f"readings of **{judged}**" if judged else "no readings were given"
    return f"""## Gates

Of the {len(binding)} binding gates that apply, {failed} fail ({who}; {rule}).

{table(["corpus", "gate", "wanted", "measured", "verdict", "binding"], rows)}

{elsewhere}A corpus that is absent, or whose texts are all shorter than one window, is not
applicable, which is never a pass. The signature ratio never binds: it measures how long a text
is."""


def verification_section(check: Check) -> str:
    """Return recall and false positives by kind of query, and unnoticed changes."""
    config = check.config
    parts = [
        f"""## How checkable

Is this text one of the archived pages? The archive holds the reference pages that fill at
least one window. It is asked with texts that were never indexed: cut at the front, with
characters wrong as OCR makes them, as read by the systems; and, for false positives, with the
other archived pages and with pages of other splits. Three ways to decide:

- *signatures, gated*: at least {percent(config.match_share)} of the compared windows have exactly
  an archived signature; windows above the page's {config.hazard_percentile:g}th hazard percentile
  are not compared;
- *signatures, tolerant*: the same within {config.tolerance} quantisation steps, all windows
  compared;
- *with text check*: of those, the archived text must differ by at most
  {percent(config.confirm_ned)} (NED). This one is used by `manifold-ocr verify` and judged
  by the gates.

Share of queries answered "same page", with 95 % Wilson intervals. For the first rows that is
recall (higher is better), for `other archived pages` and `unseen pages` the false positive rate
(lower is better)."""
    ]
    for item in check.verification:
        parts.append(_corpus_table(check, item))
    parts.append(
        "A page that lost its first 128 bytes may fail the text check rightly: of a page of 512 "
        f"bytes that is a quarter, and {percent(config.confirm_ned)} may differ.\n\n"
        "![recall against false positives](roc.png)"
    )
    parts.append(_undetected(check))
    return "\n\n".join(parts)


def _corpus_table(check: Check, item: VerificationCheck) -> str:
    head = (
        f"**{item.corpus}**: {item.archived} pages archived, {item.too_short} too short, "
        f"{item.unseen} unseen pages."
    )
    if not item.archived:
        return f"{head} Not applicable: every text is shorter than one window."
    names = list(item.methods)
    rows = []
    for name, items in check.systems.items():
        reading = next((s for s in items if s.corpus == item.corpus), None)
        if reading:
            rows.append([f"read by {name}", *(_rate(reading.readings[n]) for n in names)])
    for place in range(len(item.methods[names[0]])):
        sets = [item.methods[name][place] for name in names]
        rows.append([sets[0].name, *(_rate(one) for one in sets)])
    areas = [item.curves[name] for name in names]
    shown = [f"{a.area:.3f}" if a else "n/a" for a in areas[:-1]]  # the text check has no threshold
    rows.append(["area under the ROC curve of the share", *shown, "-"])
    compat = next(text for text in check.texts if text.corpus == item.corpus)
    return f"""{head}

{table(["query", *names], rows)}

The older report's figures on the same pages (a window accepted when its signature occurs
anywhere in the page; queries are the indexed windows, so recall is 100 % by construction):
precision {percent(compat.membership.precision)}, false positive rate
{percent(compat.membership.false_positive_rate)}; hazard-gated: recall
{percent(compat.gated.recall)}, false positive rate {percent(compat.gated.false_positive_rate)}.
That precision is 1/(1+FPR·(pages-1)) and falls with every page added."""


def _undetected(check: Check) -> str:
    rows = [
        [item.corpus, *(_plain(item.undetected[rate]) for rate in check.config.noise)]
        for item in check.verification
    ]
    headings = ["corpus", *(f"{rate:.0%} of characters wrong" for rate in check.config.noise)]
    return f"""Is a text unaltered? Share of windows whose bytes changed while their signature did
not, windows compared place by place; a checksum would notice every one:

{table(headings, rows)}"""


def _rate(item: QuerySet) -> str:
    return _plain(item.decisions)


def _plain(rate: Rate) -> str:
    if rate.value is None:
        return "n/a"
    low, high = rate.interval.low, rate.interval.high
    return f"{percent(rate.value)} [{100 * low:.1f}, {100 * high:.1f}] of {whole(rate.trials)}"


def _value(gate: Gate, control: Control) -> str:
    if gate.value is None:
        return "-"
    beside = {
        "signature_ratio": control.account.signature_ratio,
        "stored_ratio": control.lossless_ratio,
    }
    if gate.name in beside:
        return f"{times(gate.value)} (random text {times(beside[gate.name])})"
    return percent(gate.value)


def in_short(check: Check) -> str:
    """Return the findings, all corpora pooled, in a few lines."""
    lines = [*_texts(check), *_readings(check)]
    binding = [gate for gate in check.gates if gate.enforced]
    judged = [gate for gate in binding if gate.verdict != "not applicable"]
    passed = sum(gate.verdict == "pass" for gate in judged)
    missed = [f"{gate.corpus} {GATE_WORDS[gate.name]}" for gate in judged if gate.verdict == "fail"]
    lines.append(
        f"- **Targets**: {passed} of {len(judged)} binding targets that apply are met; "
        f"{len(binding) - len(judged)} do not apply."
        + (f" Missed: {'; '.join(missed)}." if missed else "")
    )
    return "## In short\n\n" + "\n".join(lines)


def _texts(check: Check) -> list[str]:
    values = text_values(check.texts)
    return [
        f"- **Size, every byte counted**: {times(values['stored_ratio'])} smaller with the "
        f"lossless mode, page by page (zstd -19 {times(values['zstd_ratio'])}, brotli -11 "
        f"{times(values['brotli_ratio'])}; random text {times(values['random_stored_ratio'])}).",
        f"- **Signature ratio, the older count**: {times(values['signature_ratio'])}, and "
        f"{times(values['random_signature_ratio'])} for random text: it measures how long pages "
        "are, not what they hold. With all that decoding needs: "
        f"{times(values['stored_ratio_of_signatures'])} (random text "
        f"{times(values['random_stored_ratio_of_signatures'])}); below 1x is larger than the text.",
    ]


def _readings(check: Check) -> list[str]:
    lines = []
    foreign = [
        found.decisions
        for item in check.verification
        for found in item.methods["with text check"]
        if not found.positive
    ]
    wrong = ratio(sum(r.successes for r in foreign), sum(r.trials for r in foreign))
    published = [point.ratio for point in reference_points()]
    for name, items in check.systems.items():
        values = system_values(items)
        line = (
            f"- **Read by {name}**: NED {percent(values['ned'])}, token accuracy "
            f"{percent(values['token_accuracy'])}"
        )
        if (matched := values["recall_text_checked"]) is not None:
            line += f"; {percent(matched)} of the readings are matched to their archived page"
        if found := values.get("optical_ratio"):
            line += f"; {times(found)} text tokens a vision token (DeepSeek-OCR publishes "
            line += f"{min(published):.1f}x to {max(published):.1f}x"
            random = random_ratio(check, name)
            line += f"; random text {times(random)})" if random else ")"
        lines.append(line + ".")
    if wrong is not None:
        lines.append(f"- **Foreign pages** taken for an archived one: {percent(wrong)}.")
    return lines


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


def write_check(
    check: Check,
    folder: Path,
    costs: Mapping[str, Cost] | None = None,
    baseline: str = "",
) -> None:
    """Write report.md, plot data and plots below `folder`, replacing it as a whole.

    `costs` are clocks: they have no place in a declared out of the pipeline.
    """
    with atomic_directory(folder) as temporary:
        with atomic_write(temporary / "report.md") as file:
            file.write(markdown(check, costs, baseline))
        write_plots(check, compare(check, costs or {}, baseline), temporary)
