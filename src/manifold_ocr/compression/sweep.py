"""The table and the plot of a preset sweep: token accuracy and F1 against compression."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from manifold_ocr.compression.plots import draw_sweep, write_csv
from manifold_ocr.evaluation.markdown import aligned, percent, times

HEADINGS = [
    "preset", "pages", "vision tokens/page", "text per vision token", "token accuracy", "token F1",
]  # fmt: skip


def sweep_rows(results: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return one row a preset from its metrics/compress.json: the figures of its adapter."""
    rows = []
    for name, metrics in results.items():
        overall = metrics["adapter"]["overall"]
        rows.append(
            {
                "preset": name,
                "pages": int(overall["optical_pages"]),
                "vision_tokens_per_page": overall["vision_tokens_per_page"],
                "compression": overall["optical_ratio"],
                "token_accuracy": overall["token_accuracy"],
                "token_f1": overall["token_f1"],
            }
        )
    return rows


def same_compression(rows: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether several presets cost the same vision tokens, to one part in a thousand."""
    values = [row["compression"] for row in rows]
    return len(values) > 1 and max(values) - min(values) <= 1e-3 * max(values)


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the rows as a table for the terminal."""
    return aligned(
        HEADINGS,
        [
            [
                row["preset"],
                f"{row['pages']:,}",
                f"{row['vision_tokens_per_page']:,.0f}",
                times(row["compression"]),
                percent(row["token_accuracy"]),
                percent(row["token_f1"]),
            ]
            for row in rows
        ],
    )


def write_sweep(rows: list[dict[str, Any]], out: Path) -> None:
    """Write sweep.csv and sweep.png below `out`."""
    write_csv(out / "sweep.csv", rows)
    draw_sweep(rows, out / "sweep.png")
