"""What the check writes: metrics/compress.json, the report (a template) and the plots."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from manifold_ocr.compression import optical
from manifold_ocr.compression.check import Check, Gate, SystemCheck, VerificationCheck
from manifold_ocr.compression.fidelity import Fidelity, lcs_scores, micro_ned, prototype_scores
from manifold_ocr.compression.optical import Cost, compare
from manifold_ocr.compression.plots import write_plots
from manifold_ocr.compression.signatures import Codec
from manifold_ocr.compression.sizes import (
    OURS,
    SizeTable,
    TextCheck,
    ratio,
    text_values,
    total,
)
from manifold_ocr.compression.verify import Rate
from manifold_ocr.evaluation.markdown import percent, render, times, whole
from manifold_ocr.files import atomic_directory, atomic_write

Rows = list[list[str]]

Values = dict[str, float | None]


def metrics(check: Check) -> dict[str, Any]:
    """Return the nested metrics of a check.

    `reference` holds what depends on the texts alone, each system its readings, both with
    `overall` and `by_corpus`; `gates` counts verdicts; `undefined` names missing values.
    """
    undefined: dict[str, str] = {}
    result: dict[str, Any] = {
        "reference": {
            "overall": text_values(check.texts),
            "by_corpus": {item.corpus: text_values([item]) for item in check.texts},
        },
        "verification": {
            "by_corpus": {item.corpus: verification_values(item) for item in check.verification}
        },
    }
    for name, items in check.systems.items():
        result[name] = {
            "overall": system_values(items),
            "by_corpus": {item.corpus: system_values([item]) for item in items},
        }
    result = _finite(result, "", undefined)
    verdicts = [gate.verdict for gate in check.gates]
    result["gates"] = {
        "passed": verdicts.count("pass"),
        "failed": verdicts.count("fail"),
        "failed_enforced": len(check.failed),
        "not_applicable": verdicts.count("not applicable"),
    }
    result["undefined"] = undefined
    return result


def system_values(items: Sequence[SystemCheck]) -> Values:
    """Pool one system's figures over some corpora."""
    pairs = [pair for item in items for pair in item.fidelity]
    characters, tokens = [p.characters for p in pairs], [p.tokens for p in pairs]
    precision, recall, f1 = lcs_scores(tokens)
    values: Values = {
        "pages": sum(item.pages for item in items),
        "ned": micro_ned(characters),
        "token_accuracy": 1 - micro_ned(tokens),
        "token_precision": precision,
        "token_recall": recall,
        "token_f1": f1,
        "compat_token_accuracy": prototype_scores(tokens).accuracy,
        "compat_token_f1": prototype_scores(tokens).f1,
    }
    for method, key in METHOD_KEYS.items():
        rates = [item.readings[method].decisions for item in items]
        done, asked = sum(r.successes for r in rates), sum(r.trials for r in rates)
        values[f"recall_{key}"] = ratio(done, asked)
    pages = [page for item in items for page in item.optical]
    if pages:
        pooled = optical.pool("all", pages)
        values["optical_pages"] = pooled.pages
        values["optical_ratio"] = pooled.ratio
        values["vision_tokens_per_page"] = pooled.vision_tokens / pooled.pages
        values["accuracy_times_compression"] = pooled.accuracy * pooled.ratio
    return values


METHOD_KEYS = {
    "signatures, gated": "signatures_gated",
    "signatures, tolerant": "signatures_tolerant",
    "with text check": "text_checked",
}


def verification_values(item: VerificationCheck) -> dict[str, Any]:
    """Return recall, false positive rate and ROC area of each method on one corpus."""
    values: dict[str, Any] = {"archived": item.archived, "unseen": item.unseen}
    for method, key in METHOD_KEYS.items():
        good = [s.decisions for s in item.methods[method] if s.positive]
        bad = [s.decisions for s in item.methods[method] if not s.positive]
        curve = item.curves[method]
        values[key] = {
            "recall": ratio(sum(r.successes for r in good), sum(r.trials for r in good)),
            "false_positive_rate": ratio(sum(r.successes for r in bad), sum(r.trials for r in bad)),
            "roc_area": curve.area if curve else None,
        }
    for rate, unnoticed in item.undetected.items():
        values[f"undetected_at_{rate:g}".replace(".", "_")] = unnoticed.value
    return values


def summary(check: Check, folder: Path) -> str:
    """Return the few lines that the terminal shows."""
    values = metrics(check)
    overall, gates = values["reference"]["overall"], values["gates"]
    return (
        f"compress_check: {overall['pages']:.0f} pages; signature ratio "
        f"{overall.get('signature_ratio', 0):.1f}x (random text "
        f"{overall.get('random_signature_ratio', 0):.1f}x), all bytes counted "
        f"{overall.get('stored_ratio_of_signatures', 0):.2f}x; lossless "
        f"{overall['stored_ratio']:.2f}x (zstd -19 {overall['zstd_ratio']:.2f}x, random text "
        f"{overall['random_stored_ratio']:.2f}x)\n"
        f"compress_check: gates: {gates['passed']} pass, {gates['failed']} fail "
        f"({gates['failed_enforced']} binding), {gates['not_applicable']} not applicable: "
        f"{folder}/report.md"
    )


def _finite(value: dict[str, Any], where: str, undefined: dict[str, str]) -> dict[str, Any]:
    """Drop undefined values, round to 6 digits, and note what was dropped by group."""
    kept: dict[str, Any] = {}
    missing = []
    for key, item in value.items():
        if isinstance(item, dict):
            kept[key] = _finite(item, f"{where}.{key}" if where else key, undefined)
        elif item is None or not math.isfinite(item):
            missing.append(key)
        else:
            kept[key] = round(item, 6)
    if missing:
        undefined[where] = ", ".join(missing)
    return kept


GATE_WORDS = {
    "signature_ratio": "signature ratio",
    "stored_ratio": "stored ratio, lossless, all bytes",
    "ned": "NED of the reading",
    "token_accuracy": "token accuracy of the reading",
    "recall": "readings matched to their archived page",
    "false_positive_rate": "foreign pages taken for an archived one",
}
WITH_COSTS = "Joules are GPU energy by NVML; what nobody measured is not guessed."
WITHOUT_COSTS = (
    "Seconds, memory and energy are no part of this report, which is the same on every machine: "
    "see metrics/perf.json, or `manifold-ocr compress --costs`."
)


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
        write_plots(check, compare(check.optical, costs or {}, baseline), temporary)


def markdown(check: Check, costs: Mapping[str, Cost] | None = None, baseline: str = "") -> str:
    """Return the report; without `costs` it holds no clock and is the same on every machine."""
    texts, compared = check.texts, compare(check.optical, costs or {}, baseline)
    binding = [gate for gate in check.gates if gate.enforced]
    present = {item.corpus for item in texts}
    efficiency_headings, efficiency_rows = optical.efficiency_table(
        compared, with_costs=costs is not None
    )
    ratios = [point.ratio for point in optical.reference_points()]
    return render(
        "compression/templates/report.md.j2",
        check=check,
        codec=Codec.of(check.config),
        account=total([item.account for item in texts]),
        corpora=[item.corpus for item in texts],
        texts=text_values(texts),
        readings={
            name: {"optical_ratio": None, **system_values(items)}
            for name, items in check.systems.items()
        },
        random_ratios={name: random_ratio(check, name) for name in check.systems},
        published=optical.reference(),
        published_low=min(ratios),
        published_high=max(ratios),
        foreign=_foreign(check),
        binding=binding,
        judged=[gate for gate in binding if gate.verdict != "not applicable"],
        missed=[f"{g.corpus} {GATE_WORDS[g.name]}" for g in check.failed],
        first=next(iter(check.systems), None),
        gate_rows=_gate_rows(check, present),
        absent=list(dict.fromkeys(g.corpus for g in check.gates if g.corpus not in present)),
        sampled=_sampled(texts),
        size_rows=_size_rows(texts),
        wins=[f"{item.corpus} {item.table.wins} of {item.table.pages}" for item in texts],
        solid_rows=_solid_rows([item.table for item in texts]),
        control_rows=_control_rows(texts),
        fidelity_rows=_fidelity_rows(check),
        older={item.corpus: item for item in texts},
        query_rows={item.corpus: _query_rows(check, item) for item in check.verification},
        noise=[f"{rate:.0%} of characters wrong" for rate in check.config.noise],
        undetected_rows=[
            [item.corpus, *(_rate(item.undetected[rate]) for rate in check.config.noise)]
            for item in check.verification
        ],
        without_tokens=[name for name, pages in check.optical.items() if not pages],
        optical_rows=_optical_rows(check),
        published_rows=optical.published_rows(),
        mode_rows=[
            [m.name, f"{m.resolution}x{m.resolution}", whole(m.vision_tokens), whole(m.positions)]
            for m in optical.modes().values()
        ],
        compared=compared,
        costs_note=WITHOUT_COSTS if costs is None else WITH_COSTS,
        efficiency_headings=efficiency_headings,
        efficiency_rows=efficiency_rows,
    )


def random_ratio(check: Check, name: str) -> float | None:
    """Return tokens of random text over the vision tokens of a system that read every page."""
    pages = check.optical[name]
    if len(pages) != sum(item.account.documents for item in check.texts):
        return None
    tokens = sum(item.controls[0].tokens for item in check.texts)
    return ratio(tokens, sum(page.vision_tokens for page in pages))


def _foreign(check: Check) -> float | None:
    """Return the share of foreign pages that the text check takes for an archived one."""
    rates = [
        found.decisions
        for item in check.verification
        for found in item.methods["with text check"]
        if not found.positive
    ]
    return sum(rates, Rate(0, 0)).value


def _gate_rows(check: Check, present: set[str]) -> Rows:
    controls = {item.corpus: item.controls[0] for item in check.texts}
    rows = []
    for gate in (gate for gate in check.gates if gate.corpus in present):
        control = controls[gate.corpus]
        beside = {
            "signature_ratio": control.account.signature_ratio,
            "stored_ratio": control.lossless_ratio,
        }
        value = "-" if gate.value is None else percent(gate.value)
        if gate.value is not None and gate.name in beside:
            value = f"{times(gate.value)} (random text {times(beside[gate.name])})"
        binds = "yes" if gate.enforced else "no, shown only"
        rows.append([gate.corpus, GATE_WORDS[gate.name], gate.wanted, value, _verdict(gate), binds])
    return rows


def _verdict(gate: Gate) -> str:
    verdict = "**FAIL**" if gate.verdict == "fail" else gate.verdict
    return f"{verdict} ({gate.why})" if gate.why else verdict


def _sampled(items: Sequence[TextCheck]) -> list[str]:
    cut = [item for item in items if item.table.pages < item.account.documents]
    return [f"{item.corpus} {item.table.pages} of {item.account.documents}" for item in cut]


def _size_rows(items: Sequence[TextCheck]) -> Rows:
    rows = [
        [
            "signatures, as the older report counts them",
            *(times(item.account.signature_ratio) for item in items),
        ],
        [
            "signatures, with all that decoding needs",
            *(times(item.account.stored_ratio) for item in items),
        ],
    ]
    tables = [item.table for item in items]
    for name in dict.fromkeys(name for item in tables for name in item.sizes):
        cells = [times(ratio(item.original_bytes, item.sizes.get(name, 0))) for item in tables]
        rows.append([f"**{name}**" if name == OURS else name, *cells])
        if name == "zstd -19 + dictionary":
            counted = [times(_with_dictionary(item, name)) for item in tables]
            rows.append([f"{name}, counted once", *counted])
    return rows


def _with_dictionary(item: SizeTable, name: str) -> float | None:
    if name not in item.sizes:
        return None
    return ratio(item.original_bytes, item.sizes[name] + item.dictionary_bytes)


def _solid_rows(tables: Sequence[SizeTable]) -> Rows:
    return [
        [name, *(times(ratio(item.original_bytes, item.solid[name])) for item in tables)]
        for name in tables[0].solid
    ]


def _control_rows(items: Sequence[TextCheck]) -> Rows:
    rows = []
    for item in items:
        known, table = item.account, item.table
        zlib = ratio(table.original_bytes, table.sizes["zlib -9"])
        ours = ratio(table.original_bytes, table.sizes[OURS])
        values = [known.signature_ratio, item.tokens_unique, known.stored_ratio, zlib, ours]
        rows.append([item.corpus, "the documents", *map(times, values)])
        for control in item.controls:
            known = control.account
            values = [known.signature_ratio, control.tokens_unique, known.stored_ratio]
            values += [control.zlib_ratio, control.lossless_ratio]
            rows.append([item.corpus, control.name, *map(times, values)])
    return rows


def _fidelity_rows(check: Check) -> Rows:
    groups = [("rebuilt from signatures", item.corpus, item.rebuilt) for item in check.texts]
    groups += [
        (f"read by {name}", item.corpus, item.fidelity)
        for name, items in check.systems.items()
        for item in items
    ]
    return [[name, corpus, *_fidelity_cells(pairs)] for name, corpus, pairs in groups]


def _fidelity_cells(pairs: Sequence[Fidelity]) -> list[str]:
    tokens = [item.tokens for item in pairs]
    shares = [micro_ned(item.characters for item in pairs), 1 - micro_ned(tokens)]
    return [whole(len(pairs)), *map(percent, [*shares, *lcs_scores(tokens)])]


def _query_rows(check: Check, item: VerificationCheck) -> Rows:
    names = list(item.methods)
    rows = []
    for name, items in check.systems.items():
        reading = next((s for s in items if s.corpus == item.corpus), None)
        if reading:
            rows.append([f"read by {name}", *(_rate(reading.readings[n].decisions) for n in names)])
    for place in range(len(item.methods[names[0]])):
        sets = [item.methods[name][place] for name in names]
        rows.append([sets[0].name, *(_rate(one.decisions) for one in sets)])
    areas = [item.curves[name] for name in names]
    shown = [f"{a.area:.3f}" if a else "n/a" for a in areas[:-1]]  # the text check has no threshold
    return [*rows, ["area under the ROC curve of the share", *shown, "-"]]


def _rate(rate: Rate) -> str:
    if rate.value is None:
        return "n/a"
    low, high = rate.interval.low, rate.interval.high
    return f"{percent(rate.value)} [{100 * low:.1f}, {100 * high:.1f}] of {whole(rate.trials)}"


def _optical_rows(check: Check) -> Rows:
    rows = []
    for name, pages in check.optical.items():
        if not pages:
            continue
        buckets = optical.bucket_pages(pages)
        everything = optical.pool("all", pages)
        rows += [optical.bucket_row(name, item) for item in buckets]
        if len(buckets) > 1:
            rows.append(optical.bucket_row(name, everything))
        if random := random_ratio(check, name):
            cost = everything.vision_tokens / everything.pages
            cells = [whole(everything.pages), f"{random * cost:.0f}", f"{cost:.0f}", times(random)]
            rows.append([f"{name}, random text", "all", *cells, "-", "-", "-"])
    return rows
