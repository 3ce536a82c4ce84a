"""Markdown tables and the few number formats of the reports."""

from collections.abc import Sequence


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table; columns of numbers are right aligned, others left."""
    columns = [[row[place] for row in rows] for place in range(len(headings))]
    marks = [" ---: " if any(map(_numeric, column)) else " --- " for column in columns]
    lines = [
        "| " + " | ".join(_cell(item) for item in headings) + " |",
        "|" + "|".join([" --- ", *marks[1:]]) + "|",
    ]
    lines += ["| " + " | ".join(_cell(item) for item in row) + " |" for row in rows]
    return "\n".join(lines)


def aligned(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a plain table for a terminal, aligned like that of `table`."""
    widths = [max(map(len, column)) for column in zip(headings, *rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if place == 0 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in (headings, *rows)
    )


def times(value: float | None) -> str:
    """Return `2.31x`, or `n/a`."""
    return "n/a" if value is None else f"{value:.2f}x"


def percent(value: float | None) -> str:
    """Return `97.3 %`, or `n/a`."""
    return "n/a" if value is None else f"{100 * value:.1f} %"


def whole(value: int) -> str:
    """Return an integer with thousands separators."""
    return f"{value:,}"


def _numeric(cell: str) -> bool:
    return cell.strip("*-")[:1].isdigit() and " to " not in cell


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
