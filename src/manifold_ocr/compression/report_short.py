"""The report's first section: what was found, each ratio beside that of random text."""

from manifold_ocr.compression.accounting import ratio
from manifold_ocr.compression.check import Check
from manifold_ocr.compression.figures import system_values, text_values
from manifold_ocr.compression.optical import reference_points
from manifold_ocr.compression.report_optical import random_ratio
from manifold_ocr.compression.report_parts import GATE_WORDS
from manifold_ocr.compression.tables import percent, times


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
