"""Scores of the tasks that are not transcription: named values in [0, 1] for one sample.

The first score of a task is its headline. Probes never enter a CER: a page's layout, say, is
JSON about regions, so it is compared by overlap and never as text.
"""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from manifold_ocr.errors import UserError
from manifold_ocr.metrics import bootstrap, edit
from manifold_ocr.metrics.normalize import normalize
from manifold_ocr.metrics.omnidocbench.markdown import markdown_table_to_html
from manifold_ocr.records import Sample

OVERLAP = 0.5
Regions = list[tuple[str, tuple[float, float, float, float]]]


def parse_regions(text: str) -> Regions | None:
    """Read regions [{label, box: [x0, y0, x1, y1]}, ...]; None if `text` is not such a list."""
    try:
        return [
            (str(item["label"]), tuple(map(float, item["box"])))  # type: ignore[misc]
            for item in json.loads(text)
            if len(item["box"]) == 4
        ]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


def region_f1(reference: Regions, prediction: Regions, overlap: float = OVERLAP) -> float:
    """F1 of regions matched one to one: same label and intersection over union >= `overlap`."""
    if not reference or not prediction:
        return edit.precision_recall_f1(0, len(reference), len(prediction))[2]
    from scipy.optimize import linear_sum_assignment

    fits = _iou(_boxes(reference), _boxes(prediction)) >= overlap
    labels = np.array([label for label, _ in reference])[:, None]
    fits &= labels == np.array([label for label, _ in prediction])[None, :]
    rows, columns = linear_sum_assignment(fits, maximize=True)
    matched = int(fits[rows, columns].sum())
    return edit.precision_recall_f1(matched, len(reference), len(prediction))[2]


def _boxes(regions: Regions) -> bootstrap.Floats:
    return np.array([box for _, box in regions], dtype=np.float64)


def _iou(a: bootstrap.Floats, b: bootstrap.Floats) -> Any:
    """Intersection over union of every pair of boxes: (len(a), len(b))."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = np.prod(np.clip(high - low, 0, None), axis=2)
    area_a, area_b = (np.prod(np.clip(x[:, 2:] - x[:, :2], 0, None), axis=1) for x in (a, b))
    union = area_a[:, None] + area_b[None, :] - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


Scores = tuple[tuple[str, float], ...]

_FENCE = re.compile(r"^\s*```[\w-]*[ \t]*\n(.*?)\n?\s*```\s*$", re.DOTALL)
_LATEX_SPACING = re.compile(r"\\(?:,|;|!|:|quad|qquad|left|right|displaystyle)(?![A-Za-z])|\s+")
_LATEX_DELIMITERS = (
    ("$$", "$$"),
    ("\\[", "\\]"),
    ("\\(", "\\)"),
    ("$", "$"),
    *(
        (f"\\begin{{{name}}}", f"\\end{{{name}}}")
        for name in ("equation", "equation*", "displaymath", "math")
    ),
)
_LATEX_FRACTION = re.compile(r"\\[dt]frac(?![A-Za-z])")
_LATEX_SINGLE = re.compile(r"\{(\\[A-Za-z]+|[^\\{}])\}")


def score_probe(sample: Sample, prediction: str) -> Scores:
    """Score one answer by the rule of the sample's task.

    Raises:
        UserError: no rule for that task; names the tasks that have one.
    """
    rule = RULES.get(sample.task)
    if rule is None:
        raise UserError(
            f"sample {sample.id}: no metric for task {sample.task!r}; "
            f"known tasks: transcribe, {', '.join(RULES)}"
        )
    return rule(sample, prediction)


def score_json(sample: Sample, prediction: str) -> Scores:
    """Compare JSON by its leaves: F1 over (path, value) pairs, with near values credited.

    `similarity` gives each matched path 1 - NED of its two values instead of all or nothing,
    divided by the number of paths in either tree (list positions are part of a path).
    """
    try:
        expected = _leaves(json.loads(sample.text))
    except json.JSONDecodeError as error:
        raise UserError(
            f"sample {sample.id}: the reference of a json task is not JSON ({error.msg}); "
            "fix the manifest row"
        ) from error
    try:
        found = _leaves(json.loads(strip_fence(prediction)))
    except (json.JSONDecodeError, RecursionError):
        return (("field_f1", 0.0), ("similarity", 0.0), ("exact", 0.0), ("valid", 0.0))
    common = sum(path in found and found[path] == value for path, value in expected.items())
    paths = expected.keys() | found.keys()
    near = sum(1.0 - edit.ned(expected[p], found[p]) for p in expected.keys() & found.keys())
    f1 = edit.precision_recall_f1(common, len(expected), len(found))[2]
    similarity = near / len(paths) if paths else 1.0
    return (
        ("field_f1", f1),
        ("similarity", similarity),
        ("exact", float(expected == found)),
        ("valid", 1.0),
    )


def score_latex(sample: Sample, prediction: str) -> Scores:
    """Formula string similarity 1 - NED after dropping delimiters and spacing commands.

    Two strings that render alike may differ here; comparing rendered formulas (CDM) needs a
    TeX installation and is not computed.
    """
    expected, found = latex_string(sample.text), latex_string(strip_fence(prediction))
    return (("similarity", 1.0 - edit.ned(expected, found)), ("exact", float(expected == found)))


def score_needle(sample: Sample, prediction: str) -> Scores:
    """Was the planted text found: anywhere in the answer, and as the whole answer."""
    said = normalize(prediction, "nfc_ws+casefold")
    wanted = [normalize(t, "nfc_ws+casefold") for t in sample.answers or (sample.text,)]
    return (
        ("found", float(any(_contains_whole(said, needle) for needle in wanted))),
        ("exact", float(said in wanted)),
    )


def score_question(sample: Sample, prediction: str) -> Scores:
    """Answer similarity ANLS and exact match over the accepted answers."""
    answers = sample.answers or (sample.text,)
    said = normalize(prediction, "nfc_ws+casefold")
    exact = any(said == normalize(answer, "nfc_ws+casefold") for answer in answers)
    return (("anls", edit.anls(prediction, answers)), ("exact", float(exact)))


def score_table(sample: Sample, prediction: str) -> Scores:
    """TEDS and TEDS-S of one HTML table (pipe tables in the answer are converted).

    Where neither side holds a table nothing is missing and nothing invented: 1. An answer so
    large that TEDS falls below 0 counts as 0.
    """
    from manifold_ocr.metrics.tables import normalize_table, table_scores

    answer = strip_fence(prediction)
    if "<table" not in answer and "|" in answer:
        answer = markdown_table_to_html(answer)
    expected, found = normalize_table(sample.text), normalize_table(answer)
    if not expected and not found:
        return (("teds", 1.0), ("teds_structure", 1.0))
    scores = table_scores(expected, found, normalize=False)
    return (("teds", max(0.0, scores.teds)), ("teds_structure", max(0.0, scores.teds_structure)))


def score_layout(sample: Sample, prediction: str) -> Scores:
    """F1 of page regions at an overlap of 0.5 with equal labels, and whether it was a list."""
    expected = parse_regions(sample.text)
    if expected is None:
        raise UserError(f"sample {sample.id}: the reference is no list of label and box")
    found = parse_regions(strip_fence(prediction))
    if found is None:
        return (("region_f1", 0.0), ("valid", 0.0))
    return (("region_f1", region_f1(expected, found)), ("valid", 1.0))


def strip_fence(text: str) -> str:
    """Remove a Markdown code fence that encloses the whole text."""
    match = _FENCE.match(text)
    return match.group(1) if match else text.strip()


def latex_string(text: str) -> str:
    r"""Return a formula without outer delimiters, white space and `\,`-like spacing.

    Spellings of one meaning are made one: `\dfrac` and `\tfrac` are `\frac`, and braces around
    a single character or command go, so that `x^{2}` is `x^2` and `\frac{a}{b}` is `\frac ab`.
    """
    text = text.strip()
    for opening, closing in _LATEX_DELIMITERS:
        inside = len(text) > len(opening) + len(closing)
        if inside and text.startswith(opening) and text.endswith(closing):
            text = text[len(opening) : -len(closing)]
            break
    text = _LATEX_SPACING.sub("", _LATEX_FRACTION.sub(r"\\frac", text))
    while (bare := _LATEX_SINGLE.sub(r"\1", text)) != text:
        text = bare
    return text


def _contains_whole(text: str, needle: str) -> bool:
    """Find `needle` where it does not continue a longer word or number."""
    if not needle:
        return False
    return re.search(rf"(?<![^\W_]){re.escape(needle)}(?![^\W_])", text) is not None or (
        not needle.isascii() and needle in text
    )


def _leaves(value: Any) -> dict[tuple[str, ...], str]:
    return dict(_walk(value, ()))


def _walk(value: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _walk(item, (*path, str(key)))
    elif isinstance(value, list) and value:
        for number, item in enumerate(value):
            yield from _walk(item, (*path, str(number)))
    elif isinstance(value, str):
        yield path, normalize(value, "nfc_ws")
    else:
        yield path, json.dumps(value)


RULES: dict[str, Callable[[Sample, str], Scores]] = {
    "json": score_json,
    "latex": score_latex,
    "needle": score_needle,
    "qa": score_question,
    "table": score_table,
    "layout": score_layout,
}
