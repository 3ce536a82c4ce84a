"""The report's sections on gates and on verification."""

from manifold_ocr.compression.check import Check
from manifold_ocr.compression.gates import Gate
from manifold_ocr.compression.system_check import VerificationCheck
from manifold_ocr.compression.tables import percent, table, times, whole
from manifold_ocr.compression.text_check import Control
from manifold_ocr.compression.verification import QuerySet, Rate

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
