"""Reports are Jinja2 templates beside their modules; here are the tables and number formats."""

import importlib.resources
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import jinja2


def render(template: str, **values: Any) -> str:
    """Return a template of this package, such as `compression/templates/report.md.j2`, filled in.

    Beside `values` a template has `table`, `md_table` and `interval`, and the filters `times`,
    `percent`, `whole` and `digits`. A name that is not defined is an error, never an empty text.
    """
    return _environment().get_template(template).render(**values)


@lru_cache(maxsize=1)
def _environment() -> jinja2.Environment:
    package = importlib.resources.files("manifold_ocr")
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: (package / name).read_text(encoding="utf-8")),
        undefined=jinja2.StrictUndefined,
        autoescape=jinja2.select_autoescape(("html", "html.j2")),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(times=times, percent=percent, whole=whole, digits=digits)
    environment.globals.update(table=table, md_table=md_table, interval=interval)
    return environment


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


def md_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table; cells are escaped, the first column is left-aligned."""
    lines = [" | ".join(header), "|".join([":--", *["--:"] * (len(header) - 1)])]
    lines += [" | ".join(_cell(cell) for cell in row) for row in rows]
    return "\n".join(f"| {line} |" if i != 1 else f"|{line}|" for i, line in enumerate(lines))


def times(value: float | None) -> str:
    """Return `2.31x`, or `n/a`."""
    return "n/a" if value is None else f"{value:.2f}x"


def percent(value: float | None) -> str:
    """Return `97.3 %`, or `n/a`."""
    return "n/a" if value is None else f"{100 * value:.1f} %"


def whole(value: float) -> str:
    """Return an integer with thousands separators."""
    return f"{int(value):,}"


def digits(value: float | None, form: str = ".4f", absent: str = "-") -> str:
    """Return a number in the given form, or `absent` for None."""
    return absent if value is None else format(value, form)


def interval(values: Mapping[str, float], key: str) -> str:
    """Return `12.34 [11.90, 12.80]` in percent, or a dash where the value is undefined."""
    if key not in values:
        return "-"
    text = f"{100 * values[key]:.2f}"
    if f"{key}_low" in values:
        text += f" [{100 * values[f'{key}_low']:.2f}, {100 * values[f'{key}_high']:.2f}]"
    return text


CLASSES = (
    "letters",
    "digits",
    "punctuation",
    "spaces",
    "cjk",
)  # of characters, as scores name them


def edits(values: Mapping[str, float]) -> tuple[str, ...]:
    """Return `substitutions + insertions + deletions` of each class of character, or dashes."""
    kinds = ("substitutions", "insertions", "deletions")
    return tuple(
        " + ".join(whole(values[f"{kind}_{name}"]) for kind in kinds)
        if all(f"{kind}_{name}" in values for kind in kinds)
        else "-"
        for name in CLASSES
    )


def _numeric(cell: str) -> bool:
    return cell.strip("*-")[:1].isdigit() and " to " not in cell


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
