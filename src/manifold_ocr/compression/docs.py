"""The thresholds in docs/optical_structural_compression.md, written from params.yaml.

    python -m manifold_ocr.compression.docs [--check]

Only the text between the two markers is touched; `--check` changes nothing and exits with
status 1 where the document has drifted from the params.
"""

import sys
from dataclasses import fields
from pathlib import Path

from manifold_ocr.config import CompressConfig, Targets, load_section
from manifold_ocr.errors import UserError
from manifold_ocr.evaluation.markdown import table
from manifold_ocr.files import atomic_write

DOCUMENT = Path("docs/optical_structural_compression.md")
BEGIN = "<!-- compress thresholds: written by `python -m manifold_ocr.compression.docs` -->"
END = "<!-- end of compress thresholds -->"
MEANING = {
    "signature_ratio_low": "signature ratio, lower end (shown, never binding)",
    "signature_ratio_high": "signature ratio, upper end (shown, never binding)",
    "min_stored_ratio": "stored ratio of the lossless mode, every byte counted, at least",
    "max_ned": "NED of the reading, at most",
    "min_token_accuracy": "token accuracy of the reading, at least",
    "min_recall": "readings matched to their archived page, at least",
    "max_false_positive_rate": "foreign pages taken for an archived one, at most",
}


def thresholds(config: CompressConfig) -> str:
    """Return the tables of targets and settings in Markdown."""
    names = list(config.targets)
    rows = [
        [MEANING[field.name], *(f"{getattr(config.targets[n], field.name):g}" for n in names)]
        for field in fields(Targets)
    ]
    settings = [
        [f"`{name}`", str(getattr(config, name))]
        for name in (
            "enforce", "window", "stride", "precision", "metric_tokenizer", "hazard_percentile",
            "tolerance", "match_share", "confirm_ned", "lossless", "lossless_pages",
            "unseen_pages",
        )
    ]  # fmt: skip
    noise = ", ".join(f"{rate:.0%}" for rate in config.noise)
    return "\n\n".join(
        [
            table(["target", *names], rows),
            table(["`compress.` setting", "value"], [*settings, ["`noise`", noise]]),
        ]
    )


def replaced(text: str, config: CompressConfig) -> str:
    """Return the document with the present thresholds between its markers.

    Raises:
        UserError: the markers are missing.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise UserError(f"{DOCUMENT}: the lines `{BEGIN}` and `{END}` are missing; put them back")
    return f"{before}{BEGIN}\n\n{thresholds(config)}\n\n{END}{after}"


def main() -> None:
    """Bring the document up to date, or only check it."""
    config = load_section(CompressConfig, "compress")
    text = DOCUMENT.read_text(encoding="utf-8")
    wanted = replaced(text, config)
    if text == wanted:
        print(f"{DOCUMENT} agrees with params.yaml")
    elif "--check" in sys.argv[1:]:
        print(f"{DOCUMENT} differs from params.yaml; run `python -m manifold_ocr.compression.docs`")
        raise SystemExit(1)
    else:
        with atomic_write(DOCUMENT) as file:
            file.write(wanted)
        print(f"{DOCUMENT} brought up to date")


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
