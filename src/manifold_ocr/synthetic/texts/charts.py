"""What charts hold: titles, axis labels with units, ticks, legends, annotations."""

import random

from manifold_ocr.synthetic.grammar import TextSource
from manifold_ocr.synthetic.texts.base import TEST_WORDS, TRAIN_WORDS, TextLine

ECONOMY = TextSource(
    name="charts of an economic yearbook",
    words={
        **TRAIN_WORDS,
        "unit": (
            "USD million",
            "kWh",
            "t/ha",
            "%",
            "km/h",
            "EUR",
            "°C",
            "per 1,000",
            "m³",
            "Mbit/s",
        ),
    },
    templates={
        "title": (
            "{noun|cap} {noun|plural} in {place}, {year}-{year}",
            "Figure {int}: {adjective|cap} {noun} by {noun}",
            "{adjective|cap} {noun|plural} ({unit})",
        ),
        "tick": (
            "{int}.{digit} {int}.{digit} {int}.{digit}",
            "{mon} {mon} {mon}",
            "{year} {year} {year}",
            "0 {int} {int} {int}",
            "{quarter} {quarter} {quarter}",
            "{big} {big}",
        ),
        "legend": (
            "{noun|cap} {letter}{digit}",
            "{place} ({unit})",
            "{adjective} {noun|plural}",
            "{surname} & {noun}",
        ),
        "note": (
            "+{percent}",
            "-{decimal} {unit}",
            "{amount} {unit}",
            "n = {big}",
            "max: {decimal} {unit}",
            "{quarter} {year}: {percent}",
            "{noun|cap} [{unit}]",
        ),
    },
)
LABORATORY = TextSource(
    name="plots of a laboratory",
    words={
        **TEST_WORDS,
        "unit": (
            "mg/L",
            "kPa",
            "µm",
            "ms",
            "Hz",
            "dB",
            "mol/L",
            "W/m²",
            "N·m",
            "a.u.",
            "rpm",
            "GB/s",
        ),
    },
    templates={
        "title": (
            "{noun|cap} vs. {noun} at {decimal} {unit}",
            "({letter|lower}) {adjective} {noun|plural}, {noun}={int}",
            "Fig. {digit}.{digit} {noun|cap}/{noun} {noun} [{unit}]",
        ),
        "tick": (
            "-{int} -{digit} 0 {digit} {int}",
            "0.{digit} 0.{digit} 0.{digit} 1.0",
            "{digit}e-{digit} {digit}e+{digit}",
            "{percent} {percent}",
            "{small}h {small}h {small}h",
            "'{small} '{small} '{small}",
        ),
        "legend": (
            "{noun}-{digit} ({adjective})",
            "{letter}{digit}: {noun} {noun}",
            "{adjective} {surname} fit",
            "{noun} + {noun}",
        ),
        "note": (
            "p < 0.0{digit}",
            "R² = 0.{int}",
            "{decimal} ± {decimal} {unit}",
            "~{int} {unit}",
            "mean {decimal} (n={int})",
            "{noun} ({unit})",
            "x{decimal} / {digit} {unit}",
        ),
    },
)


def page(rng: random.Random, source: TextSource, count: int) -> list[TextLine]:
    """Return `count` labels: a title, then annotations, legends and tick rows in turn."""
    lines = [TextLine((source.write(rng, "title"),), style="heading")]
    while len(lines) < count:
        kind = rng.choice(("tick", "legend", "note", "note", "title"))
        text = source.write(rng, kind)
        parts = tuple(text.split(" ")) if kind == "tick" else (text,)
        lines.append(TextLine(parts, style=kind))
    return lines
