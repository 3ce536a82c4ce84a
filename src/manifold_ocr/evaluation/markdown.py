"""Markdown tables and the few number formats of the reports."""

from collections.abc import Iterable, Mapping, Sequence


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


def interval(values: Mapping[str, float], key: str) -> str:
    """Return `12.34 [11.90, 12.80]` in percent, or a dash where the value is undefined."""
    if key not in values:
        return "-"
    text = f"{100 * values[key]:.2f}"
    if f"{key}_low" in values:
        text += f" [{100 * values[f'{key}_low']:.2f}, {100 * values[f'{key}_high']:.2f}]"
    return text


def md_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table; cells are escaped, the first column is left-aligned."""
    lines = [" | ".join(header), "|".join([":--", *["--:"] * (len(header) - 1)])]
    lines += [" | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in r) for r in rows]
    return "\n".join(f"| {line} |" if i != 1 else f"|{line}|" for i, line in enumerate(lines))


def _numeric(cell: str) -> bool:
    return cell.strip("*-")[:1].isdigit() and " to " not in cell


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
